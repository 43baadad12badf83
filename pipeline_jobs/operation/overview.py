"""How much waits and runs now, in all or of one tenant: for people who look. Reads only, and never more than counts."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import Store, store_errors
from pipeline_jobs.tenants import CANARY_TENANT, is_canary

#: Most canaries that may wait at once.
MOST_CANARIES = 5


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
    """:param tenant_id: count this tenant's jobs only; None: all but the platform's own canary. Slots are those of the installation.

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
        pipe.get(keys("capacity"))
        pipe.zcount(keys("workers"), time.time() * 1000, "+inf")
        queued, running, canaries, singing, first, capacity, workers = pipe.execute()
    if tenant_id is None:
        queued, running = queued - len(canaries), running - singing
        first = [one for one in first if one[0] not in canaries]
    oldest = first[:1]
    slots = min(int(capacity or 0), settings.max_concurrent_jobs) if workers else 0
    age = max(0.0, time.time() - oldest[0][1] / 1_000_000) if oldest else None
    return Now(queued, running, slots, age)


def tenants(store: Store, most: int) -> list[str]:
    """Tenants that ever had a job, those with the most jobs first; the platform's own canary is none.

    Looks at every counter: not for a page that polls.

    :raises StoreUnavailable:
    """
    made: Counter[str] = Counter()
    with store_errors():
        # Who had jobs only before the index of tenants was kept is found by its counters.
        for field, value in store.client.hscan_iter(store.keys("counters"), match="created|*", count=1000):
            made[field.split("|")[1]] += int(value)
        # One more, for the canary's.
        ranked: Any = store.client.zrevrange(store.keys("tenants"), 0, most, withscores=True)
        for tenant, jobs in ranked:
            made[tenant] = max(made[tenant], int(jobs))
    for tenant in ("_other", *filter(is_canary, list(made))):
        del made[tenant]
    return [tenant for tenant, _ in made.most_common(most)]
