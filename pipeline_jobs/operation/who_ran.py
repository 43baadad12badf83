"""Who ran when: slots by tenant and minute over the last hour, from the records of jobs that run or ended lately. Reads only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pipeline_jobs.job import Job
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import TERMINAL, JobStatus

#: Minutes that are looked at, and tenants that have a line of their own: the others are one.
MINUTES, MOST_TENANTS = 60, 6
#: Most records that are read of those that run, and of those that ended (the newest accepted ones).
MOST_READ, _PAGE = 500, 100
OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Ran:
    """A tenant's slots on the average of each minute, oldest first."""

    tenant_id: str
    slots: tuple[float, ...]

    @property
    def minutes(self) -> float:
        """Slot-minutes of the whole time."""
        return round(sum(self.slots), 1)


@dataclass(frozen=True, slots=True)
class Hour:
    """The tenants that ran something, the most first."""

    tenants: tuple[Ran, ...]
    #: There are more records than were read, so early minutes may lack some.
    more: bool

    @property
    def top(self) -> float:
        """Most slots that were taken together in a minute."""
        return max((sum(part) for part in zip(*(one.slots for one in self.tenants), strict=True)), default=0.0)


def last_hour(client: Client, now: int) -> Hour:
    """:param now: Unix ms. :raises StoreUnavailable:"""
    read, more = [], False
    for statuses in ((JobStatus.RUNNING,), tuple(sorted(TERMINAL))):
        found, left = _newest(client, JobQuery(statuses=statuses, limit=_PAGE))
        read += found
        more = more or left
    return Hour(tuple(shares(read, now)), more)


def _newest(client: Client, query: JobQuery) -> tuple[list[Job], bool]:
    found: list[Job] = []
    while len(found) < MOST_READ:
        page = client.list(query)
        found += page.items
        if page.next_cursor is None:
            return found, False
        query = replace(query, cursor=page.next_cursor)
    return found, True


def shares(jobs: Iterable[Job], now: int) -> list[Ran]:
    """What these jobs held. Of a job that was tried several times its last run is known."""
    held: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * MINUTES)
    for job in jobs:
        for minute, part in _parts(job, now):
            held[job.tenant_id][minute] += part
    ranked = sorted(held.items(), key=lambda one: (-sum(one[1]), one[0]))
    shown = [Ran(name, tuple(round(slots, 3) for slots in parts)) for name, parts in ranked[:MOST_TENANTS]]
    if rest := [parts for _, parts in ranked[MOST_TENANTS:]]:
        shown.append(Ran(OTHERS, tuple(round(sum(part), 3) for part in zip(*rest, strict=True))))
    return shown


def _parts(job: Job, now: int) -> Iterator[tuple[int, float]]:
    """The minutes in which it held a slot, each with the part of the minute."""
    begin, first = job.attempt_started_at, now - MINUTES * 60_000
    end = min(job.completed_at or now, now)
    if begin is None or end <= first:
        return
    at = max(begin, first)
    while at < end:
        minute = (at - first) // 60_000
        until = min(end, first + (minute + 1) * 60_000)
        yield minute, (until - at) / 60_000
        at = until
