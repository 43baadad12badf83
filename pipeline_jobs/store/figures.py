"""What waits and runs in a cell, in one round trip: for metrics, the overview and readiness."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.connection import store_errors
from pipeline_jobs.store.reader import Reader
from pipeline_jobs.tenants import CANARY_TENANT

#: Maximum number of canaries that may wait at once.
MOST_CANARIES = 5


@dataclass(frozen=True, slots=True)
class Load:
    """Figures of this moment."""

    #: Jobs that wait and that run, the platform's own canary not among them.
    queued: int
    running: int
    #: Age in seconds of the job that was accepted first of those that wait; None: nothing waits.
    oldest_seconds: float | None
    #: Leases that workers hold, of all jobs.
    leases: int
    #: Slots of the live workers together.
    capacity: int
    #: How many workers are live.
    workers: int
    #: The installation's cap; None: nobody has set it.
    max_concurrent_jobs: int | None
    #: Live workers that take no jobs now, each with why.
    paused: dict[str, str]
    #: What an operator should know of live workers.
    warnings: dict[str, str]
    #: Slots of each live worker.
    slots: dict[str, int]


def load(store: Reader, tenant_id: str | None = None) -> Load:
    """:param tenant_id: count this tenant's jobs only; None: all. Workers and slots are those of the installation.

    :raises StoreUnavailable:
    """
    keys = store.keys

    def index(status: JobStatus) -> str:
        return keys("status", status) if tenant_id is None else keys("tenant_status", tenant_id, status)

    with store_errors(), store.client.pipeline(transaction=False) as pipe:
        pipe.zcard(index(JobStatus.QUEUED))
        pipe.zcard(index(JobStatus.RUNNING))
        pipe.zrange(keys("tenant_status", CANARY_TENANT, JobStatus.QUEUED), 0, -1)
        pipe.zcard(keys("tenant_status", CANARY_TENANT, JobStatus.RUNNING))
        # One canary is on its way at a time: the oldest job that is none is among the first of these.
        pipe.zrange(index(JobStatus.QUEUED), 0, MOST_CANARIES, withscores=True)
        pipe.zcard(keys("leases"))
        pipe.mget(keys("capacity"), keys("max_concurrent_jobs"))
        pipe.zrange(keys("workers"), 0, -1, withscores=True)
        pipe.hgetall(keys("paused"))
        pipe.hgetall(keys("warnings"))
        pipe.hgetall(keys("slots"))
        # The server's clock, by which workers are announced: this process's may be wrong.
        pipe.time()
        *counts, announced, paused, warnings, slots, (seconds, micros) = pipe.execute()
    queued, running, canaries, singing, first, leases, (capacity, cap) = counts
    now = seconds + micros / 1_000_000
    workers = [worker for worker, until in announced if until >= now * 1000]
    if tenant_id is None:
        queued, running = queued - len(canaries), running - singing
        first = [one for one in first if one[0] not in canaries]
    return Load(
        queued=queued,
        running=running,
        oldest_seconds=max(0.0, now - first[0][1] / 1_000_000) if first else None,
        leases=leases,
        capacity=int(capacity or 0),
        workers=len(workers),
        max_concurrent_jobs=int(cap) if cap else None,
        paused=paused,
        warnings=warnings,
        slots={worker: int(slots.get(worker, 0)) for worker in workers},
    )


@dataclass(frozen=True, slots=True)
class Scrape:
    """What the metrics are made of, of one moment. Ages in seconds; 0: there is none of the kind."""

    #: The counters as the scripts write them: `kind|label|label` -> number.
    counters: dict[str, str]
    #: Tenants (`X`) and workspaces (`X|Y`) that have metrics by name.
    names: set[str]
    queued: int
    #: Of these: those that could start, and those that wait for their time.
    ready: int
    delayed: int
    leases: int
    capacity: int
    #: How many workers are paused.
    paused: int
    max_concurrent_jobs: int | None
    ready_seconds: float
    schedules_late_seconds: float
    #: How long ago a canary came back; None: none has.
    canary_seconds: float | None


def scrape(store: Reader) -> Scrape:
    """:raises StoreUnavailable:"""
    keys = store.keys
    # In one transaction: its figures are of one moment.
    with store_errors(), store.client.pipeline() as pipe:
        pipe.hgetall(keys("counters"))
        pipe.smembers(keys("named"))
        pipe.zcard(keys("status", JobStatus.QUEUED))
        pipe.zcard(keys("ready_since"))
        pipe.zcard(keys("delayed"))
        pipe.zcard(keys("leases"))
        pipe.mget(keys("capacity"), keys("max_concurrent_jobs"), keys("heartbeat", "canary"))
        pipe.zrange(keys("ready_since"), 0, 0, withscores=True)
        pipe.zrange(keys("schedules_due"), 0, 0, withscores=True)
        pipe.hlen(keys("paused"))
        counters, names, queued, ready, delayed, leases, (capacity, cap, canary), oldest, due, paused = pipe.execute()
    return Scrape(
        counters=counters,
        names=names,
        queued=queued,
        ready=ready,
        delayed=delayed,
        leases=leases,
        capacity=int(capacity or 0),
        paused=paused,
        max_concurrent_jobs=int(cap) if cap else None,
        ready_seconds=_age(oldest),
        schedules_late_seconds=_age(due),
        canary_seconds=_age([("", canary)]) if canary else None,
    )


def _age(first: list[tuple[str, Any]]) -> float:
    """Seconds since the ms of the first member; 0: there is none."""
    return max(0.0, time.time() - float(first[0][1]) / 1000) if first else 0.0
