"""Counters that the processes of one server have in common, in memory that they share since before the fork.

Each process writes a row of its own, so no lock goes between processes; whoever is asked adds up all rows. A process that takes the place
of one that ended goes on in its row: no count falls, and nothing of it is left anywhere. (prometheus_client's files for this are one for
each process that ever was, on a disk that may be full; docs/decisions/0010.)
"""

from __future__ import annotations

import mmap
import struct
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

import structlog
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

#: Of a row, in bytes: some thousand counters. What nobody writes takes no memory.
ROW_BYTES = 1 << 20
_WORD = 8
#: A row begins with the length of its entries, and a word for what has no room, where nobody looks.
_NOWHERE, _FIRST = 1, 2 * _WORD
_SEPARATOR = "\x1f"

#: The name of a counter and its labels' values.
Key = tuple[str, ...]

logger = structlog.get_logger(__name__)


class SharedCounts:
    """The counters of all processes of a server. Make it before the processes that write it are forked."""

    def __init__(self, rows: int = 1, row_bytes: int = ROW_BYTES) -> None:
        self.rows, self._size = rows, row_bytes
        self._words = memoryview(mmap.mmap(-1, rows * row_bytes))

    def row(self, number: int) -> Row:
        """The row of the one process that writes there. It goes on from what an earlier one has left."""
        return Row(self._memory(number))

    def free_row(self, taken: Iterable[int]) -> int | None:
        """The first row that no process has; None: there are more processes than rows."""
        return next((number for number in range(self.rows) if number not in set(taken)), None)

    def totals(self) -> dict[Key, float]:
        """The sums over all rows."""
        found: dict[Key, float] = {}
        for number in range(self.rows):
            for key, _, value in _entries(self._memory(number)):
                found[key] = found.get(key, 0.0) + value
        return found

    def _memory(self, number: int) -> memoryview:
        return self._words[number * self._size : (number + 1) * self._size]


class Row:
    """What one process counts. Its threads may count at once."""

    def __init__(self, memory: memoryview) -> None:
        self._memory, self._values = memory, memory.cast("d")
        self._lock = threading.Lock()
        self._places = {key: place for key, place, _ in _entries(memory)}
        self._full = False

    def place(self, key: Key) -> int:
        """Where a counter is, for `count`; where nobody looks, if there is no room for it."""
        with self._lock:
            return self._places.get(key) or self._begin(key)

    def count(self, *places: int, at: int = _NOWHERE, more: float = 0.0) -> None:
        """One more at each of these places, and `more` at another. Costs less than a microsecond."""
        values = self._values
        with self._lock:
            for place in places:
                values[place] += 1.0
            values[at] += more

    def _begin(self, key: Key) -> int:
        """A place for a key that has none yet: its length, its text and its value."""
        text = _SEPARATOR.join(key).encode()
        start = _FIRST + _used(self._memory)
        value = start + _WORD + -(-len(text) // _WORD) * _WORD
        if value + _WORD > len(self._memory):
            if not self._full:
                logger.error("there are more kinds of counters than places: some are not counted", key=key)
            self._full = True
            return _NOWHERE
        struct.pack_into("Q", self._memory, start, len(text))
        self._memory[start + _WORD : start + _WORD + len(text)] = text
        # Last of all: until then readers do not look there.
        struct.pack_into("Q", self._memory, 0, value + _WORD - _FIRST)
        self._places[key] = place = value // _WORD
        return place


class Histogram:
    """The places of a histogram's series: one for each bucket, and one for the sum."""

    def __init__(self, row: Row, name: str, labels: Key, bounds: Sequence[float]) -> None:
        self._row, self._bounds = row, bounds
        self._buckets = [row.place((name, *labels, str(number))) for number in range(len(bounds) + 1)]
        self._sum = row.place((name, *labels, "sum"))

    def observe(self, seconds: float, *places: int) -> None:
        """:param places: counters to count with it."""
        self._row.count(self._buckets[bisect_left(self._bounds, seconds)], *places, at=self._sum, more=seconds)


def _used(memory: memoryview) -> int:
    """Bytes of a row's entries. The first word says it."""
    return int(struct.unpack_from("Q", memory, 0)[0])


def _entries(memory: memoryview) -> Iterator[tuple[Key, int, float]]:
    """Of each counter of a row its key, its place in words, and its value."""
    at, end = _FIRST, _FIRST + _used(memory)
    while at < end:
        (length,) = struct.unpack_from("Q", memory, at)
        text = bytes(memory[at + _WORD : at + _WORD + length]).decode()
        at += _WORD + -(-length // _WORD) * _WORD
        yield tuple(text.split(_SEPARATOR)), at // _WORD, struct.unpack_from("d", memory, at)[0]
        at += _WORD


def counter(totals: Mapping[Key, float], kind: str, name: str, what: str, labels: Sequence[str]) -> Metric:
    """The family of a counter."""
    family = CounterMetricFamily(name, what, labels=labels)
    for key, n in sorted(totals.items()):
        if key[0] == kind:
            family.add_metric(key[1:], n)
    return family


def histogram(totals: Mapping[Key, float], kind: str, name: str, what: str, labels: Sequence[str], bounds: Sequence[float]) -> Metric:
    """The family of a histogram."""
    family = HistogramMetricFamily(name, what, labels=labels)
    texts = [*(f"{bound:g}" for bound in bounds), "+Inf"]
    for place in sorted({key[1:-1] for key in totals if key[0] == kind}):
        total, buckets = 0.0, []
        for number, text in enumerate(texts):
            total += totals.get((kind, *place, str(number)), 0.0)
            buckets.append((text, total))
        family.add_metric(place, buckets, totals.get((kind, *place, "sum"), 0.0))
    return family
