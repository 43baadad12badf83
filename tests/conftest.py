"""Fixtures that all tests share."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

#: Tests, and the processes that they start, read no file `.env` of the developer's.
os.environ["PYTHON_DOTENV_DISABLED"] = "1"
#: As in the child that runs a job's stages (`media/stages.py`): two threads of the speech model would take 1.7 times the processor time.
os.environ["MOONSHINE_ORT_SINGLE_THREAD"] = "1"

import pytest
from structlog.contextvars import clear_contextvars

from pipeline_jobs import logs
from pipeline_jobs.settings import Settings, load_settings
from pipeline_jobs.tracing import correlation
from tests import cases, kept_metadata, kept_routes, kept_templates
from tests.commands import empty
from tests.servers import Server

kept_metadata.keep()
kept_routes.keep()
kept_templates.keep()
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

#: Tests that mostly wait: for processes of a real stack.
WAITING = ("tests/chaos/", "tests/acceptance/")
#: Files that take longest come first, so that no process works alone at the end. Of those that wait, then of those that work.
LONGEST = (
    "tests/chaos/", "tests/acceptance/test_pages.py", "tests/acceptance/test_page_axe.py", "tests/acceptance/test_worker.py",
    "tests/acceptance/test_tasks.py", "tests/acceptance/test_benchmarks.py", "tests/acceptance/test_webhooks.py",
    "tests/acceptance/test_media.py", "tests/acceptance/test_ui.py", "tests/acceptance/test_api.py", "tests/acceptance/test_page_widths.py",
    "tests/acceptance/test_rabbitmq.py", "tests/acceptance/test_lost_broker.py", "tests/acceptance/test_two_installations.py",
    "tests/unit/test_lint.py", "tests/mutants/", "tests/unit/media/test_transcribe.py", "tests/unit/media/test_pipeline.py",
    "tests/integration/test_everything_model.py", "tests/integration/test_fairness_model.py", "tests/unit/web/",
    "tests/unit/up/test_main.py", "tests/siege/", "tests/integration/",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--case", default="", metavar="TEXT", help="of tests with many cases (tests.cases) those with this in their names")


def pytest_configure(config: pytest.Config) -> None:
    cases.only = config.getoption("--case")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files in the order in which the processes of `make test` are to take them.

    While one waits the others work: files of both kinds take turns, so that both kinds come to their ends together.
    """

    def rank(file: str) -> int:
        return next((place for place, start in enumerate(LONGEST) if file.startswith(start)), len(LONGEST))

    def file_of(item: pytest.Item) -> str:
        return item.nodeid.partition("::")[0]

    files = sorted(dict.fromkeys(map(file_of, items)), key=rank)
    turns: dict[str, float] = {}
    for waits in (True, False):
        kind = [file for file in files if file.startswith(WAITING) is waits]
        turns |= {file: number / len(kind) for number, file in enumerate(kind)}
    items.sort(key=lambda item: turns[file_of(item)])


def pytest_collection(session: pytest.Session) -> None:
    """A third of the time of collecting many thousand tests was looks for garbage among them."""
    gc.disable()
    if worker := getattr(session.config, "workerinput", None):
        import_from(int(worker["workerid"].removeprefix("gw")) / worker["workercount"], session.config.args)


def import_from(share: float, chosen: Sequence[str]) -> None:
    """Import the test modules, beginning behind this share of them and at the first ones again after the last.

    Each process of `make test` imports all of them. As each begins elsewhere, it finds compiled, with their asserts rewritten, those that
    the others began with: in a fresh clone all of them began with the same ones, and each compiled all of them.

    :param chosen: what pytest is to run; other modules are not imported. Whatever cannot be imported is left for it to tell.
    """
    wanted = tuple(str((ROOT / one.partition("::")[0]).resolve()) for one in chosen)
    files = [file for file in sorted(ROOT.glob("tests/**/test_*.py")) if str(file).startswith(wanted)]
    begin = int(len(files) * share)
    for file in files[begin:] + files[:begin]:
        with suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Nor is there any look at them in the tests: each took half a second, some tests ask for one."""
    gc.collect()
    gc.freeze()
    gc.enable()


#: A file system in memory, and what must be free there, in bytes.
MEMORY, FREE = Path("/dev/shm"), 2**30


@contextmanager
def running_server(otherwise: Path) -> Iterator[Server]:
    """A real server. Its file lies in memory, where there is room: it outlives a killed server there as well, and no write waits for a
    disk.

    :param otherwise: the folder of its file where there is none.
    """
    with ExitStack() as stack:
        folder = otherwise
        if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > FREE:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pipeline-jobs-test-", dir=MEMORY)))
        server = Server(folder).start()
        stack.callback(server.stop)
        yield server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server for the whole session; each test clears it through `cell`."""
    with running_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """A server of this test alone, which may be filled and killed, and whose log nobody else writes."""
    server = Server(tmp_path / "own").start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def shared_browser() -> Iterator[None]:
    """One browser for all visits of a file (`browser.one_browser`)."""
    # Here, for most tests need no browser.
    from tests.browser import one_browser

    with one_browser():
        yield


@pytest.fixture
def cell(server: Server, tmp_path: Path) -> Settings:
    """Settings for an empty cell of its own on the server."""
    empty(server)
    return settings_on(server, tmp_path)


def settings_on(server: Server, folder: Path) -> Settings:
    """Settings for a cell on this server, with its data in this folder."""
    return load_settings(
        {
            "PIPELINE_REDIS_URL": server.url,
            "PIPELINE_DATA_DIR": str(folder / "data"),
            "ENABLE_PIPELINE_JOB_QUEUE": "1",
            "ENABLE_PIPELINE_RUN_API": "1",
            "PIPELINE_ALLOW_PRIVATE_URLS": "1",
            "PIPELINE_MODULES": "examples.demo_pipelines",
            "PIPELINE_SECRET_KEY": "test-key",
            # Seconds at each start of a worker; those who ask for it turn it on.
            "PIPELINE_SELF_TEST": "0",
            # A worker that a test pretends says once that it is there, and lives for three times as long: also where a test stands still
            # for seconds. Stacks of real workers, and tests of the end of such a life, have a time of their own.
            "PIPELINE_ANNOUNCE_SECONDS": "1000",
        }
    )


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """A test may make its process one of ours (`logs.take_over`); the next one in it finds it as it was.

    Else what stages say would reach pytest's capture, and text that is no Unicode would end the process that reports it.
    """
    clear_contextvars()
    correlation.bind(correlation.Correlation())
    root, handler = logging.getLogger(), logs._handler
    level, handler.own = root.level, None
    root.removeHandler(handler)
    logs.configure()
    yield
    root.setLevel(level)
    root.removeHandler(handler)
