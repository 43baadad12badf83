"""Fixtures that all tests share."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from structlog.contextvars import clear_contextvars

from pipeline_jobs import logs
from pipeline_jobs.settings import Settings, load_settings
from pipeline_jobs.tracing import correlation
from tests.servers import Server

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

#: What takes a process longest comes first, so that no process works alone at the end.
LONGEST_FIRST = ("tests/chaos/", "tests/acceptance/", "tests/unit/test_lint.py", "tests/integration/", "tests/unit/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files in the order in which the processes of `make test` are to take them."""

    def rank(item: pytest.Item) -> int:
        name = item.nodeid
        return next((place for place, start in enumerate(LONGEST_FIRST) if name.startswith(start)), len(LONGEST_FIRST))

    items.sort(key=rank)


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
def cell(server: Server, tmp_path: Path) -> Settings:
    """Settings for an empty cell of its own on the server."""
    with server.client() as client:
        client.flushall()
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
