"""What a stage is given: its inputs, a folder of its own, and `progress()`, which is also where a cancel reaches it."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline_jobs.exceptions import BadParameters, SourceNotFound, StageError, StopRun
from pipeline_jobs.runlog import capture
from pipeline_jobs.runlog.run_log import Printed, RunLog
from pipeline_jobs.settings import Settings

T = TypeVar("T")

#: Shortest time between two looks at the store from `check_cancelled()`, in seconds.
CHECK_INTERVAL = 0.5


def no_uploads(upload_id: str) -> tuple[int, Iterator[bytes]]:
    """Where there is no store there are no uploads."""
    raise SourceNotFound("there is no such upload")


def no_parts(context: JobContext) -> Mapping[str, Any] | None:
    """Where nobody runs parts."""
    raise BadParameters("a stage in parts cannot run here")


def no_links(name: str, payload: Any, expires_seconds: float) -> str:
    """Where no job is stored there is none to be signalled."""
    raise BadParameters("only a job has links for its signals")


class Reporter(Protocol):
    """The run that a context belongs to. `executor` has the real one; tests bring their own."""

    def report(self, stage: str, percent: float, message: str | None) -> None:
        """Take the job's progress (0-100); coalesced, the last value is always written.

        :raises JobCancelled: a cancel was requested.
        :raises LeaseLost: another run has this job now.
        """

    def warn(self, stage: str, text: str) -> None:
        """Take a warning of a stage: it becomes an event, with the next `report`."""
        return

    def cached(self, stage: str) -> None:
        """Take that this stage, the last to begin, does not run: another job has given its output. Told with the next `report`."""
        return

    def check(self) -> None:
        """Raise like `report` if this run must stop."""


class StageTimeout(StageError):
    """The stage took longer than it may."""

    code = "stage_timeout"
    retryable = True


class StageLate(StopRun):
    """The time of this stage is over: raised in the stage, wherever it is; whoever runs it makes a `StageTimeout` of it."""

    code = "stage_late"


class StageLimit:
    """How long the stage that runs now may take (`Stage.timeout`). Another thread may look at it."""

    def __init__(self) -> None:
        self._ends: float | None = None
        #: `StageLate` was raised in the stage; and somebody sees to it that it will be, should the stage look at nothing.
        self.raised = self.told = False

    def begin(self, seconds: float | None) -> None:
        """:param seconds: None: there is no limit, or the stage is over."""
        self.raised = self.told = False
        self._ends = None if seconds is None else time.monotonic() + seconds

    @property
    def due(self) -> bool:
        """The time is over, and the stage has not been told."""
        return not self.raised and self._ends is not None and time.monotonic() >= self._ends

    def check(self) -> None:
        """:raises StageLate: once. What a stage does to clean up is not stopped."""
        if self.due:
            self.raised = True
            raise StageLate


@cache
def _stage_logger() -> Any:
    # Imported here: media's child, which has a logger of its own, starts a fifth sooner without it.
    return importlib.import_module("structlog").get_logger("pipeline_jobs.stage")


@dataclass(frozen=True, slots=True)
class Parent:
    """A job that this one depended on, as it has ended."""

    job_id: str
    #: `completed`, `failed`, `cancelled`; `gone`: its record has been deleted.
    status: str
    error: str | None = None
    #: What its record has of its result: a large one is a file.
    kept: Any = None
    read: Callable[[], Any] = lambda: None

    @property
    def result(self) -> Any:
        """What it gave: `data` of its result, wherever that lies; None: it did not complete.

        :raises ResultGone: it has been deleted. :raises MachineFault: let it pass.
        """
        return self.read()


@dataclass(slots=True)
class JobContext:
    """What a stage is given. A stage knows this and `exceptions` only: no Celery, Redis or Flask.

    `data` holds what the earlier stages returned, merged; JSON values only (paths as strings relative to `workdir`). A stage that returns
    `warnings` (a list of texts, "code: A sentence.") adds to those of the others; each is told as an event.
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
    #: The payloads of the signals that came before this run, by name (`pipelines.Wait`).
    signals: Mapping[str, Any] = field(default_factory=dict)
    #: `signal_url(name, payload, expires_seconds)`: a link for a mail, which sends that signal to this job when it is confirmed.
    signal_url: Callable[[str, Any, float], str] = no_links
    #: How a stage that runs in parts does so (`stage.Map`): whoever runs the pipeline sets it.
    fan_out: Callable[[JobContext], Mapping[str, Any] | None] = no_parts
    #: Which attempt of the job this is: 1, 2, ... A run after a crash is the same attempt again.
    attempt: int = 1
    #: Name of the stage that runs now, and the percentages of the whole at which it begins and ends.
    stage: str = ""
    span: tuple[float, float] = (0.0, 100.0)
    logger: Any = field(default_factory=_stage_logger)
    #: `copy_out(paths, told)` copies published files where the operator wants copies of results, the film first; `told(fraction)` as they
    #: go. Gives fields of the result: `drive_url`, or `warnings` of why not (yet). Nothing, where no copies are wanted.
    copy_out: Callable[[Sequence[Path], Callable[[float], None]], Mapping[str, Any]] = lambda paths, told: {}
    #: `spend(tokens)`: may this tenant use so many tokens more of the operator's language model today? `ok`, or why not: `full`, `none`.
    spend: Callable[[int], str] = lambda tokens: "none"
    #: The jobs that this one depended on, by their names in the workflow (without one: by their ids). A stage behind walls has none.
    parents: Mapping[str, Parent] = field(default_factory=dict)
    #: `open_upload(id)` gives size and bytes of an upload of this tenant's workspace; `SourceNotFound` if there is none.
    open_upload: Callable[[str], tuple[int, Iterator[bytes]]] = no_uploads
    #: Closed when the run ends, whichever way, before its folder goes.
    closing: ExitStack = field(default_factory=ExitStack)
    #: The run's own log (`docs/logs.md`); `log` writes into it.
    run_log: RunLog = field(default_factory=RunLog)
    #: How long the stage that runs now may take.
    limit: StageLimit = field(default_factory=StageLimit)
    _opened: dict[Any, Any] = field(default_factory=dict)
    _last_check: float = 0.0
    _log: logging.Logger | None = None
    #: Threads that read what children print.
    _readers: list[threading.Thread] = field(default_factory=list)

    @property
    def log(self) -> logging.Logger:
        """A logger of `logging` whose lines are in the log of this job, from every thread and from DEBUG on.

        What a stage prints, and what it writes to any other logger, is there as well: `docs/logs.md` says what is not.
        """
        if self._log is None:
            self._log = capture.logger_of(self.run_log)
        return self._log

    def printed(self, name: str) -> Printed:
        """Takes what a stage itself reads of a child, as lines of the job's log. :param name: `stdout` or `stderr`."""
        return Printed(self.run_log, name)

    def begin(self, stage: str, span: tuple[float, float]) -> None:
        """This stage runs now. :param span: the percentages of the whole at which it begins and ends."""
        self.stage, self.span, self.run_log.stage = stage, span, stage

    def opened(self, make: Callable[[JobContext], AbstractContextManager[T]]) -> T:
        """What `make` opens, once for all stages of the run, and until its end."""
        if make not in self._opened:
            self._opened[make] = self.closing.enter_context(make(self))
        found: T = self._opened[make]
        return found

    def forget(self, make: Any) -> None:
        """Have `opened` make it anew: what it made has broken. That one is closed at the end of the run all the same."""
        self._opened.pop(make, None)

    def progress(self, fraction: float, message: str | None = None) -> None:
        """Say how far this stage is (0.0-1.0). Cheap: call it as often as you like; the store sees at most a few a second.

        :raises JobCancelled: let it pass.
        :raises LeaseLost: let it pass.
        """
        self.limit.check()
        start, end = self.span
        percent = start + (end - start) * min(max(fraction, 0.0), 1.0)
        self.reporter.report(self.stage, round(percent, 1), message)

    def check_cancelled(self) -> None:
        """Call it in loops that have no progress to tell. Asks the store at most every `CHECK_INTERVAL` seconds.

        :raises JobCancelled: let it pass.
        :raises LeaseLost: let it pass.
        """
        self.limit.check()
        now = time.monotonic()
        if now - self._last_check >= CHECK_INTERVAL:
            self._last_check = now
            self.reporter.check()

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a child process that cannot outlive the job: in a process group of its own, killed with its parent.

        :param options: of `subprocess.Popen`. What it prints is in the log of the job, unless `stdout` or `stderr` say where it goes.
        """
        options.setdefault("cwd", self.workdir)
        options.setdefault("stdin", subprocess.DEVNULL)
        files = [self._logged(name, options) for name in ("stdout", "stderr") if name not in options]
        try:
            return subprocess.Popen([*_LAUNCHER, str(os.getpid()), *command], start_new_session=True, **options)
        finally:
            for file in files:
                os.close(file)

    def _logged(self, name: str, options: dict[str, Any]) -> int:
        """Have a stream of a child that is about to start in the log of the job. :return: its file, to be closed when it has started."""
        options[name], reader = capture.pipe(self.run_log, name)
        self._readers.append(reader)
        file: int = options[name]
        return file

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
            self._join_readers()

    def _join_readers(self) -> None:
        """What a child has said before its end is in the log. What a child of its own holds open is read on; the run does not wait."""
        deadline = time.monotonic() + capture.DRAIN_SECONDS
        for reader in self._readers:
            reader.join(max(0.0, deadline - time.monotonic()))
        self._readers = [reader for reader in self._readers if reader.is_alive()]


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
