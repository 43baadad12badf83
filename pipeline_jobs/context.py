"""What a stage is given: its inputs, a folder of its own, and `progress()`, which is also where a cancel reaches it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog

from pipeline_jobs.exceptions import SourceNotFound
from pipeline_jobs.settings import Settings

T = TypeVar("T")

#: Shortest time between two looks at the store from `check_cancelled()`, in seconds.
CHECK_INTERVAL = 0.5


def no_uploads(upload_id: str) -> tuple[int, Iterator[bytes]]:
    """Where there is no store there are no uploads."""
    raise SourceNotFound("there is no such upload")


class Reporter(Protocol):
    """The run that a context belongs to. `executor` has the real one; tests bring their own."""

    def report(self, stage: str, percent: float, message: str | None) -> None:
        """Take the job's progress (0-100); coalesced, the last value is always written.

        :raises JobCancelled: a cancel was requested.
        :raises LeaseLost: another run has this job now.
        """

    def check(self) -> None:
        """Raise like `report` if this run must stop."""


@dataclass(slots=True)
class JobContext:
    """What a stage is given. A stage knows this and `exceptions` only: no Celery, Redis or Flask.

    `data` holds what the earlier stages returned, merged; JSON values only (paths as strings relative to `workdir`).
    """

    job_id: str
    tenant_id: str
    workspace_id: str
    url: str | None
    quality: str | None
    params: Mapping[str, Any]
    #: A folder of this run alone, removed when the run ends.
    workdir: Path
    settings: Settings
    reporter: Reporter
    #: `publish(local_path, name)` copies a file into this run's folder of the artifact store and gives the link that
    #: clients can open. What a run published becomes visible only when the run's `finish` wins.
    publish: Callable[[Path, str], str]
    data: dict[str, Any] = field(default_factory=dict)
    #: Name of the stage that runs now, and the percentages of the whole at which it begins and ends.
    stage: str = ""
    span: tuple[float, float] = (0.0, 100.0)
    logger: Any = field(default_factory=lambda: structlog.get_logger("pipeline_jobs.stage"))
    #: `open_upload(id)` gives size and bytes of an upload of this tenant's workspace; `SourceNotFound` if there is none.
    open_upload: Callable[[str], tuple[int, Iterator[bytes]]] = no_uploads
    #: Closed when the run ends, whichever way, before its folder goes.
    closing: ExitStack = field(default_factory=ExitStack)
    _opened: dict[Any, Any] = field(default_factory=dict)
    _last_check: float = 0.0

    def opened(self, make: Callable[[JobContext], AbstractContextManager[T]]) -> T:
        """What `make` opens, once for all stages of the run, and until its end."""
        if make not in self._opened:
            self._opened[make] = self.closing.enter_context(make(self))
        found: T = self._opened[make]
        return found

    def progress(self, fraction: float, message: str | None = None) -> None:
        """Say how far this stage is (0.0-1.0). Cheap: call it as often as you like; the store sees at most a few a second.

        :raises JobCancelled: let it pass.
        :raises LeaseLost: let it pass.
        """
        start, end = self.span
        percent = start + (end - start) * min(max(fraction, 0.0), 1.0)
        self.reporter.report(self.stage, round(percent, 1), message)

    def check_cancelled(self) -> None:
        """Call it in loops that have no progress to tell. Asks the store at most every `CHECK_INTERVAL` seconds.

        :raises JobCancelled: let it pass.
        :raises LeaseLost: let it pass.
        """
        now = time.monotonic()
        if now - self._last_check >= CHECK_INTERVAL:
            self._last_check = now
            self.reporter.check()

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a child process that cannot outlive the job: in a process group of its own, killed with its parent.

        Use it as a context manager through `process()` unless you need the handle.
        """
        options.setdefault("cwd", self.workdir)
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen([*_LAUNCHER, str(os.getpid()), *command], start_new_session=True, **options)

    def wait_process(self, process: subprocess.Popen[bytes], poll_seconds: float = 0.1) -> int:
        """Wait for a child, looking for a cancel meanwhile; kills its whole group if the run must stop.

        :return: its exit code.
        """
        try:
            while True:
                try:
                    return process.wait(timeout=poll_seconds)
                except subprocess.TimeoutExpired:
                    self.check_cancelled()
        finally:
            kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a process started by `JobContext.popen` with all its children, and reap it. Safe when it has ended."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


#: Asks the kernel (Linux) to kill the child with its parent, then becomes the command. A process of its own rather than a `preexec_fn`:
#: that would run Python between fork and exec while other threads hold their locks.
_LAUNCHER = (
    sys.executable,
    "-I",
    "-S",
    "-c",
    "import ctypes, os, signal, sys\n"
    "if sys.platform == 'linux': ctypes.CDLL(None).prctl(1, signal.SIGKILL)\n"
    "if os.getppid() == int(sys.argv[1]): os.execvp(sys.argv[2], sys.argv[2:])\n",
)
