"""How many jobs are queued and running, in all or for one tenant, for the web page. Reads counts only."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline_jobs.settings import Settings
from pipeline_jobs.store.figures import load
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import is_canary


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
    """:param tenant_id: count this tenant's jobs only; None: all but the platform's own canary. Slots are those of all pools.

    :raises StoreUnavailable:
    """
    found = load(store, tenant_id)
    slots = sum(pool.within(None if pool.pool else settings.max_concurrent_jobs) for pool in found.pools if pool.slots)
    return Now(found.queued, found.running, slots, found.oldest_seconds)


def tenants(store: Store, most: int) -> list[str]:
    """Tenants that ever had a job, those with the most jobs first; the platform's own canary is none.

    :raises StoreUnavailable:
    """
    # One more, for the canary's.
    return [tenant for tenant in store.top(most + 1, "tenants") if not is_canary(tenant)][:most]
