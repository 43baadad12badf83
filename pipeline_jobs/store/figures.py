"""What waits and runs in a cell, in one round trip: for metrics, the overview and readiness."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.connection import store_errors
from pipeline_jobs.store.reader import Reader


@dataclass(frozen=True, slots=True)
class Load:
    """Figures of this moment."""

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
    #: How long the schedule that is due for longest has not been looked at, in seconds.
    schedules_late_seconds: float


def load(store: Reader, tenant_id: str | None = None) -> Load:
    """:param tenant_id: count this tenant's jobs only; None: all. Workers, slots and schedules are those of the installation.

    :raises StoreUnavailable:
    """
    keys, now = store.keys, time.time()

    def index(status: JobStatus) -> str:
        return keys("status", status) if tenant_id is None else keys("tenant_status", tenant_id, status)

    with store_errors(), store.client.pipeline(transaction=False) as pipe:
        pipe.zcard(index(JobStatus.QUEUED))
        pipe.zcard(index(JobStatus.RUNNING))
        pipe.zrange(index(JobStatus.QUEUED), 0, 0, withscores=True)
        pipe.zcard(keys("leases"))
        pipe.mget(keys("capacity"), keys("max_concurrent_jobs"))
        pipe.zcount(keys("workers"), now * 1000, "+inf")
        pipe.zrange(keys("schedules_due"), 0, 0, withscores=True)
        queued, running, oldest, leases, (capacity, cap), workers, due = pipe.execute()
    return Load(
        queued=queued,
        running=running,
        oldest_seconds=max(0.0, now - oldest[0][1] / 1_000_000) if oldest else None,
        leases=leases,
        capacity=int(capacity or 0),
        workers=workers,
        max_concurrent_jobs=int(cap) if cap else None,
        schedules_late_seconds=max(0.0, now - due[0][1] / 1000) if due else 0.0,
    )
