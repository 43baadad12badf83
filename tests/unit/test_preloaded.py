"""Processes of the tests that are forked are as those that are started."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.failpoints import VARIABLE
from pipeline_jobs.settings import env_names
from tests import preloaded

#: `timeit` is a module that runs what it is told.
TELL = (
    "import json, os, sys; "
    "print(json.dumps([os.getppid(), os.getsid(0) == os.getpid(), os.getcwd(), sys.path[0], dict(os.environ), 'kombu' in sys.modules,"
    " [name for name in sys.modules if name.startswith('pipeline_jobs')], sorted(map(int, os.listdir('/proc/self/fd')))[:-1]]))"
)


def started(folder: Path, statement: str, **env: str) -> subprocess.Popen[bytes]:
    command = (sys.executable, "-m", "timeit", "-n1", "-r1", statement)
    with (folder / "out").open("wb") as out, (folder / "error").open("wb") as error:
        return preloaded.start(command, env={**preloaded.USUAL, **env}, stdout=out.fileno(), stderr=error.fileno())


def told(folder: Path, **env: str) -> tuple[bool, Sequence[Any]]:
    """Whether it was forked, and what it says."""
    process = started(folder, TELL, **env)
    assert process.wait(60) == 0, (folder / "error").read_text()
    return isinstance(process, preloaded.Forked), json.loads((folder / "out").read_text().splitlines()[0])


@pytest.mark.skipif(sys.platform != "linux", reason="forked on Linux only")
def test_a_forked_process_is_as_one_that_is_started(tmp_path: Path) -> None:
    forked, said = told(tmp_path, PIPELINE_REDIS_URL="redis://127.0.0.1:1/0")
    by_itself, other = told(tmp_path, PIPELINE_REDIS_URL="redis://127.0.0.1:1/0", ANOTHER="1")
    assert (forked, by_itself) == (True, False)
    *said, was_there, ours, files = said
    *other, was_there_too, _, files_too = other
    assert said[0] == os.getpid()
    assert said[4].pop("PWD", "") == other[4].pop("PWD", "")
    assert other[4].pop("ANOTHER") == "1"
    assert said == other
    assert (was_there, was_there_too, files) == (True, False, files_too)
    assert {"pipeline_jobs.serve", "pipeline_jobs.worker.app"} <= set(ours)
    asking = {name for name in ours if asks(name)}
    # What the last two read, `OTEL_...` and `ORT_...`, is what a process is not forked with.
    assert asking == {"pipeline_jobs.failpoints", "pipeline_jobs.tracing.spans", "pipeline_jobs.meaning.embedder"}


def test_whatever_settings_a_process_is_given_it_is_forked() -> None:
    """A name that was none of ours had every process of RabbitMQ's tests, and half of the chaos', import all by itself."""
    assert [name for name in env_names() if not name.startswith(preloaded.OURS)] == []


#: What tells one process from another.
OF_A_PROCESS = {
    "os.getcwd", "os.getenv", "os.getpid", "os.getppid", "os.urandom", "threading.Thread", "threading.Timer", "time.monotonic", "time.time",
    "time.time_ns", "datetime.now", "socket.gethostname", "socket.socket", "random.random", "random.Random", "secrets.randbelow",
    "secrets.token_bytes", "secrets.token_hex", "secrets.token_urlsafe", "uuid.uuid1", "uuid.uuid4", "load_settings",
}  # fmt: skip


def asks(module: str) -> bool:
    """Whether a module asks what its process has as it is imported: one that is forked would have what another had."""
    path = preloaded.ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    nodes = list(at_import(ast.parse(file.read_text("utf-8")).body))
    called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
    return bool(called & OF_A_PROCESS) or "os.environ" in {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}


def at_import(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """What runs as a module is imported: all but the bodies of its functions."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from at_import([*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)])
        elif not isinstance(node, ast.Lambda):
            yield node
            yield from at_import(ast.iter_child_nodes(node))


@pytest.mark.skipif(sys.platform != "linux", reason="forked on Linux only")
def test_a_process_with_failpoints_dies_at_them(tmp_path: Path) -> None:
    statement = "from pipeline_jobs import failpoints; failpoints.reach('run.in_stage')"
    for place, end in (("run.in_stage", -signal.SIGKILL), ("run.after_claim", 0)):
        process = started(tmp_path, statement, **{VARIABLE: f"{place}=kill"})
        assert (isinstance(process, preloaded.Forked), process.wait(60)) == (True, end)
    assert started(tmp_path, statement).wait(60) == 0, "another one has none"


def test_whoever_gets_to_a_failpoint_asks_the_module_for_it() -> None:
    """It is read once more in a process that is forked: what another module had taken from it before would be as it was."""
    texts = [path.read_text("utf-8") for path in (preloaded.ROOT / "pipeline_jobs").rglob("*.py")]
    assert sum("failpoints.reach(" in text for text in texts) > 5
    assert [text for text in texts if "from pipeline_jobs.failpoints import" in text] == []


def test_its_end_is_told(tmp_path: Path) -> None:
    assert started(tmp_path, "import os; os._exit(7)").wait(60) == 7
    assert started(tmp_path, "raise LookupError('broken')").wait(60) == 1
    assert "LookupError: broken" in (tmp_path / "error").read_text()
    waits = started(tmp_path, "import signal; signal.pause()")
    assert waits.poll() is None
    os.killpg(waits.pid, signal.SIGKILL)
    assert waits.wait(60) == -signal.SIGKILL


def test_those_that_start_at_once_are_all_ours(tmp_path: Path) -> None:
    """The end of one that init had adopted would be told as 0."""
    folders = [tmp_path / str(number) for number in range(8)]

    def start(number: int) -> subprocess.Popen[bytes]:
        folders[number].mkdir()
        return started(folders[number], f"import os; os._exit({number + 1})")

    with ThreadPoolExecutor(len(folders)) as pool:
        processes = list(pool.map(start, range(len(folders))))
    assert [process.wait(60) for process in processes] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_processes_that_are_started_at_once_are_forked_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them would switch off each other's adoption of orphans: a process of one of them had an end that was not its own."""
    made: list[object] = []
    together, another = threading.Barrier(4), threading.Event()

    def make() -> object:
        made.append(mine := object())
        if len(made) > 1:
            another.set()
        another.wait(0.1)
        return mine

    # What is there already is for later.
    monkeypatch.setattr(preloaded, "_only", cache(make))

    def ask() -> object:
        together.wait()
        return preloaded._ready()

    with ThreadPoolExecutor(4) as pool:
        found = {pool.submit(ask) for _ in range(4)}
    assert len({id(one.result()) for one in found}) == len(made) == 1
