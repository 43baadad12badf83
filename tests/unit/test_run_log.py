"""The log of a run: what is taken, how much, and in which shape."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from pipeline_jobs import logs
from pipeline_jobs.runlog import capture, run_log
from pipeline_jobs.runlog.capture import captured
from pipeline_jobs.runlog.lines import Line, read, with_gaps, write
from pipeline_jobs.runlog.masking import Mask
from pipeline_jobs.runlog.run_log import RunLog
from tests.cases import each
from tests.unit.test_context import make_context


class Clock:
    """Stands still unless it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def log() -> RunLog:
    return RunLog(clock=Clock())


def said(log: RunLog) -> list[tuple[str, str, str]]:
    return [(line.level, line.logger, line.message) for line in read(log.lines())]


def sent(log: RunLog) -> list[Line]:
    """What the store is sent of it, to its end."""
    batches = [batch for batch in (log.take(), log.close()) if batch]
    return [line for batch in batches for piece in batch.pieces for line in read(piece)]


def test_every_way_of_python_to_say_something_is_taken(log: RunLog, tmp_path: Path) -> None:
    context = make_context(tmp_path, run_log=log)
    context.begin("count", (0.0, 100.0))
    with captured(log):
        context.log.info("%d words", 3)
        context.logger.warning("odd", at=7)
        logging.getLogger("my.library").error("broken")
        print("printed")
        sys.stderr.write("half a line")
        sys.stderr.write(" and its end\n")
        try:
            raise ValueError("x")
        except ValueError:
            context.log.exception("it failed")
        print("without an end", end="")
    *lines, raised, last = said(log)
    assert lines == [
        ("INFO", "stage", "3 words"), ("WARNING", "pipeline_jobs.stage", "odd at=7"), ("ERROR", "my.library", "broken"),
        ("INFO", "stdout", "printed"), ("WARNING", "stderr", "half a line and its end"),
    ]  # fmt: skip
    assert raised[2].startswith("it failed\nTraceback (most recent call last):")
    assert raised[2].endswith("ValueError: x")
    assert last == ("INFO", "stdout", "without an end")
    assert {line.stage for line in read(log.lines())} == {"count"}
    assert not isinstance(sys.stdout, capture._Stream)


def test_what_is_ours_is_not_the_jobs(log: RunLog) -> None:
    with workers_log(), captured(log):
        structlog.get_logger("pipeline_jobs.jobs.run").warning("the watch of a run failed, will try again")
        logging.getLogger("pipeline_jobs.store").error("the store is unavailable")
    assert said(log) == []


def test_a_thread_of_the_stage_is_the_runs_and_one_that_was_there_before_is_not() -> None:
    """What an earlier job has left running must not write into the log of another tenant's."""
    speak, first, second = threading.Event(), RunLog(), RunLog()

    def leftover() -> None:
        speak.wait(60)
        print("of the first job")

    with captured(first):
        left = threading.Thread(target=leftover)
        left.start()
        own = threading.Thread(target=print, args=("of its thread",))
        own.start()
        own.join()
    with captured(second):
        speak.set()
        left.join()
        print("of the second job")
    assert (said(first), said(second)) == ([("INFO", "stdout", "of its thread")], [("INFO", "stdout", "of the second job")])


def test_two_runs_in_one_process_have_their_own_lines() -> None:
    both = threading.Barrier(2)
    found: list[RunLog] = [RunLog(), RunLog()]

    def run(number: int) -> None:
        with captured(found[number]):
            both.wait(60)
            print(f"of {number}")
            logging.getLogger("x").error("of %d", number)
            # Nobody knows whose this is.
            other = threading.Thread(target=print, args=("of nobody",))
            other.start()
            other.join()
            both.wait(60)

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [[line[2] for line in said(log)] for log in found] == [["of 0", "of 0"], ["of 1", "of 1"]]


def test_a_child_that_popen_starts_is_heard(log: RunLog, tmp_path: Path) -> None:
    context = make_context(tmp_path, run_log=log)
    code = "import sys; print('to the one'); print('to the other', file=sys.stderr); sys.stdout.write('no end')"
    assert context.wait_process(context.popen([sys.executable, "-c", code])) == 0
    assert sorted(said(log)) == [("INFO", "stdout", "no end"), ("INFO", "stdout", "to the one"), ("WARNING", "stderr", "to the other")]
    process = context.popen([sys.executable, "-c", "print('mine')"], stdout=subprocess.PIPE)
    assert process.communicate()[0] == b"mine\n"


def test_a_line_is_harmless_to_a_terminal_and_not_too_long(log: RunLog) -> None:
    with captured(log):
        print("a\x1b[2Jb\x07\u202ec\ttab")
        print("10 %\r20 %\r100 %\r")
        print("x" * 100_000)
    (_, _, plain), (_, _, bar), (_, _, long) = said(log)
    assert plain == "a\\x1b[2Jb\\x07\\u202ec\ttab"
    assert bar == "100 %"
    assert long == "x" * run_log.LINE_BYTES + " ... (of 100000 characters)"


@each(
    ("text", "shown"),
    [
        (f"key pjk_{'0' * 16}_{'s' * 43}", f"key pjk_{'0' * 16}_***"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_***"),
        ("redis://:hunter2@host:6379/0", "redis://:***@host:6379/0"),
        ("GET https://b/a.mp4?X-Amz-Signature=abc&v=1", "GET https://b/a.mp4?X-Amz-Signature=***&v=1"),
        ("http://x/pipeline/artifacts/a/b?signature=Zm9v", "http://x/pipeline/artifacts/a/b?signature=***"),
        ("http://x/pipeline/ui/signal?link=WzE3Ml0.Zm9v", "http://x/pipeline/ui/signal?link=***"),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ***"),
        ("p/w?d and p%2Fw%3Fd", "*** and ***"),
        ("nothing to hide at https://host/?page=2", "nothing to hide at https://host/?page=2"),
    ],
)
def test_secrets_are_masked(text: str, shown: str) -> None:
    assert Mask(["p/w?d", "x"])(text) == shown


def test_a_secret_of_several_lines_is_masked_however_it_is_printed() -> None:
    key = "-----BEGIN KEY-----\n  bm90IGEga2V5\n" + "c2VjcmV0IQ==\n" * 3 + "-----END KEY-----\n"
    log = RunLog(mask=Mask([key, 'hunt"er\\2']))
    with captured(log):
        print(key)
        print({"key": key, "password": 'hunt"er\\2'})
        print(json.dumps([key, 'hunt"er\\2']))
    assert not any(part in log.lines() for part in ("bm90IGEga2V5", "c2VjcmV0", "hunt", "er\\2")), log.lines()
    assert Mask(["yes it is\nno\nof course"])("no yes") == "no yes", "a short line may be part of anything"


def test_the_workers_own_log_has_no_secret_either(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = RunLog(mask=Mask(["hunter2"]))
    with workers_log() as handler, captured(log):
        print("printed: hunter2")
        print("and to the other: hunter2", file=sys.stderr)
        logging.getLogger("x").error("logged: %s %d", "hunter2", 7)
        logging.getLogger("x").error({"event": "told: hunter2", "at": 7})
        make_context(tmp_path, run_log=log).log.error("by the context: hunter2")
    printed = "".join(capsys.readouterr())
    assert "printed: ***" in printed
    assert "other: ***" in printed
    assert handler.lines == ["logged: *** 7", "{'event': 'told: ***', 'at': 7}", "by the context: ***"]
    assert "hunter2" not in printed + log.lines()


class Formatted(logging.Handler):
    """What the worker's own log would have of each record."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@pytest.mark.parametrize(
    "formatter", [logs.formatter("json"), logs.formatter("console"), logging.Formatter()], ids=["json", "console", "python"]
)
@pytest.mark.parametrize("name", ["my.library", "pipeline_jobs.jobs.executor"])
def test_the_tracebacks_of_the_workers_own_log_have_no_secret(formatter: logging.Formatter, name: str) -> None:
    """Also those that we write of a stage that failed."""
    handler, above = Formatted(formatter), logs.OURS if name.startswith(logs.OURS.name) else logging.getLogger()
    above.addHandler(handler)
    try:
        with captured(RunLog(mask=Mask(["hunter2"]))):
            try:
                raise ValueError("wrong: hunter2")
            except ValueError:
                logging.getLogger(name).exception("broken")
    finally:
        above.removeHandler(handler)
    (text,) = handler.texts
    assert "ValueError: wrong: ***" in text
    assert "in test_the_tracebacks" in text
    assert "hunter2" not in text


def test_a_secret_is_masked_in_each_way_to_say_something(tmp_path: Path) -> None:
    log = RunLog(mask=Mask(["hunter2"]))
    context = make_context(tmp_path, run_log=log)
    with captured(log):
        print("hunt", end="")
        print("er2")
        context.log.info("the password is %s", "hunter2")
        logging.getLogger("hunter2").error("x")
        context.wait_process(context.popen(["echo", "hunter2"]))
    assert "hunter2" not in log.lines()
    assert len(said(log)) == 4


def test_one_that_says_too_much_is_counted_and_the_numbers_say_what_is_missing(log: RunLog) -> None:
    clock: Clock = log._clock  # type: ignore[assignment]
    with captured(log):
        for number in range(50_000):
            print(f"line {number}")
        clock.now += 1.0
        print("the end")
    kept = list(read(log.lines()))
    assert (log.number, kept[0].message, kept[-1].message) == (50_001, "line 0", "the end")
    assert kept[-2].number < 20_000, "what is too much is not looked at"
    shown = list(with_gaps(kept, 0, log.number))
    assert sum(line.dropped or 1 for line in shown) == 50_001


def test_a_gigabyte_in_one_write_is_not_taken_apart(log: RunLog, monkeypatch: pytest.MonkeyPatch) -> None:
    add, looked_at = RunLog.add, list[str]()
    monkeypatch.setattr(
        RunLog, "add", lambda log, level, name, text, length=None: looked_at.append(text) or add(log, level, name, text, length)
    )
    text = "begin\n" + "x" * 100 + ("\n" + "y" * 99) * 300_000 + "\nend\n"
    with captured(log):
        sys.stdout.write(text)
    messages = [message for _, _, message in said(log)]
    assert (messages[0], messages[-1], log.number) == ("begin", "end", 300_003)
    assert len(looked_at) < 12_000


def test_the_first_lines_and_the_newest_are_kept(log: RunLog) -> None:
    clock: Clock = log._clock  # type: ignore[assignment]
    for number in range(20_000):
        clock.now += 0.001
        log.add(logging.INFO, "x", f"{number} {'y' * 100}")
    first, data = log.file()
    numbers = [line.number for line in read(data.decode())]
    assert (first, numbers[0], numbers[-1]) == (1, 1, 20_000)
    assert len(data) <= run_log.HEAD_BYTES + run_log.TAIL_BYTES


def test_a_store_that_is_away_costs_no_memory(log: RunLog) -> None:
    clock: Clock = log._clock  # type: ignore[assignment]
    for _ in range(10_000):
        clock.now += 0.1
        log.add(logging.INFO, "x", "y" * 100)
    batch = log.take()
    assert batch
    assert sum(map(len, batch.pieces)) <= run_log.SENT_BURST
    assert max(map(len, batch.pieces)) <= run_log.PIECE_BYTES + run_log.LINE_BYTES


def test_the_last_lines_are_sent_whatever_was_said_before(log: RunLog) -> None:
    for number in range(1, 2001):
        log.add(logging.INFO, "x", f"{number} {'y' * 100}")
    received = sent(log)
    assert [line.number for line in received] == sorted({line.number for line in received})
    assert received[-1].number == 2000
    assert run_log.SENT_BURST < sum(map(len, map(write, received))) < run_log.SENT_BURST + run_log.LAST_BYTES


def test_what_the_store_is_sent_has_a_rate(log: RunLog) -> None:
    clock: Clock = log._clock  # type: ignore[assignment]
    sizes = []
    for _ in range(60):
        clock.now += 0.5
        for _ in range(100):
            log.add(logging.INFO, "x", "y" * 100)
        batch = log.take()
        sizes.append(sum(map(len, batch.pieces)) if batch else 0)
    assert run_log.SENT_BURST < sum(sizes) <= run_log.SENT_BURST + 30 * run_log.SENT_RATE


def test_the_workers_own_log_has_what_fits(log: RunLog, capsys: pytest.CaptureFixture[str]) -> None:
    with workers_log() as handler, captured(log):
        for number in range(3000):
            logging.getLogger("my.library").warning("%d %s", number, "z" * 50)
        for number in range(3000):
            print("printed", number)
    assert 100 < len(handler.lines) < 1000
    assert capsys.readouterr().out.count("printed") < 1000


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def workers_log() -> Iterator[Lines]:
    """As in a worker: one handler of the root takes all."""
    root, ours = logging.getLogger(), logs.OURS
    before = root.handlers, root.level, ours.handlers, ours.propagate, ours.level
    handler = Lines()
    try:
        logs.take_over(logging.INFO, handler)
        yield handler
    finally:
        root.handlers, ours.handlers, ours.propagate = before[0], before[2], before[3]
        root.setLevel(before[1])
        ours.setLevel(before[4])


def test_context_log_is_in_the_workers_log_from_its_level_on(log: RunLog, tmp_path: Path) -> None:
    with workers_log() as handler, captured(log):
        context = make_context(tmp_path, run_log=log)
        context.log.debug("fine")
        context.log.info("coarse")
    assert handler.lines == ["coarse"]
    assert [level for level, _, _ in said(log)] == ["DEBUG", "INFO"], "each once"


def test_a_line_after_the_end_is_nobodys(log: RunLog, tmp_path: Path) -> None:
    context = make_context(tmp_path, run_log=log)
    log.close()
    with captured(log):
        context.log.info("late")
        print("late")
    assert said(log) == []
