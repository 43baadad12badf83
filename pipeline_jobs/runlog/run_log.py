"""The log of one run, in memory: lines that are bounded, masked and harmless to a terminal, and what of them is to be sent to the store.

Three limits hold, each of this run alone. Of what a stage says faster than `KEPT_RATE`, lines are counted and no more, in the job's own
process. Of the rest the first and the newest lines are kept (`HEAD_BYTES`, `TAIL_BYTES`); they become a file if the store has not had them
all. And the store is sent `SENT_RATE`, so that a job that prints as fast as it can is no load to it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pipeline_jobs.runlog.lines import Line, harmless, level_name, write
from pipeline_jobs.runlog.masking import Mask, Masks

#: Longest message of a line, in bytes of UTF-8, and longest name of a logger.
LINE_BYTES, NAME_CHARS = 3000, 80
#: What of a run is kept in memory, and is a file in the end: the first lines and the newest ones, in bytes.
HEAD_BYTES, TAIL_BYTES = 256 * 1024, 768 * 1024
#: How much a run may say at once and each second, in bytes: to be kept at all, to be sent to the store, to stand in the worker's own log.
KEPT_BURST, KEPT_RATE = 1024 * 1024, 256 * 1024
SENT_BURST, SENT_RATE = 32 * 1024, 4 * 1024
ECHO_BURST, ECHO_RATE = 64 * 1024, 1024
#: Its last lines are sent whatever it has said before, in bytes: they tell how it ended.
LAST_BYTES = 8 * 1024
#: What is sent in one piece, in bytes. The store puts short pieces together (`lua/jobs/append_log.lua`).
PIECE_BYTES = 4000
#: What a line is taken to need besides its message, in bytes.
FRAME_BYTES = 80


def as_it_is(text: str) -> str:
    """Masks nothing."""
    return text


@dataclass(slots=True)
class Bucket:
    """A bucket of tokens: room for so much at once, and for so much more each second."""

    burst: float
    rate: float
    left: float = -1.0
    at: float = 0.0

    def take(self, size: int, now: float) -> bool:
        """Whether there is room for it. What is refused takes no room."""
        if self.left < 0:
            self.left, self.at = self.burst, now
        self.left = min(self.burst, self.left + (now - self.at) * self.rate)
        self.at = now
        if self.left < size:
            return False
        self.left -= size
        return True


@dataclass(frozen=True, slots=True)
class Batch:
    """What is sent in one call."""

    #: Number of the last line that it speaks for.
    last: int
    pieces: tuple[str, ...]


@dataclass(slots=True)
class _Kept:
    """The first lines and the newest ones, each with its number and its size."""

    head: list[tuple[int, str, int]] = field(default_factory=list)
    tail: deque[tuple[int, str, int]] = field(default_factory=deque)
    head_bytes: int = 0
    tail_bytes: int = 0

    def add(self, row: tuple[int, str, int]) -> None:
        if not self.tail and self.head_bytes + row[2] <= HEAD_BYTES:
            self.head.append(row)
            self.head_bytes += row[2]
            return
        self.tail.append(row)
        self.tail_bytes += row[2]
        while self.tail_bytes > TAIL_BYTES:
            self.tail_bytes -= self.tail.popleft()[2]

    def newest(self) -> Iterator[tuple[int, str, int]]:
        yield from reversed(self.tail)
        yield from reversed(self.head)


class RunLog:
    """The log of one run. Any thread of the run may write; one sends."""

    def __init__(self, attempt: int = 1, last: int = 0, mask: Masks | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """
        :param last: number of the last line of the job's earlier runs.
        :param mask: takes the secrets out of a text.
        """
        self.attempt, self.number, self._first = attempt, last, last + 1
        self._mask, self._clock = mask or Mask(), clock
        #: Takes the secrets out of what others are shown of the run besides this log; of a job that has none it changes nothing.
        self.shown: Masks = as_it_is
        #: The stage that runs, and what stands behind its name.
        self.stage, self.suffix = "", ""
        self.closed = False
        #: Some line that is kept is not sent to the store, or will not stay there.
        self.overflowed = False
        self._lock = threading.RLock()
        self._kept = _Kept()
        self._limit, self._sends = Bucket(KEPT_BURST, KEPT_RATE), Bucket(SENT_BURST, SENT_RATE)
        self._echo = Bucket(ECHO_BURST, ECHO_RATE)
        self._pending: deque[tuple[int, str, int]] = deque()
        self._pending_bytes = 0
        #: Number of the newest line that was taken for the store, and how much that was in all.
        self._sent, self._sent_bytes = last, 0

    def add(self, level: int, logger: str, message: str, length: int | None = None) -> bool:
        """Take a line.

        :param length: in characters, if `message` is only its beginning.
        :return: whether the worker's own log may have it as well.
        """
        with self._lock:
            if self.closed:
                return True
            self.number += 1
            now = self._clock()
            if not self._limit.take(min(len(message), LINE_BYTES) + FRAME_BYTES, now):
                self.overflowed = True
                return False
            text = self._cut(self._mask(message[: 2 * LINE_BYTES]), length or len(message))
            name = harmless(self._mask(logger))[:NAME_CHARS]
            line = write(Line(self.number, int(time.time() * 1000), self.attempt, level_name(level), name, self.stage + self.suffix, text))
            row = self.number, line, size_of(line) + 1
            self._kept.add(row)
            if self._sends.take(row[2], now):
                self._send(row)
            else:
                self.overflowed = True
            return self._echo.take(row[2], now)

    def masked(self, text: str) -> str:
        """The text without the secrets that are known."""
        return self._mask(text)

    def may_echo(self, size: int) -> bool:
        """Whether so many more characters may stand in the worker's own log."""
        with self._lock:
            return self._echo.take(size, self._clock())

    def count(self, lines: int) -> None:
        """Count lines that were dropped without a look."""
        with self._lock:
            self.number += lines
            self.overflowed = True

    def _send(self, row: tuple[int, str, int]) -> None:
        self._pending.append(row)
        self._sent = row[0]
        self._pending_bytes += row[2]
        self._sent_bytes += row[2]
        # The store keeps no more than that, and is away perhaps.
        while self._pending_bytes > SENT_BURST:
            self._pending_bytes -= self._pending.popleft()[2]
        if self._sent_bytes > SENT_BURST:
            self.overflowed = True

    def take(self) -> Batch | None:
        """What is to be sent now; None: nothing."""
        with self._lock:
            if not self._pending:
                return None
            batch = Batch(self._pending[-1][0], tuple(_pieces(self._pending)))
            self._pending.clear()
            self._pending_bytes = 0
            return batch

    def close(self) -> Batch | None:
        """Nothing more is taken. :return: what is still to be sent, the very last lines among it; None: nothing."""
        with self._lock:
            self.closed = True
            rest, left = [], LAST_BYTES
            for row in self._kept.newest():
                left -= row[2]
                if row[0] <= self._sent or left < 0:
                    break
                rest.append(row)
            for row in reversed(rest):
                self._send(row)
            batch = self.take()
            if batch is None:
                return None if self.number == self._sent else Batch(self.number, ())
            return Batch(self.number, batch.pieces)

    def file(self) -> tuple[int, bytes]:
        """Number of the first line of the run, and all that is kept of it, as the file has it."""
        with self._lock:
            rows = [*self._kept.head, *self._kept.tail]
            return self._first, "\n".join(row[1] for row in rows).encode()

    def lines(self) -> str:
        """All that is kept of the run, to be read by `lines.read`."""
        return self.file()[1].decode()

    def _cut(self, text: str, length: int) -> str:
        """Harmless and not too long; of a longer one is said how long it was."""
        text = harmless(text)
        if length <= 2 * LINE_BYTES and (len(text) <= LINE_BYTES // 4 or size_of(text) <= LINE_BYTES):
            return text
        return f"{text.encode()[:LINE_BYTES].decode(errors='ignore')} ... (of {length} characters)"


def size_of(text: str) -> int:
    """The size of a text in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _pieces(rows: deque[tuple[int, str, int]]) -> Iterator[str]:
    """The lines, as many in each piece as fit."""
    piece: list[str] = []
    size = 0
    for _, line, length in rows:
        if piece and size + length > PIECE_BYTES:
            yield "\n".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += length
    if piece:
        yield "\n".join(piece)


#: The level of what is printed to each of the two.
STREAMS = {"stdout": logging.INFO, "stderr": logging.WARNING}


class Printed:
    """What is printed to one of the standard streams, as lines of a run's log."""

    def __init__(self, log: RunLog, name: str) -> None:
        """:param name: `stdout` or `stderr`."""
        self._log, self._name, self._level = log, name, STREAMS[name]
        #: Of the line that has begun: what of it may be kept, and how long it is by now.
        self._begun, self._length = "", 0

    def write(self, text: str) -> bool:
        """:return: whether the worker's own log may have it as well."""
        echo = True
        if len(text) > KEPT_BURST and text.count("\n") > 1:
            begin, dropped, text = _ends(text)
            echo = self._write(begin)
            self._log.count(dropped)
        return self._write(text) and echo

    def flush(self) -> None:
        """What has no end yet is a line."""
        if self._begun:
            self._end("")

    def _write(self, text: str) -> bool:
        *lines, rest = text.split("\n")
        echo = True
        for line in lines:
            echo = self._end(line) and echo
        self._begun, self._length = _overwritten(self._begun + rest, self._length + len(rest))
        self._begun = self._begun[: 2 * LINE_BYTES]
        return echo

    def _end(self, text: str) -> bool:
        line, length = _overwritten(self._begun + text, self._length + len(text))
        self._begun, self._length = "", 0
        return self._log.add(self._level, self._name, line.rstrip("\r"), length) if line else True


def _overwritten(text: str, length: int) -> tuple[str, int]:
    """A bar of progress writes over itself: what stands there in the end is the line. With its length as it was, if nothing is."""
    if "\r" not in text:
        return text, length
    last = text.rstrip("\r").rpartition("\r")[2]
    return (f"{last}\r" if text.endswith("\r") else last), len(last)


def _ends(text: str) -> tuple[str, int, str]:
    """Of a text that is too long to be looked at: its first lines, the number of those that follow, and its last ones."""
    half = KEPT_BURST // 2
    begin, end = text.rfind("\n", 0, half) + 1, text.find("\n", len(text) - half) + 1
    end = end or text.rfind("\n") + 1
    return text[:begin], text.count("\n", begin, end), text[end:]
