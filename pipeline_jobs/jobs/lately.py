"""Names that were seen lately."""

from __future__ import annotations

from collections.abc import Hashable


class Lately:
    """A set that begins anew when it is full. Safe to use from several threads without a lock: each step is one operation of a dict."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._names: dict[Hashable, None] = {}

    def __contains__(self, name: Hashable) -> bool:
        return name in self._names

    def add(self, name: Hashable) -> None:
        if len(self._names) >= self._most:
            self._names.clear()
        self._names[name] = None

    def discard(self, name: Hashable) -> None:
        self._names.pop(name, None)
