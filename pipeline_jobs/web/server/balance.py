"""Kept connections, spread over the processes of the API.

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
