"""Real processes that start in a fraction of the time: forked from one that has imported all that they need.

Of the 1.1 s of a processor that a worker takes to start, and the 1.8 s of the API, all but 0.2 s are imports, and a run of the tests
starts hundreds. What is ours asks nothing of its process as it is imported (a test holds that) but for `failpoints`: a process that is
told of one reads that module once more. One that has something else in its environment than this process, besides our settings
(`LD_PRELOAD`, `OTEL_...`), is started as usual: what is not ours may read it as it is imported. So is everything where the kernel is not
Linux's.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests import kept_metadata

#: What is not ours and imported by a worker, beat, the API, Flower, the `celery` command, or (`pytest`) a server with an app of the tests.
#: Not `celery.bin.celery`: it loads our commands.
MODULES = (
    "celery.app.amqp", "celery.app.control", "celery.app.events", "celery.apps.beat", "celery.apps.worker", "celery.backends.redis",
    "celery.bin.amqp", "celery.bin.base", "celery.bin.beat", "celery.bin.control", "celery.bin.worker", "celery.concurrency.prefork",
    "celery.contrib.migrate", "celery.events.state", "celery.worker.components", "celery.worker.consumer", "click", "click_didyoumean",
    "click_repl", "cronsim", "flask_openapi", "flower.command", "fsspec.implementations.local", "gunicorn.app.wsgiapp",
    "gunicorn.workers.gthread", "itsdangerous", "kombu.transport.memory", "kombu.transport.pyamqp", "kombu.transport.redis",
    "opentelemetry.trace", "prometheus_client.core", "psutil", "pydantic.type_adapter", "pytest", "requests", "rich.progress",
    "simple_websocket", "ssrfguard.requests", "standardwebhooks", "structlog", "werkzeug.middleware.proxy_fix", "wsgiref.simple_server",
    "wsproto",
)  # fmt: skip
#: What is ours and imported by them, and what imports that. Not what asks for its settings meanwhile, nor `pipeline_jobs.media.pipeline`,
#: which registers a pipeline.
OWN = (
    "celery.bin.celery", "pipeline_jobs.cli", "pipeline_jobs.media.in_parts", "pipeline_jobs.operation.metrics_server",
    "pipeline_jobs.serve", "pipeline_jobs.web.server.gunicorn_logs",
)  # fmt: skip
#: The one variable that something of ours reads as it is imported (`pipeline_jobs.failpoints`).
READ_AT_IMPORT = "PIPELINE_FAILPOINTS"
ROOT = Path(__file__).resolve().parents[1]
#: How a variable begins by which tests find their processes: it must be seen in /proc.
SHOWN = "CHAOS_"
#: Names of variables that nobody reads but our own modules, and pytest; the last two Celery and Flower also, but not as they are imported.
OURS = ("PIPELINE_", "ENABLE_PIPELINE_", "PYTEST_", SHOWN, "CELERY_BROKER_URL", "FLOWER_")
#: Of our own that every process of the tests has.
PYTHON = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
#: prctl(2): a signal when the parent ends; orphans below a process become its children.
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LARGEST = 2**20


def others(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that what is not ours may read."""
    return {name: value for name, value in environment.items() if not name.startswith(OURS)}


#: Of this process, before a test changed any.
USUAL = {**others(os.environ), **PYTHON}


def can_fork(command: Sequence[str], env: Mapping[str, str]) -> bool:
    return sys.platform == "linux" and tuple(command[:2]) == (sys.executable, "-m") and others(env) == USUAL


def start(command: Sequence[str], *, env: Mapping[str, str], stdout: int, stderr: int) -> subprocess.Popen[bytes]:
    """Start a command in this tree and in a session of its own, as `subprocess.Popen` does.

    :param command: is forked if it is `sys.executable -m MODULE ...`. :param stdout: a file's number, as is `stderr`.
    """
    if can_fork(command, env):
        return fork(command, env=env, stdout=stdout, stderr=stderr)
    return subprocess.Popen(command, cwd=ROOT, env=dict(env), stdout=stdout, stderr=stderr, start_new_session=True)


def quiet(command: Sequence[str], **settings: str) -> subprocess.Popen[bytes]:
    """Start a command with this process's environment and these settings. What it says goes nowhere."""
    with open(os.devnull, "wb") as nowhere:
        return start(command, env={**os.environ, **PYTHON, **settings}, stdout=nowhere.fileno(), stderr=nowhere.fileno())


def fork(command: Sequence[str], *, env: Mapping[str, str], stdout: int, stderr: int, dies_with_us: bool = False) -> Forked:
    """Likewise, of what `can_fork`. :param dies_with_us: the kernel kills it when this process ends."""
    return _ready().fork(command, env, stdout, stderr, dies_with_us)


class Forked(subprocess.Popen[bytes]):
    """A child of this process that was forked by another."""

    def __init__(self, command: Sequence[str], pid: int) -> None:  # a process is there: nothing is started
        vars(self).update(
            args=command, pid=pid, returncode=None, stdin=None, stdout=None, stderr=None, _child_created=True, _sigint_wait_secs=0.25,
            _waitpid_lock=threading.Lock(), _communication_started=False, _input=None, text_mode=None,
        )  # fmt: skip


#: One fork at a time: who adopts orphans is said for all threads of this process. Else one would be init's, and whoever asks how it is
#: would be told that it has ended well.
_adopting = threading.Lock()


class Ready:
    """The process that has imported what is not ours and what is, and forks."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = theirs.fileno()
        command = (sys.executable, "-m", "tests.preloaded", str(number))
        self._process = subprocess.Popen(command, cwd=ROOT, env=USUAL, pass_fds=(number,), start_new_session=True)
        theirs.close()
        atexit.register(self.close)

    def fork(self, command: Sequence[str], env: Mapping[str, str], stdout: int, stderr: int, dies_with_us: bool) -> Forked:
        asked = json.dumps({"arguments": command[2:], "env": dict(env), "dies_with": os.getpid() if dies_with_us else 0}).encode()
        with _adopting:
            _adopt_orphans(True)
            try:
                socket.send_fds(self._connection, [asked], [stdout, stderr])
                pid = int(self._connection.recv(100))
            finally:
                _adopt_orphans(False)
        return Forked(command, pid)

    def close(self) -> None:
        self._connection.close()
        self._process.wait()


def _adopt_orphans(wanted: bool) -> None:
    """Whether an orphan becomes a child of this process, or of init as usual: else whoever waits for a killed worker's child waits on."""
    _prctl(PR_SET_CHILD_SUBREAPER, int(wanted))


def _prctl(what: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(what, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


@cache
def _only() -> Ready:
    return Ready()


#: `cache` calls for each of several threads that are the first together.
_asking = threading.Lock()


def _ready() -> Ready:
    with _asking:
        return _only()


def serve(connection: socket.socket) -> list[str] | None:
    """Fork for each request. :return: in each child its arguments, in the server None, when nobody can ask any more."""
    while True:
        asked, files, _, _ = socket.recv_fds(connection, LARGEST, 2)
        if not asked:
            return None
        reading, writing = os.pipe()
        if (between := os.fork()) == 0:
            # It ends at once, so whoever asked becomes its child's parent.
            parent = os.getpid()
            if os.fork():
                os._exit(0)
            connection.close()
            os.close(reading)
            return _become(parent, json.loads(asked), files, writing)
        os.close(writing)
        os.waitpid(between, 0)
        connection.send(os.read(reading, 100))
        for number in (reading, *files):
            os.close(number)


def _become(parent: int, asked: dict[str, object], files: list[int], ready: int) -> list[str]:
    os.setsid()
    while os.getppid() == parent:
        time.sleep(0.001)
    if asked["dies_with"]:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != asked["dies_with"]:
            os._exit(1)
    # Only now does anybody know of it: its session may be killed.
    os.write(ready, str(os.getpid()).encode())
    os.close(ready)
    for number, standard in zip(files, (1, 2), strict=True):
        os.dup2(number, standard)
        os.close(number)
    environment, arguments = asked["env"], asked["arguments"]
    assert isinstance(environment, dict)
    assert isinstance(arguments, list)
    os.environ.clear()
    os.environ.update(environment)
    _show({name: value for name, value in environment.items() if name.startswith(SHOWN)})
    return arguments


def _show(variables: Mapping[str, str]) -> None:
    """Write these over what /proc/PID/environ shows: the memory in which the first environment lay, and nobody reads any more."""
    text = b"".join(f"{name}={value}\0".encode() for name, value in variables.items())
    start, end = map(int, Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2].split()[47:49])
    if text:
        assert len(text) <= end - start
        ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


def _make_scripts() -> None:
    """What becomes of the definitions of the Lua library is kept, and the same in all processes."""
    scripts: Any = importlib.import_module("pipeline_jobs.store.scripts")
    for name in scripts.places():
        scripts.source(name)
        scripts.function(name)


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    # Until it has its own environment: else numpy would start threads.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    kept_metadata.keep()
    for name in (*MODULES, *OWN):
        importlib.import_module(name)
    _make_scripts()
    assert len(os.listdir("/proc/self/task")) == 1, "a thread is not forked"
    gc.collect()
    gc.freeze()
    if arguments := serve(connection):
        if READ_AT_IMPORT in os.environ:
            # Whoever gets to a failpoint asks the module for `reach` (a test holds that).
            importlib.reload(importlib.import_module("pipeline_jobs.failpoints"))
        # As `python -m` does it.
        module, *sys.argv[1:] = arguments
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
