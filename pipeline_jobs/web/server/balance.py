"""What the processes of the API tell each other: how many connections each has, and whom they serve.

All processes wait on one listening socket, and the kernel lets whoever comes first have a new connection: under load that is the one
that is awake anyway, and it keeps all connections of a proxy while another process has none (measured: 16 of 16). Here whoever has more
than another waits a moment before it takes one more.
"""

from __future__ import annotations

import mmap
import time

#: A process that has not said anything for so long is gone, in seconds; each says something once a second at least.
SILENT_SECONDS = 5
#: How long one with more connections leaves a new one to the others, in seconds.
HESITATION_SECONDS = 0.001
#: All are looked at for each new connection.
_PLACES = 64
#: Before anybody was served: longer than any machine is up.
_LONG_AGO_MS = 1 << 50


class Shares:
    """How many connections each process has. Made before the fork, so that all see the same memory; a process writes its own place only."""

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, _PLACES * 16)).cast("q")

    def tell(self, place: int, connections: int) -> None:
        """A process has so many, now. :param place: its number; two with the same one only share less evenly."""
        at = 2 * (place % _PLACES)
        self._cells[at], self._cells[at + 1] = connections, int(time.monotonic())

    def has_more(self, place: int, connections: int) -> bool:
        """Another process has fewer."""
        cells, own, since = self._cells, 2 * (place % _PLACES), int(time.monotonic()) - SILENT_SECONDS
        return any(cells[at] < connections for at in range(0, 2 * _PLACES, 2) if at != own and cells[at + 1] > since)


class Served:
    """Whom any process has served last, and whom before that. Made before the fork, likewise.

    Names are told as their hashes, which are the same in all processes of a fork. There is no lock: two processes that write at once may
    lose one of the names, which is written again with its next request.
    """

    def __init__(self) -> None:
        # A hash and the time in ms, of each of the two.
        self._cells = memoryview(mmap.mmap(-1, 32)).cast("q")
        self._cells[1] = self._cells[3] = -_LONG_AGO_MS

    def note(self, name: str, now: float) -> None:
        """This one is served now. :param now: by the clock that all processes of a machine have."""
        cells, told = self._cells, hash(name)
        if cells[0] != told:
            cells[2], cells[3] = cells[0], cells[1]
            cells[0] = told
        cells[1] = int(now * 1000)

    def has_others(self, name: str, now: float, seconds: float) -> bool:
        """Another than this one was served less than so long ago."""
        cells = self._cells
        return now * 1000 - cells[3 if cells[0] == hash(name) else 1] < seconds * 1000
