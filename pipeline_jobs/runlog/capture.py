"""Brings what a stage logs and prints into the log of its run, whichever way it does it.

Python's own ways are taken: `context.log`, any logger of `logging` (what the worker's `--loglevel` lets through), `print` and whatever
else writes to `sys.stdout` and `sys.stderr`, and the two of a child that `context.popen` starts without saying where they go. Not taken
are bytes that go past these: of `sys.stdout.buffer`, of a library in C, and of a child that somebody else starts.

Whose a line is says the context (`contextvars`) of the code that writes it. A thread that a stage has started has none: its lines are the
run's if the process runs no other and the thread was not there before the run began, so that what an earlier job has left running cannot
write into the log of another.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from codecs import getincrementaldecoder
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from contextvars import ContextVar
from typing import Any

from pipeline_jobs.runlog.run_log import STREAMS, Printed, RunLog

#: Of our own loggers these write what stages say; what the others say is the operator's.
STAGES = "pipeline_jobs.stage"
_OURS = "pipeline_jobs."
#: Bytes that are read of a child at once, and how long the end of a run waits for what its children said last, in seconds.
READ_BYTES, DRAIN_SECONDS = 1 << 16, 1.0

_current: ContextVar[_Captured | None] = ContextVar("pipeline_jobs_run_log", default=None)
_active: set[_Captured] = set()
#: Held while runs begin and end.
_lock = threading.Lock()
#: In a thread whose printing is being passed on to where it would have gone.
_passing_on = threading.local()


class _Captured:
    """A run whose lines are taken."""

    def __init__(self, log: RunLog) -> None:
        self.log = log
        self.strangers = frozenset(threading.enumerate()) - {threading.current_thread()}
        self._printed: dict[tuple[str, int], Printed] = {}

    def print(self, name: str, text: str) -> bool:
        """Take what was printed. Each thread has its own line that has begun."""
        key = name, threading.get_ident()
        if (printed := self._printed.get(key)) is None:
            printed = self._printed[key] = Printed(self.log, name)
        return printed.write(text)

    def flush(self) -> None:
        for printed in list(self._printed.values()):
            printed.flush()

    def __enter__(self) -> None:
        with _lock:
            if not _active:
                _install()
            _active.add(self)
        self._token = _current.set(self)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
        self.flush()
        with _lock:
            _active.discard(self)
            if not _active:
                _uninstall()


def captured(log: RunLog) -> AbstractContextManager[None]:
    """In this block, what this thread and those that it starts say goes into this log."""
    return _Captured(log)


def _here() -> _Captured | None:
    """The run that this thread works for; None: none, or nobody knows."""
    if not _active or getattr(_passing_on, "now", False):
        return None
    run = _current.get()
    if run is None:
        with suppress(KeyError, ValueError, RuntimeError):
            (only,) = _active
            run = only if threading.current_thread() not in only.strangers else None
    return None if run is None or run.log.closed else run


class _Stream:
    """Stands in the place of `sys.stdout` or `sys.stderr` while a run is on."""

    def __init__(self, name: str, behind: Any) -> None:
        self._name, self.behind = name, behind

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)

    def write(self, text: str) -> int:
        run = _here()
        if run is None or (run.print(self._name, text) and run.log.may_echo(len(text))):
            _passing_on.now, before = True, getattr(_passing_on, "now", False)
            try:
                self.behind.write(text if run is None else run.log.masked(text))
            finally:
                _passing_on.now = before
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """It is not the run's to close."""


class _Handler(logging.Handler):
    """The handler of the root logger: takes the lines of the run that this thread works for."""

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "of_run") or (run := _here()) is None:
            return
        if record.name.startswith(_OURS) and not record.name.startswith(STAGES):
            _mask_traceback(run.log, record)
        else:
            _take(run.log, record)


class _ContextHandler(logging.Handler):
    """The handler of `context.log`: its lines are its run's, whichever thread writes them."""

    def __init__(self, log: RunLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        _take(self._log, record)
        if record.levelno < logging.getLogger(STAGES).getEffectiveLevel():
            record.__dict__["beyond_limits"] = True


_handler = _Handler()
#: The root has it before the others: they are to see what it notes.
_LOGGERS = tuple(map(logging.getLogger, (None, STAGES, _OURS.rstrip("."))))


def logger_of(log: RunLog) -> logging.Logger:
    """`context.log`. What it writes is in the worker's log too, from its level on."""
    logger = logging.Logger("stage", logging.DEBUG)
    logger.addHandler(_ContextHandler(log))
    logger.parent = logging.getLogger(STAGES)
    return logger


def _take(log: RunLog, record: logging.LogRecord) -> None:
    """What else handles the record sees whether the worker's own log may have it, and none of the job's secrets."""
    record.__dict__["of_run"] = True
    if not log.add(record.levelno, record.name, text_of(record)):
        record.__dict__["beyond_limits"] = True
        return
    _mask_traceback(log, record)
    if isinstance(record.msg, Mapping):
        record.msg = {name: log.masked(value) if isinstance(value, str) else value for name, value in record.msg.items()}
        return
    with suppress(Exception):  # its arguments do not fit its text: `logging` says so
        said = record.getMessage()
        if (masked := log.masked(said)) != said:
            record.msg, record.args = masked, None


def _mask_traceback(log: RunLog, record: logging.LogRecord) -> None:
    """Whatever writes the record, `logs` or a formatter of Python's, has its traceback without the job's secrets."""
    if info := _exc_info_of(record):
        text = log.masked("".join(traceback.format_exception(*info)).rstrip())
        record.__dict__["masked_traceback"], record.exc_text = text, text


def _exc_info_of(record: logging.LogRecord) -> Any:
    """As `sys.exc_info` has it; None: the record has no traceback."""
    given = record.msg.get("exc_info") if isinstance(record.msg, Mapping) else record.exc_info
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    info = sys.exc_info() if given is True else given
    return info if info and info[0] is not None else None


def add_traceback(log: RunLog) -> None:
    """Add the traceback of the error that is being handled: a stage has raised what it did not foresee."""
    log.add(logging.ERROR, STAGES, traceback.format_exc().rstrip())


def text_of(record: logging.LogRecord) -> str:
    """The message, with the traceback if the record has one: lines of code, no value of a variable."""
    try:
        said = _of_event(record.msg) if isinstance(record.msg, Mapping) else record.getMessage()
    except Exception:
        # Its arguments do not fit its text: `logging` would print that to standard error.
        said = str(record.msg)
    if info := _exc_info_of(record):
        said += "\n" + "".join(traceback.format_exception(*info)).rstrip()
    return said


def _of_event(event: Mapping[str, Any]) -> str:
    """What structlog was given: the event, and what it was told of besides. What is bound to all lines of the run each line has already."""
    bound = {"event", "job_id", "tenant", "workspace", "attempt", "request_id", "stage", "level", "logger", "timestamp", "exc_info"}
    values = [f"{name}={value}" for name, value in event.items() if name not in bound and not name.startswith("_") and value is not None]
    return " ".join([str(event.get("event", "")), *values])


def pipe(log: RunLog, name: str) -> tuple[int, threading.Thread]:
    """What a child writes is printed by its run.

    :return: the file that the child writes to, for the caller to close, and the thread that reads until nobody has it open.
    """
    mine, its = os.pipe()
    thread = threading.Thread(target=_drain, args=(log, name, mine), name=f"log-{name}", daemon=True)
    thread.start()
    return its, thread


def _drain(log: RunLog, name: str, file: int) -> None:
    printed, decode = Printed(log, name), getincrementaldecoder("utf-8")("replace").decode
    with os.fdopen(file, "rb", buffering=0) as source:
        while data := source.read(READ_BYTES):
            printed.write(decode(data))
    printed.flush()


def _install() -> None:
    for name in STREAMS:
        setattr(sys, name, _Stream(name, getattr(sys, name)))
    # Whoever has set logging up meanwhile may have taken it away.
    for logger in _LOGGERS:
        if _handler not in logger.handlers:
            logger.handlers.insert(0, _handler)


def _uninstall() -> None:
    for name in STREAMS:
        if isinstance(stream := getattr(sys, name), _Stream):
            setattr(sys, name, stream.behind)


def _forget_runs() -> None:
    """In a forked child nobody sends what it would take: its lines go where they would have gone."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    _active.clear()
    _uninstall()


os.register_at_fork(after_in_child=_forget_runs)
