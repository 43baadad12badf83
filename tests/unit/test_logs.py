"""Log lines: one format for ours and everybody else's, levels that hold, and no text that looks like a line of ours."""

from __future__ import annotations

import ast
import json
import logging
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from structlog.contextvars import bound_contextvars
from structlog.stdlib import ProcessorFormatter

from pipeline_jobs import logs
from pipeline_jobs.web import access_line
from pipeline_jobs.worker import celery_logs


@pytest.fixture
def process(capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """`process(form, level)` takes over the logging of this process, until the test ends."""
    root, before = logging.getLogger(), (logging.getLogger().handlers[:], logging.getLogger().level)

    def take_over(form: str, level: int = logging.INFO) -> Any:
        logs.configure(form)
        logs.take_over(level)
        logs._handler.own = None
        return lambda: capsys.readouterr().err.splitlines()

    yield take_over
    root.handlers, root.level = before
    logs.configure()


def say_all() -> None:
    """A line of ours, one of a library, one with an error."""
    with bound_contextvars(job_id="job_1_00000000", request_id="r-1", stage="fetch"):
        structlog.get_logger("pipeline_jobs.some").info("ours", path="a b\nc")
        logging.getLogger("celery.worker").info("theirs: %s", "x\n2026-01-01 [info] forged\r\x1b[2J\u2028y")
        try:
            raise LookupError("broken\n2026-01-01 forged")
        except LookupError:
            logging.getLogger("gunicorn.error").exception("failed")


def test_in_json_each_line_is_an_object_with_the_same_fields(process: Any) -> None:
    said = process("json")
    say_all()
    ours, theirs, failed = map(json.loads, said())
    for line, logger, level in (
        (ours, "pipeline_jobs.some", "info"),
        (theirs, "celery.worker", "info"),
        (failed, "gunicorn.error", "error"),
    ):
        assert (line["logger"], line["level"], line["job_id"], line["request_id"], line["stage"]) == (
            logger, level, "job_1_00000000", "r-1", "fetch"
        )  # fmt: skip
        assert line["timestamp"].endswith("Z")
    assert (ours["event"], ours["path"]) == ("ours", "a b\nc")
    assert "LookupError: broken" in failed["exception"]
    # No variable of a program is in it.
    assert "say_all" in failed["exception"]
    assert "'x" not in failed["exception"]


def test_on_the_console_no_text_begins_a_line(process: Any) -> None:
    said = process("console")
    say_all()
    found = said()
    assert [line for line in found if not line.startswith(("20", logs.MARGIN))] == []
    assert [line for line in found if "forged" in line and not line.startswith(logs.MARGIN) and "theirs" not in line] == []
    assert not any(mark in line for line in found for mark in ("\r", "\x1b", "\u2028"))
    assert "job_id=job_1_00000000" in found[0]
    assert "path='a b\\nc'" in found[0]


#: What a record's text, its `about` and the context may be.
ODD: list[Any] = [
    "", "x", "a b", "a=b", 'a"b', "a'b", "\t", "a\r\n2026 forged", "\x1b[2J", "\u2028", "\u20ac", "\ud800", "x " * 40, "trailing  ",
    0, -1, 0.1, float("nan"), None, True, [1, "a b"], {"a": 1}, ("a",), b"raw", Path("/x y"), LookupError("a b"),
]  # fmt: skip
ODD_NAMES = [
    "rule",
    "status",
    "Z",
    "a b",
    "event",
    "level",
    "logger",
    "timestamp",
    "logger_name",
    "exception",
    "stack",
    "exc_info",
    "_record",
]


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_line_that_goes_the_shorter_way_looks_as_structlogs(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_SHARED", [*logs._SHARED[:-1], lambda _logger, _name, event: {**event, "timestamp": "2026-01-01T00:00:00Z"}])
    written, rng = cast(logs._Formatter, logs.formatter(form)), random.Random(3)
    for number in range(3000):
        about = {rng.choice(ODD_NAMES[: rng.choice((4, 13))]): rng.choice(ODD) for _ in range(rng.randrange(6))}
        line = logging.LogRecord("some.logger", rng.choice((10, 20, 25, 30, 50)), "", 0, str(rng.choice(ODD)), (), None)
        vars(line)["about"] = about
        with bound_contextvars(**{name: rng.choice(ODD) for name in rng.sample(["request_id", "rule", "key_id"], number % 3)}):
            whole = said(lambda one: ProcessorFormatter.format(cast(ProcessorFormatter, written), one), line)
            assert said(written.format, line) == whole, about
            if line.levelno in logs._WORDS:
                assert said(lambda one: without_record(written, one), line) in (whole, None), about


def without_record(written: logs._Formatter, line: logging.LogRecord) -> str | None:
    return written.line(line.name, logs._WORDS[line.levelno], line.getMessage(), vars(line)["about"])


class Hears(logging.Handler):
    def __init__(self, heard: list[logging.LogRecord]) -> None:
        super().__init__()
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record)


def test_a_line_that_has_no_record_is_for_our_handler_alone(process: Any) -> None:
    said, heard = process("console"), list[logging.LogRecord]()
    logger, other = logging.getLogger("pipeline_jobs.some"), Hears(heard)
    logs.say(logger, logging.INFO, "alone", {"a": 1})
    for one in (logger, logging.getLogger("pipeline_jobs"), logging.getLogger()):
        one.addHandler(other)
        logs.say(logger, logging.INFO, "heard", {"a": 1})
        one.removeHandler(other)
    logger.addFilter(lambda _: False)
    logs.say(logger, logging.INFO, "kept back", {"a": 1})
    logger.filters.clear()
    logger.propagate = False
    logs.say(logger, logging.INFO, "told to nobody", {"a": 1})
    logger.propagate = True
    assert [line.split("]")[1].split()[0] for line in said()] == ["alone", *3 * ["heard"]]
    assert [(line.getMessage(), vars(line)["about"]) for line in heard] == 3 * [("heard", {"a": 1})]


def test_a_line_that_cannot_be_written_says_so(process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    process("console")
    faults = list[logging.LogRecord]()
    monkeypatch.setattr(logs._handler, "write", lambda _: 1 / 0)
    monkeypatch.setattr(logs._handler, "handleError", faults.append)
    logs.say(logging.getLogger("pipeline_jobs.some"), logging.INFO, "lost", {})
    assert [line.getMessage() for line in faults] == ["lost"]


def said(write: Callable[[logging.LogRecord], str | None], line: logging.LogRecord) -> Any:
    """The line, or what kind of error there is instead of it."""
    try:
        return write(line)
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_level_holds_for_ours_as_for_theirs(process: Any, form: str) -> None:
    said = process(form, logging.ERROR)
    structlog.get_logger("pipeline_jobs.some").warning("no")
    logging.getLogger("celery").warning("no")
    structlog.get_logger("pipeline_jobs.some").error("yes")
    logging.getLogger("celery").error("yes")
    assert [("yes" in line) for line in said()] == [True, True]


def test_what_fails_again_and_again_is_said_once_a_minute_of_each_cause(process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said, some, now = process("json"), structlog.get_logger("pipeline_jobs.some"), [0.0]
    monkeypatch.setattr("pipeline_jobs.logs.time.monotonic", lambda: now[0])
    for number in range(120):
        now[0] = number
        for error in ("full", "away"):
            some.warning("tried again", seldom=True, error=error)
        structlog.get_logger("pipeline_jobs.other").warning("tried again", seldom=True, error="full")
        some.warning("often", error="full")
    lines = list(map(json.loads, said()))
    seldom = [(line["logger"].rpartition(".")[2], line["error"], line.get("repeats")) for line in lines if line["event"] == "tried again"]
    whose = [("some", "full"), ("some", "away"), ("other", "full")]
    assert seldom == [(*one, repeats) for repeats in (None, 59) for one in whose]
    assert sum(line["event"] == "often" for line in lines) == 120
    assert not any("seldom" in line for line in lines)


def test_causes_are_remembered_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_CAUSES", 2)
    seldom = logs._Seldom()
    for number in range(10):
        seldom(None, "warning", {"event": "tried again", "seldom": True, "error": str(number)})
    assert len(seldom._said) <= 2


#: What is not tried again: the end of a process, a file of a record that a client reads.
SAID_ONCE = {
    "the parts of an interrupted upload cannot be deleted",
    "artifacts of a lost run stay until their folder is swept",
    "the log of a run cannot be read",
    "the end of this process was not announced",
    "events not sent",
    "a job lost its process while the store is unavailable: it will be requeued later",
}


def test_every_line_about_a_store_that_is_full_or_away_is_seldom_or_said_once() -> None:
    """Each loop that tries again would say so each second, in each process."""
    found: dict[ast.expr, ast.Call] = {}
    for path in Path(logs.__file__).parent.rglob("*.py"):
        for handler in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(handler, ast.ExceptHandler) and handler.type and _AWAY.search(ast.unparse(handler.type)):
                found |= {call.args[0]: call for call in ast.walk(handler) if isinstance(call, ast.Call) and _logs(call)}
    texts = {ast.literal_eval(text): {one.arg for one in call.keywords} for text, call in found.items()}
    assert len(texts) > 20
    assert {text for text, fields in texts.items() if "seldom" not in fields} == SAID_ONCE


_AWAY = re.compile("StoreUnavailable|StoreFull|PublishError|TryLater|connection_errors|away|DBAPIError")


def _logs(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "logger"


def test_in_a_process_of_somebody_elses_our_lines_alone_are_ours_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger().handlers[:]
    logs.configure()
    structlog.get_logger("pipeline_jobs.some").info("ours")
    assert logging.getLogger().handlers == before
    assert "ours" in capsys.readouterr().err


def record(logger: str, message: str, *args: Any, data: dict[str, Any] | None = None) -> logging.LogRecord:
    made = logging.LogRecord(logger, logging.INFO, __file__, 1, message, args, None)
    if data:
        vars(made)["data"] = data
    return made


DUTY = {"id": "7f", "name": "pipeline_jobs.maintenance.rescue"}
CANARY = {"id": "job_1_0ca0a4b0", "name": "pipeline_jobs.run_job"}
JOB = {"id": "job_1_00000000", "name": "pipeline_jobs.run_job", "kwargs": "{'tenant': 'acme', 'workspace': 'main', 'pipeline': 'media'}"}


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_what_repeats_every_few_seconds_is_worth_debug(process: Any, level: int) -> None:
    process("console", level)
    celery_logs.install()
    due = "Scheduler: Sending due task %s (%s)"
    for line, repeats in (
        (record("celery.beat", due, "rescue", "pipeline_jobs.maintenance.rescue"), True),
        (record("celery.beat", due, "own", "team.report"), False),
        (record("celery.beat", "beat: Starting..."), False),
        (record("celery.worker.strategy", "received", data=DUTY), True),
        (record("celery.app.trace", "succeeded", data=CANARY), True),
        (record("celery.app.trace", "succeeded", data=JOB), False),
    ):
        assert bool(logging.getLogger(line.name).filter(line)) is (not repeats or level == logging.DEBUG)
        assert line.levelno == (logging.DEBUG if repeats else logging.INFO)
    failed = record("celery.app.trace", "raised", data=DUTY)
    failed.levelno = logging.ERROR
    assert logging.getLogger(failed.name).filter(failed)


def test_a_line_of_celerys_says_which_job_it_is_about() -> None:
    line = record("celery.worker.strategy", "received", data=JOB)
    celery_logs._note_task(line)
    assert vars(line)["about"] == {"job_id": "job_1_00000000", "tenant": "acme"}
    line = record("celery.worker.strategy", "received", data=DUTY)
    celery_logs._note_task(line)
    assert vars(line)["about"] == {"task_id": "7f", "task": "pipeline_jobs.maintenance.rescue"}


def test_the_access_line_has_the_rule_and_no_address_as_it_was_sent(process: Any) -> None:
    said = process("json")
    environ = {"REQUEST_METHOD": "GET", "RAW_URI": "/x?token=canary", "QUERY_STRING": "token=canary", "PATH_INFO": "/canary"}
    access_line.say_answered(environ, "404 NOT FOUND", 10, 0.0015)
    routed = {**environ, access_line._ROUTE: ("/pipeline/jobs/<job_id>", {"job_id": "job_1_00000000"})}
    access_line.say_answered(routed, "200 OK", 900, 0.0015)
    access_line.say_answered({**environ, access_line._ROUTE: ("/pipeline/jobs/<job_id>", {"job_id": "can ary\n"})}, "404 X", 1, 0.1)
    access_line.say_answered({**environ, access_line._ROUTE: ("/health/live", {})}, "200 OK", 2, 0.001)
    access_line.say_answered({**environ, access_line._ROUTE: ("/health/ready", {})}, "503 X", 2, 0.001)
    unknown, known, odd, ready = map(json.loads, said())
    assert (unknown["event"], unknown["rule"], unknown["status"], unknown["bytes"], unknown["ms"]) == ("request", None, 404, 10, 1.5)
    assert (known["rule"], known["job_id"], known["logger"]) == ("/pipeline/jobs/<job_id>", "job_1_00000000", "pipeline_jobs.access")
    assert (odd["rule"], "job_id" in odd, ready["status"]) == ("/pipeline/jobs/<job_id>", False, 503)
    assert "canary" not in str([unknown, known, odd, ready])
