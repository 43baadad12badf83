"""How much waits and runs now, in all or of one tenant: for people who look. Reads only, and never more than counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pipeline_jobs.settings import Settings
from pipeline_jobs.store.figures import load
from pipeline_jobs.store.store import Store


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
    found = load(store, tenant_id)
    cap = settings.max_concurrent_jobs if found.max_concurrent_jobs is None else found.max_concurrent_jobs
    return Now(found.queued, found.running, min(found.capacity, cap) if found.workers else 0, found.oldest_seconds)


def tenants(store: Store, most: int) -> list[str]:
    """Tenants that ever had a job, those with the most jobs first. Looks at every counter: not for a page that polls.

    :raises StoreUnavailable:
    """
    made: Counter[str] = Counter()
    for field, value in store.fields_like("created|*", "counters"):
        made[field.split("|")[1]] += int(value)
    return [tenant for tenant, _ in made.most_common(most)]
