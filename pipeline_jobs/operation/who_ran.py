"""Who ran when: slots by tenant and minute over the last hour, from the records of jobs that run or ended lately, and from what there is of
their parts. Reads only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline_jobs.job import Job
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import TERMINAL, JobStatus
from pipeline_jobs.store import parts_ran
from pipeline_jobs.store.parts_ran import Held

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
    #: How many jobs that was; one in parts is one.
    jobs: int

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
    held, more = parts_ran.ended(client.store, now - MINUTES * 60_000)
    held += parts_ran.running(client.store)
    for statuses in ((JobStatus.RUNNING,), tuple(sorted(TERMINAL))):
        found, left = _newest(client, JobQuery(statuses=statuses, limit=_PAGE))
        held += of_jobs(found)
        more = more or left
    return Hour(tuple(shares(held, now)), more)


def of_jobs(jobs: Iterable[Job]) -> list[Held]:
    """Of a job that was tried several times, or ran in parts, its own last run is known."""
    return [Held(job.tenant_id, job.job_id, job.attempt_started_at, job.completed_at) for job in jobs if job.attempt_started_at is not None]


def _newest(client: Client, query: JobQuery) -> tuple[list[Job], bool]:
    found: list[Job] = []
    while len(found) < MOST_READ:
        page = client.list(query)
        found += page.items
        if page.next_cursor is None:
            return found, False
        query = replace(query, cursor=page.next_cursor)
    return found, True


def shares(held: Iterable[Held], now: int) -> list[Ran]:
    """What each tenant held, minute by minute: whoever held most first."""
    slots: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * MINUTES)
    jobs: defaultdict[str, set[str]] = defaultdict(set)
    for one in held:
        for minute, part in _minutes(one, now):
            slots[one.tenant_id][minute] += part
            jobs[one.tenant_id].add(one.job_id)
    ranked = sorted(slots, key=lambda name: (-sum(slots[name]), name))
    shown = [Ran(name, _rounded([slots[name]]), len(jobs[name])) for name in ranked[:MOST_TENANTS]]
    if rest := ranked[MOST_TENANTS:]:
        shown.append(Ran(OTHERS, _rounded([slots[name] for name in rest]), sum(len(jobs[name]) for name in rest)))
    return shown


def _rounded(some: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Their sum, minute by minute."""
    return tuple(round(sum(minute), 3) for minute in zip(*some, strict=True))


def _minutes(held: Held, now: int) -> Iterator[tuple[int, float]]:
    """The minutes in which it was held, each with the part of the minute."""
    first = now - MINUTES * 60_000
    at, end = max(held.begin, first), min(held.end or now, now)
    while at < end:
        minute = (at - first) // 60_000
        until = min(end, first + (minute + 1) * 60_000)
        yield minute, (until - at) / 60_000
        at = until
