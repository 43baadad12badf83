"""Whose requests a process serves, and what the heavy ones among them cost: the turns of `gunicorn_worker` are by tenant, and a tenant that
takes much of the process or of the store waits until its share of the time has paid for it.
"""

from __future__ import annotations

from math import exp
from threading import Lock
from typing import Generic, TypeVar

from pipeline_jobs.web.server.balance import Served

Name = TypeVar("Name", str, bytes)
Value = TypeVar("Value")

#: A request that takes more than this of the processor (or of the store, see `slow.costs`) is heavy, in seconds. It is charged whole.
HEAVY = 0.01
#: The part of the time that heavy requests of one may take while others are served, and the most that one may owe, in seconds: a stream
#: that was open for hours ends at some time.
SHARE, MOST_OWED = 0.5, 1.0
#: How long after its debt is paid one still counts as heavy, in seconds: its requests are at work one at a time.
REMEMBERED = 1.0
#: Requests of a tenant (an address, as long as it shows no key) that are at work at once, in a process. Each takes its turn with the
#: interpreter's lock, for which a request asks ten or twenty times, and with the store; two keep a process busy all the same, since one
#: computes while the other waits for the store's disk. One that is alone has more of them, so that its own do not wait for each other's.
MOST_AT_WORK, MOST_ALONE = 2, 16
#: How long ago another must have been served for that, in seconds.
OTHERS_SECONDS = 10.0
#: Over how many seconds it is remembered what one has used: what is longer ago counts for less and less.
USED_SECONDS = 2.0
#: Most names that are remembered; the ones that came first are forgotten first.
MAX_NAMES = 10_000


class _Remembered(Generic[Name, Value]):
    """By name, in bounded memory."""

    def __init__(self) -> None:
        self._by_name: dict[Name, Value] = {}
        self._lock = Lock()

    def _put(self, name: Name, value: Value) -> None:
        with self._lock:
            self._by_name.pop(name, None)
            if len(self._by_name) >= MAX_NAMES:
                del self._by_name[next(iter(self._by_name))]
            self._by_name[name] = value


class Owners(_Remembered[bytes, str]):
    """Who shows which credentials (a digest of them), learnt from requests that were let in. From any thread."""

    def of(self, credentials: bytes) -> str | None:
        return self._by_name.get(credentials)

    def note(self, credentials: bytes, owner: str) -> bool:
        """:return: that was not known."""
        if self._by_name.get(credentials) == owner:
            return False
        self._put(credentials, owner)
        return True


class Debts(_Remembered[str, float]):
    """Until when each pays for its heavy requests."""

    def charge(self, group: str, seconds: float, now: float) -> None:
        paid = max(self._by_name.get(group, now), now) + seconds / SHARE
        self._put(group, min(paid, now + MOST_OWED))

    def left(self, group: str, now: float) -> float:
        """Seconds until it has paid; 0 or less: it has."""
        return self._by_name.get(group, now) - now

    def is_heavy(self, group: str, now: float) -> bool:
        """One of its heavy requests was not long ago."""
        return group in self._by_name and self.left(group, now) > -REMEMBERED


class Used(_Remembered[str, tuple[float, float]]):
    """How much each has used lately. From any thread: of two additions at once one may be lost."""

    def add(self, name: str, seconds: float, now: float) -> None:
        self._put(name, (self._left(name, now) + seconds, now))

    def part(self, name: str, now: float) -> float:
        """Of the time, as a mean of the last `USED_SECONDS` or so."""
        return self._left(name, now) / USED_SECONDS

    def _left(self, name: str, now: float) -> float:
        seconds, at = self._by_name.get(name, (0.0, now))
        return seconds * exp((at - now) / USED_SECONDS)


class Latest:
    """Who was served last, and who else before: whoever is alone need not take turns."""

    def __init__(self) -> None:
        self._last, self._other = ("", -OTHERS_SECONDS), ("", -OTHERS_SECONDS)

    def note(self, group: str, now: float) -> None:
        """It is served now."""
        if group != self._last[0]:
            self._other = self._last
        self._last = group, now

    def has_others(self, group: str, now: float) -> bool:
        """Another than this one was served not long ago."""
        return now - (self._other if group == self._last[0] else self._last)[1] < OTHERS_SECONDS

    def rename(self, address: str, owner: str) -> None:
        """What was served as of an address was this one's: the two are not others to each other."""
        self._last, self._other = ((owner, at) if name == address else (name, at) for name, at in (self._last, self._other))
        if self._last[0] == self._other[0]:
            self._other = "", -OTHERS_SECONDS


class Turns:
    """How many requests of one may be at work now. In the main thread only."""

    def __init__(self, served: Served) -> None:
        """:param served: by all processes: they have one store, and one machine."""
        self.latest, self.debts, self._served = Latest(), Debts(), served

    def note(self, group: str, now: float, *, is_known: bool) -> None:
        """It is served now.

        :param is_known: by its key. Whoever is not (a balancer that asks for our health) is nobody's neighbour in other processes: it comes
            to all of them, and nobody would ever be alone.
        """
        self.latest.note(group, now)
        if is_known:
            self._served.note(group, now)

    def most(self, group: str, now: float, *, large: bool = False) -> int:
        """:param large: the next one is expected to be heavy."""
        if not (self.latest.has_others(group, now) or self._served.has_others(group, now, OTHERS_SECONDS)):
            return MOST_ALONE
        if not large and not self.debts.is_heavy(group, now):
            return MOST_AT_WORK
        return int(self.debts.left(group, now) <= 0)
