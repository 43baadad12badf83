"""Who gives way to whom: a tenant that has used much of a process stands back while one that has used less is at work, here or in another
process of the API.

Turns (`web/server/accounts.py`) bound how many requests of one are at work. But two that compute are enough to keep the interpreter from a
third, which asks for its lock some ten times; and as many in each process fill the store and the machine. So a request looks, as it begins
and before each of its scripts, whether somebody is at work who has used less, and lets that one go first. What nobody else needs is
everybody's: whoever is alone, or among others that use as much, never waits.

Nobody can hold up others with this for long: a request goes first for `CLAIM_SECONDS` from its beginning, those of one tenant for
`MOST_CLAIMED` of the time, only those whose tenant is known by its key, and whoever gives way waits for `WAIT_SECONDS` at a time.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from time import monotonic, thread_time
from typing import Any

from pipeline_jobs.web.server.accounts import Used

#: How much more than another one may have used before it gives way: so many times as much, and so much of a process's time. Tenants that
#: use about as much do not wait for each other, nor does one that uses next to nothing for anybody.
TIMES, MARGIN = 1.25, 0.01
#: Whoever has more requests than this waiting for a thread uses all that it can get: what it has used counts so many times.
MOST_WAITING, COUNTS_TIMES = 2, 4.0
#: How long a request goes before those of others, in seconds, and the part of the time in which those of one may.
CLAIM_SECONDS, MOST_CLAIMED = 0.25, 0.6
#: How long one that gives way waits at a time, in seconds, and how often it looks at other processes (more seldom, if many wait).
WAIT_SECONDS, LOOK_SECONDS = 0.1, 0.005
#: How many of those that wait are told at once that the way is free: all of them together would be in the way of the next one.
WOKEN = 2
#: How often one that is long is charged on its way, in seconds.
CHARGE_SECONDS = 0.05
#: Of many small steps every so many.
SEVERAL = 16
_PLACES = 64


class Told:
    """Who is at work in each process that has used least. Made before the fork; a process writes its own place only (see `balance.py`)."""

    def __init__(self) -> None:
        # Since when each one's request is at work, in ms (0: nobody is); then what they have used, as it counts, in millionths of the time;
        # then the hashes of their names.
        self._cells = memoryview(mmap.mmap(-1, _PLACES * 24)).cast("q")

    def tell(self, place: int, name: str, part: float, since: float) -> None:
        """This one is. :param since: 0: nobody is."""
        at = place % _PLACES
        self._cells[_PLACES + at], self._cells[2 * _PLACES + at], self._cells[at] = int(part * 1e6), hash(name), int(since * 1000)

    def has_less(self, place: int, name: str, part: float, now: float) -> bool:
        """In another process somebody else is at work who has used less than so much."""
        cells, begun, own = self._cells, int((now - CLAIM_SECONDS) * 1000), hash(name)
        since = cells[:_PLACES].tolist()
        since[place % _PLACES] = 0
        # Each request asks several times, and few processes have one at work.
        while (latest := max(since)) > begun:
            at = since.index(latest)
            if cells[_PLACES + at] < part * 1e6 and cells[2 * _PLACES + at] != own:
                return True
            since[at] = 0
        return False


@dataclass(slots=True, eq=False)
class Going:
    """A request that has a thread."""

    way: Way
    conn: Any
    group: str
    #: Since when it goes first, if it does; up to where its processor time was charged; and when it is charged next.
    since: float
    charged: float
    charge_at: float
    #: What it has taken of the processor, as far as that was charged, in seconds.
    spent: float = 0.0
    #: It does, or did until it waited or was too long.
    is_first: bool = False
    is_paused: bool = False
    #: Small steps that it has made.
    steps: int = 0

    def goes_first(self, now: float) -> bool:
        """As far as it is up to the request."""
        return not self.is_paused and now - self.since < CLAIM_SECONDS and not self.conn.waits


_HERE = threading.local()


def give_way() -> None:
    """The request of this thread waits, if it is not its turn. To be called where it holds no lock. In other threads: nothing."""
    going: Going | None = getattr(_HERE, "going", None)
    if going is not None:
        going.way.pause(going)


def give_way_at_times() -> None:
    """The same at one in several calls: for steps that take less than a look at the others."""
    going: Going | None = getattr(_HERE, "going", None)
    if going is not None:
        going.steps += 1
        if not going.steps % SEVERAL:
            going.way.pause(going)


def stand_back() -> None:
    """The request of this thread begins to wait for something that takes long: nobody need wait for it meanwhile."""
    going: Going | None = getattr(_HERE, "going", None)
    if going is not None:
        going.way.stand_back(going)


class Way:
    """Of a process. From any thread."""

    def __init__(self, told: Told, place: int, parked: Callable[[str], int], clock: Callable[[], float] = monotonic) -> None:
        """
        :param place: the process's number.
        :param parked: how many requests of a tenant or an address wait for a thread.
        """
        self._told, self._place, self._parked, self._clock = told, place, parked, clock
        self._lock = threading.RLock()
        self._freed = threading.Condition(self._lock)
        #: Requests that go before those of others, as long as they are at work.
        self._going: list[Going] = []
        self._waiting = 0
        #: What each has used of the processor (and of the store, see `slow.costs`), and how long its requests went first.
        self.used, self.first = Used(), Used()

    @property
    def waiting(self) -> int:
        """How many requests give way now."""
        return self._waiting

    def served(self, conn: Any, handle: Callable[[Any], Any]) -> tuple[Any, float]:
        """What `handle` gives for the next request of a connection, and what that took of the processor, in seconds."""
        going = self._begins(conn)
        try:
            self.pause(going)
            kept = handle(conn)
        finally:
            self._is_over(going)
        return kept, going.spent

    def pause(self, going: Going) -> None:
        """Let those go first who have used less."""
        now = self._clock()
        if now >= going.charge_at:
            self._charge(going, now)
        if self._must_wait(going.group, now):
            with self._lock:
                self._wait(going, now)

    def stand_back(self, going: Going) -> None:
        with self._lock:
            self._ends(going, self._clock())

    def _begins(self, conn: Any) -> Going:
        """The next request of this connection, in this thread."""
        now = self._clock()
        going = Going(self, conn, conn.group, now, thread_time(), now + CHARGE_SECONDS)
        going.is_first = conn.is_known and self.first.part(conn.group, now) < MOST_CLAIMED
        if going.is_first:
            with self._lock:
                # Those that have been at work for long are nobody's concern.
                self._going = [other for other in self._going if now - other.since < CLAIM_SECONDS]
                self._going.append(going)
                self._tell(now)
        _HERE.going = going
        return going

    def _is_over(self, going: Going) -> None:
        _HERE.going = None
        now = self._clock()
        self._charge(going, now, getattr(going.conn.sock, "cost", 0.0))
        with self._lock:
            self._ends(going, now)

    def _charge(self, going: Going, now: float, cost: float = 0.0) -> None:
        so_far = thread_time()
        spent, going.charged, going.charge_at = so_far - going.charged, so_far, now + CHARGE_SECONDS
        going.spent += spent
        self.used.add(going.group, spent + cost, now)

    def _ends(self, going: Going, now: float) -> None:
        if not going.is_first:
            return
        going.is_first = False
        # One that did not end for long is not there any more.
        self._going = [other for other in self._going if other is not going]
        self.first.add(going.group, min(now - going.since, CLAIM_SECONDS), now)
        self._tell(now)
        if self._waiting:
            self._freed.notify(WOKEN)

    def _wait(self, going: Going, now: float) -> None:
        begun, until = now, now + WAIT_SECONDS
        going.is_paused, self._waiting = True, self._waiting + 1
        self._tell(now)
        while now < until and self._must_wait(going.group, now):
            self._freed.wait(min(LOOK_SECONDS * self._waiting, until - now))
            now = self._clock()
        going.is_paused, self._waiting = False, self._waiting - 1
        going.since += now - begun
        self._tell(now)

    def _must_wait(self, group: str, now: float) -> bool:
        """Another is at work who has used less."""
        others = [going for going in self._going if going.group != group]
        if not others and not self._told.has_less(self._place, group, inf, now):
            # Most often nobody else is, and then it does not matter what anybody has used.
            return False
        part = self._weight(group, now) / TIMES - MARGIN
        if part <= 0:
            return False
        return any(going.goes_first(now) and self._weight(going.group, now) < part for going in others) or (
            self._told.has_less(self._place, group, part, now)
        )

    def _weight(self, group: str, now: float) -> float:
        """What one has used, as it counts."""
        return self.used.part(group, now) * (COUNTS_TIMES if self._parked(group) > MOST_WAITING else 1.0)

    def _tell(self, now: float) -> None:
        """To the other processes: who of those that go first has used least."""
        least, weight = None, inf
        for going in self._going:
            # Those of one weigh the same.
            if (least is None or going.group != least.group) and going.goes_first(now) and (own := self._weight(going.group, now)) < weight:
                least, weight = going, own
        if least is None:
            self._told.tell(self._place, "", 0.0, 0.0)
        else:
            self._told.tell(self._place, least.group, weight, least.since)
