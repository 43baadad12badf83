"""How log lines look, of every process and whoever writes them: one line an event, in one format, and no value of a program's variables.

All go through the standard library's logging: its levels hold (`--loglevel`), and lines of Celery, gunicorn and other libraries look
as ours.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import Any, TextIO, cast

import structlog
from structlog.contextvars import STRUCTLOG_KEY_PREFIX, STRUCTLOG_KEY_PREFIX_LEN, bind_contextvars, clear_contextvars
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, ExcInfo, Processor

#: Before each further line of an event: its text may be a client's, and must not look like a line of ours.
MARGIN = "  | "
#: The logger above all of ours.
OURS = logging.getLogger("pipeline_jobs")
_ROOT = logging.getLogger()
_WORDS = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}

#: What ends a line, or moves the cursor, with what stands for it. A new line has its margin.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(10), *range(11, 32), *range(127, 160))} | {0x2028: "\\u2028", 0x2029: "\\u2029"}
#: How often a line is written that says that something failed and is tried again, in seconds, and how many of their causes are known.
SELDOM_SECONDS, MAX_CAUSES = 60.0, 1000
#: What structlog's renderers write otherwise than a value, and what a value has that they quote.
_RENDERED_APART = {"exception", "exc_info", "stack", "stack_info", "logger_name", "_record"}
_TO_QUOTE = frozenset(" \t=\r\n\"'")
_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure(form: str = "console") -> None:
    """For this process, whoever's it is: our own lines go to standard error. `take_over` does it for all lines. Twice is once.

    :param form: `console` or `json`.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _Seldom(),
            *_SHARED,
            structlog.processors.StackInfoRenderer(),
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    _handler.setFormatter(formatter(form))
    if _handler not in logging.getLogger().handlers:
        OURS.handlers, OURS.propagate = [_handler], False
        OURS.setLevel(logging.INFO)
    _add_filter("celery.app.trace", _NoTraceOfJobs())


def take_over(level: int = logging.INFO, handler: logging.Handler | None = None) -> logging.Handler:
    """All lines of this process, from this level on, go one way, in the format of `configure`. For processes that are all ours.

    :param handler: where they go; None: standard error. :return: the same; a logger that does not propagate needs it.
    """
    root = logging.getLogger()
    OURS.handlers, OURS.propagate = [], True
    OURS.setLevel(logging.NOTSET)
    if handler is None:
        handler = _handler
        # What a program may put into the place of `sys.stderr` may itself write log lines.
        _handler.own = sys.__stderr__
    handler.setFormatter(_handler.formatter)
    handler.addFilter(within_limits)
    root.handlers = [handler]
    root.setLevel(level)
    return handler


def formatter(form: str) -> logging.Formatter:
    """:param form: `console` or `json`."""
    processors = [_about, _masked_traceback, ProcessorFormatter.remove_processors_meta, *_FORMS[form]]
    return _Formatter(_QUICK[form], foreign_pre_chain=_SHARED, processors=processors)


def within_limits(record: logging.LogRecord) -> bool:
    """Not what a job has said beyond what the worker's own log has of it (`runlog.capture`)."""
    return not getattr(record, "beyond_limits", False)


def quiet(logger: str, repeats: Callable[[logging.LogRecord], bool]) -> None:
    """Lines of this logger that say every few seconds that all is well are worth DEBUG, not INFO. Twice is once."""
    _add_filter(logger, _Quiet(repeats))


def say(logger: logging.Logger, level: int, text: str, about: Mapping[str, Any]) -> None:
    """Write a line that has values only. Most often nobody but our own handler would be told of it: then the record that tells it to all
    handlers is not made, which costs more than the line itself.

    :param logger: right below `OURS`. :param level: one that is written. :param about: values by their names, in order.
    """
    line = _line(logger.name, level, text, about) if _is_told_alone(logger) else None
    # Who cannot write says so as for any other line.
    if line is None or not _handler.wrote(line):
        # Not `log`, which would look for who calls it: no line says that.
        logger.handle(logger.makeRecord(logger.name, level, "", 0, text, (), None, extra={"about": about}))


def _is_told_alone(logger: logging.Logger) -> bool:
    """All lines of this logger go to our handler, as they are, and to no other."""
    between = logger.filters or logger.handlers or OURS.handlers or not (logger.propagate and OURS.propagate)
    return not between and _ROOT.handlers == [_handler] and _handler.filters == [within_limits] and not _handler.level


def _line(logger: str, level: int, text: str, about: Mapping[str, Any]) -> str | None:
    """What our formatter makes of it. None: it needs the whole record."""
    written, word = _handler.formatter, _WORDS.get(level)
    return written.line(logger, word, text, about) if type(written) is _Formatter and word else None


def bind_request_id(request_id: str) -> None:
    """From now on each log line of this thread has this id, and nothing that an earlier request of the thread had bound."""
    clear_contextvars()
    bind_contextvars(request_id=request_id)


def format_exception(out: TextIO, info: ExcInfo) -> None:
    """The traceback, each line behind a margin."""
    text = "".join(traceback.format_exception(*info))
    out.write("".join(f"\n{MARGIN}{line}" for line in text.splitlines()))


class _Seldom:
    """A line with `seldom=True` is written once a minute of each cause: what is tried again each second would fill the disk meanwhile, the
    more so a full one. `repeats` says how many were left out since the last one."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, ...], tuple[float, int]] = {}

    def __call__(self, logger: Any, _name: str, event: EventDict) -> EventDict:
        if not event.pop("seldom", False):
            return event
        cause = tuple(map(str, (getattr(logger, "name", ""), event["event"], event.get("error", event.get("reason")))))
        now, (last, left_out) = time.monotonic(), self._said.get(cause, (float("-inf"), 0))
        if now - last < SELDOM_SECONDS:
            self._said[cause] = last, left_out + 1
            raise structlog.DropEvent
        if len(self._said) >= MAX_CAUSES:
            self._said.clear()
        self._said[cause] = now, 0
        return {**event, "repeats": left_out} if left_out else event


class _ToStderr(logging.Handler):
    """To what is standard error at the time of the line, or to what `own` says."""

    own: TextIO | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.write(self.format(record))
        except Exception:
            self.handleError(record)

    def wrote(self, line: str) -> bool:
        """It is written."""
        try:
            with self.lock:  # type: ignore[union-attr]
                self.write(line)
        except Exception:
            return False
        return True

    def write(self, line: str) -> None:
        # One call, so that lines of several processes do not mix.
        # Not into the log of the job that runs, which takes what is printed (`runlog.capture`).
        out: Any = self.own or getattr(sys.stderr, "behind", sys.stderr)
        out.write(line + "\n")
        out.flush()


_handler = _ToStderr()
_handler.addFilter(within_limits)


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


class _Quiet(logging.Filter):
    def __init__(self, repeats: Callable[[logging.LogRecord], bool]) -> None:
        super().__init__()
        self._repeats = repeats

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.INFO or not self._repeats(record):
            return True
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)


def _add_filter(logger: str, one: logging.Filter) -> None:
    found = logging.getLogger(logger)
    for known in [known for known in found.filters if type(known) is type(one)]:
        found.removeFilter(known)
    found.addFilter(one)


class _Formatter(ProcessorFormatter):
    """structlog's takes 30 us of processor time for the line of a request in a loop, and twice that beside other work. Lines that have
    only values (`record.about`) go a shorter way, in 9. They look the same: `tests/unit/test_logs.py` compares them."""

    def __init__(self, quick: Callable[[EventDict], str], **options: Any) -> None:
        super().__init__(**options)
        self._quick = quick

    def format(self, record: logging.LogRecord) -> str:
        if not hasattr(record, "about") or record.exc_info or record.stack_info or hasattr(record, "_logger"):
            return super().format(record)
        event: EventDict = {"event": record.getMessage(), "_record": record}
        for processor in (*_SHARED, _about):
            event = cast(EventDict, processor(None, record.levelname.lower(), event))
        del event["_record"]
        return super().format(record) if event.keys() & _RENDERED_APART else self._quick(event)

    def line(self, logger: str, word: str, text: str, about: Mapping[str, Any]) -> str | None:
        """The same of what would be such a record. :param word: for its level. None: it is a line for `format`."""
        event: EventDict = {"event": text}
        for variable, value in copy_context().items():
            if variable.name.startswith(STRUCTLOG_KEY_PREFIX) and value is not ...:
                event.setdefault(variable.name[STRUCTLOG_KEY_PREFIX_LEN:], value)
        event["level"], event["logger"] = word, logger
        event = cast(EventDict, _SHARED[-1](None, word, event))
        for name, value in about.items():
            event.setdefault(name, value)
        return None if event.keys() & _RENDERED_APART else self._quick(event)


def _quick_console(event: EventDict) -> str:
    """As structlog's `ConsoleRenderer` without colours, of a line that has values only."""
    _one_line(None, "", event)
    first = f"{event.pop('timestamp')} [{event.pop('level'):<9}] {event.pop('event'):<30} [{event.pop('logger')}]"
    # A call for each value takes longer than what is done with it.
    values = [
        f"{name}={value if isinstance(value, str) and _TO_QUOTE.isdisjoint(value) else repr(value)}"
        for name, value in sorted(event.items())
    ]
    return " ".join([first, *values]).rstrip(" ")


def _about(_logger: Any, _name: str, event: EventDict) -> EventDict:
    """What somebody has written to the record of the line besides its text (`record.about`)."""
    for name, value in getattr(event["_record"], "about", {}).items():
        event.setdefault(name, value)
    return event


def _masked_traceback(_logger: Any, _name: str, event: EventDict) -> EventDict:
    """Of a line that was written while a job ran: `runlog.capture` has taken the job's secrets out."""
    text = getattr(event["_record"], "masked_traceback", None)
    if text is not None and event.pop("exc_info", None):
        event["exception"] = text
    return event


def _one_line(_logger: Any, _name: str, event: EventDict) -> EventDict:
    """For the console. Values are quoted by the renderer; the event's own text, which may quote a client, is made harmless here."""
    text = str(event.get("event", ""))
    event["event"] = text if text.isprintable() else text.translate(_CONTROLS).replace("\n", f"\n{MARGIN}")
    if "exception" in event:
        event["exception"] = "\n".join(f"{MARGIN}{line}" for line in event["exception"].splitlines())
    return event


def _exception_text(_logger: Any, _name: str, event: EventDict) -> EventDict:
    """For JSON: the traceback as a field."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    elif isinstance(info, BaseException):
        info = type(info), info, info.__traceback__
    if isinstance(info, tuple) and info[0] is not None:
        event["exception"] = "".join(traceback.format_exception(*cast(ExcInfo, info)))
    return event


_FORMS: dict[str, list[Processor]] = {
    "console": [
        _one_line,
        # structlog's own choice, rich, shows local variables: keys, urls and params would be among them.
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=format_exception),
    ],
    "json": [_exception_text, structlog.processors.JSONRenderer(default=str)],
}
_QUICK: dict[str, Callable[[EventDict], str]] = {"console": _quick_console, "json": json.JSONEncoder(default=str).encode}
