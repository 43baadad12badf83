"""How log lines look: one line an event, values quoted where they could break it, and no value of a program's variables."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TextIO

import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars
from structlog.typing import ExcInfo

#: Before each line of a traceback: its text may be a client's, and must not look like a line of ours.
MARGIN = "  | "


def configure() -> None:
    """For this process. Twice is once."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S"),
            # structlog's own choice, rich, shows local variables: keys, urls and params would be among them.
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=format_exception),
        ]
    )
    celery_says = logging.getLogger("celery.app.trace")
    if not any(isinstance(known, _NoTraceOfJobs) for known in celery_says.filters):
        celery_says.addFilter(_NoTraceOfJobs())


def bind_request_id(request_id: str) -> None:
    """From now on each log line of this thread has this id, and nothing that an earlier request of the thread had bound."""
    clear_contextvars()
    bind_contextvars(request_id=request_id)


def to_stderr() -> None:
    """For commands, whose standard output is their answer."""
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


def format_exception(out: TextIO, info: ExcInfo) -> None:
    """The traceback, each line behind a margin."""
    text = "".join(traceback.format_exception(*info))
    out.write("\n".join(MARGIN + line for line in text.splitlines()))


class _NoTraceOfJobs(logging.Filter):
    """A job that failed is no fault of the worker: Celery says so in one line, without the traceback, which would quote its error raw."""

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.exc_info[0] if record.exc_info else None
        if kind is not None and kind.__name__ == "JobFailed":
            record.exc_info = None
            record.exc_text = None
            context = record.args if isinstance(record.args, dict) else {}
            # Celery puts the traceback into the message itself too.
            record.args = {**context, "traceback": ""}
        return True
