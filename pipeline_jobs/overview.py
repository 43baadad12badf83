"""How much waits and runs now, in all or of one tenant: for people who look. Reads only, and never more than counts."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import Store, store_errors


@dataclass(frozen=True, slots=True)
class Now:
    """What waits and runs at this moment."""

    queued: int
    running: int
    #: Jobs that may run at once: of the live workers together, within the installation's cap.
    slots: int
    #: Age of the job that was accepted first of those that wait, in seconds; None: nothing waits.
    oldest_seconds: float | None


def now(store: Store, settings: Settings, tenant_id: str | None = None) -> Now:
    """:param tenant_id: count this tenant's jobs only; None: all. Slots are those of the installation.

    :raises StoreUnavailable:
    """
    keys = store.keys

    def index(status: JobStatus) -> str:
        return keys("status", status) if tenant_id is None else keys("tenant_status", tenant_id, status)

    with store_errors(), store.client.pipeline(transaction=False) as pipe:
        pipe.zcard(index(JobStatus.QUEUED))
        pipe.zcard(index(JobStatus.RUNNING))
        pipe.zrange(index(JobStatus.QUEUED), 0, 0, withscores=True)
        pipe.get(keys("capacity"))
        pipe.zcount(keys("workers"), time.time() * 1000, "+inf")
        queued, running, oldest, capacity, workers = pipe.execute()
    slots = min(int(capacity or 0), settings.max_concurrent_jobs) if workers else 0
    age = max(0.0, time.time() - oldest[0][1] / 1_000_000) if oldest else None
    return Now(queued, running, slots, age)


def tenants(store: Store, most: int) -> list[str]:
    """Tenants that ever had a job, those with the most jobs first. Looks at every counter: not for a page that polls.

    :raises StoreUnavailable:
    """
    made: Counter[str] = Counter()
    with store_errors():
        # Who had jobs only before the index of tenants was kept is found by its counters.
        for field, value in store.client.hscan_iter(store.keys("counters"), match="created|*", count=1000):
            made[field.split("|")[1]] += int(value)
        ranked: Any = store.client.zrevrange(store.keys("tenants"), 0, most - 1, withscores=True)
        for tenant, jobs in ranked:
            made[tenant] = max(made[tenant], int(jobs))
    del made["_other"]
    return [tenant for tenant, _ in made.most_common(most)]
