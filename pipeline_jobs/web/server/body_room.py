"""How many bytes of bodies a process holds for clients that have not sent all of theirs, and whose they are."""

from __future__ import annotations

from collections import Counter

#: Most bytes in all, and of one tenant or address; one body at least.
MOST_BYTES, MOST_OF_ONE = 64 << 20, 16 << 20


class BodyRoom:
    """By tenant or address. A body has room for all of it before its first byte is waited for: those that have begun never wait for each
    other. In the main thread only."""

    def __init__(self, largest: int, most: int = MOST_BYTES, most_of_one: int = MOST_OF_ONE) -> None:
        self._most, self._most_of_one = max(most, largest), max(most_of_one, largest)
        self._taken: Counter[str] = Counter()
        self._total = 0

    def is_full(self, size: int) -> bool:
        """For all."""
        return self._total + size > self._most

    def is_full_for(self, group: str, size: int) -> bool:
        """For this one, whatever others have."""
        return self._taken[group] + size > self._most_of_one

    def take(self, group: str, size: int) -> None:
        self._taken[group] += size
        self._total += size

    def give_back(self, group: str, size: int) -> None:
        self._taken[group] -= size
        self._total -= size
        if self._taken[group] <= 0:
            del self._taken[group]

    def taken(self, group: str) -> int:
        return self._taken.get(group, 0)
