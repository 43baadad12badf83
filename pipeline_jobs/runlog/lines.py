"""A line of a job's log: how it is written into the store and a file, and how it is shown.

Each line has a number, counted over all runs of the job, the lines that were dropped included: so a gap in the numbers says how many lines
are missing, whoever dropped them, and a reader is told of it by a line in their place.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline_jobs.records import rfc3339

#: Names of levels that a line may have, by their numbers; others are rounded down.
LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR, "CRITICAL": logging.CRITICAL}
#: The logger of a line that stands for those that are missing.
MISSING = "pipeline_jobs.runlog"
#: What moves the cursor of a terminal or hides something, but tabs and new lines, and what turns the direction of the text around it.
_HARMFUL = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))} | {
    code: f"\\u{code:04x}" for code in (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
}


def level_name(level: int) -> str:
    """`INFO` for 20 to 29."""
    return next((name for name, least in reversed(LEVELS.items()) if level >= least), "DEBUG")


@dataclass(frozen=True)
class Line:
    """A line of a job's log."""

    number: int
    #: Unix milliseconds, by the clock of the worker's machine.
    time: int
    attempt: int
    level: str
    logger: str
    stage: str
    message: str
    #: How many lines are missing here, if it stands for such.
    dropped: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "number": self.number, "time": rfc3339(self.time), "attempt": self.attempt, "stage": self.stage or None, "level": self.level,
            "logger": self.logger, "message": self.message, "dropped": self.dropped,
        }  # fmt: skip

    @cached_property
    def json(self) -> str:
        """One line of compact JSON. ASCII: some readers of SSE take U+2028 and its like for the end of a line."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    # What a stream asks of each thing that it sends (`events.log.Event`).

    @property
    def seq(self) -> int:
        return self.number

    @property
    def feed_id(self) -> None:
        return None

    @property
    def place(self) -> tuple[int, int]:
        return 0, self.number


def write(line: Line) -> str:
    """As the store has it: a JSON list, one line of text."""
    row = [line.number, line.time, line.attempt, line.level, line.logger, line.stage, line.message]
    return json.dumps(row, separators=(",", ":"), ensure_ascii=False)


def read(text: str) -> Iterator[Line]:
    """The lines of what several `write` gave, with a new line between them. What cannot be read is passed over: it shows as missing."""
    for row in text.split("\n"):
        try:
            number, time, attempt, level, logger, stage, message = json.loads(row)
            yield Line(int(number), int(time), int(attempt), str(level), str(logger), str(stage), str(message))
        except (ValueError, TypeError):
            continue


def with_gaps(lines: Iterable[Line], after: int, last: int, before: Line | None = None) -> Iterator[Line]:
    """The lines in order, and for each run of numbers that is missing between `after` and `last` one that says so.

    :param before: some line up to `after`: what is missing at the end may be all that is left to say.
    """
    reached = after
    for line in lines:
        if line.number > reached + 1:
            yield _gap(line, reached, line.number - 1)
        yield line
        reached, before = line.number, line
    if last > reached and before is not None:
        yield _gap(before, reached, last)


def _gap(beside: Line, reached: int, last: int) -> Line:
    dropped = last - reached
    text = f"{dropped} line{' is' if dropped == 1 else 's are'} missing here"
    return Line(last, beside.time, beside.attempt, "WARNING", MISSING, beside.stage, text, dropped)


def wanted(lines: Iterable[Line], attempt: int | None, level: int) -> Iterator[Line]:
    """The lines of this attempt (None: of any), from this level on. That lines are missing is told whatever their level was."""
    return (line for line in lines if attempt in (None, line.attempt) and (line.dropped or LEVELS.get(line.level, 0) >= level))


def merged(*parts: Sequence[Line]) -> list[Line]:
    """Lines that several places have, each once, in order."""
    return [line for _, line in sorted({line.number: line for part in parts for line in part}.items())]


def harmless(text: str) -> str:
    """A text of anybody's that a terminal may show: what would move its cursor or hide something is written out. It may have new lines."""
    return text if text.isprintable() else text.translate(_HARMFUL).encode("utf-8", "backslashreplace").decode()
