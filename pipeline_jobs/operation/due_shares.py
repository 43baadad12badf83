"""Who has how many slots, and how many are due to whom by weight and limits: for the page's window on fairness. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline_jobs.jobs.client import Client
from pipeline_jobs.operation.overview import tenants
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits

#: Most tenants that are looked at, those with the most jobs first, and most of them that are shown.
MOST_TENANTS, MOST_SHOWN = 200, 30


@dataclass(frozen=True, slots=True)
class Standing:
    """A tenant that has jobs waiting or running."""

    tenant_id: str
    weight: float
    #: Most jobs of it that may run; None: no limit.
    limit: int | None
    paused: bool
    queued: int
    running: int
    #: Slots that are due to it while all of these have enough to do.
    due: float = 0.0

    @property
    def most(self) -> int:
        """Slots that it can use."""
        wanted = self.queued + self.running
        most = wanted if self.limit is None else min(wanted, self.limit)
        return min(most, self.running) if self.paused else most


def standings(client: Client, slots: int) -> list[Standing]:
    """The tenants that have something to do, with what is due to each; the largest first.

    :raises StoreUnavailable:
    """
    names = tenants(client.store, MOST_TENANTS)
    sizes = client.store.sizes([("tenant_status", name, status) for name in names for status in (JobStatus.QUEUED, JobStatus.RUNNING)])
    busy = [(name, queued, running) for name, queued, running in zip(names, sizes[::2], sizes[1::2], strict=True) if queued + running]
    busy.sort(key=lambda one: (-one[2], -one[1], one[0]))
    defaults = client.limits("*")
    found = [_standing(client.limits(name), defaults, name, queued, running) for name, queued, running in busy[:MOST_SHOWN]]
    return with_due(slots, found)


def _standing(own: TenantLimits, defaults: TenantLimits, name: str, queued: int, running: int) -> Standing:
    weight, limit, paused = (
        getattr(own, field) if getattr(own, field) is not None else getattr(defaults, field)
        for field in ("weight", "max_concurrent", "paused")
    )
    return Standing(name, 1.0 if weight is None else weight, limit, bool(paused), queued, running)


def with_due(slots: int, all_of: Sequence[Standing]) -> list[Standing]:
    """Slots shared out by weight; what one cannot use goes to the others, by weight again."""
    due: dict[str, float] = {}
    left, open_ = float(slots), list(all_of)
    while open_:
        weights = sum(one.weight for one in open_)
        full = [one for one in open_ if one.most <= left * one.weight / weights]
        if not full:
            due |= {one.tenant_id: left * one.weight / weights for one in open_}
            break
        due |= {one.tenant_id: float(one.most) for one in full}
        left -= sum(one.most for one in full)
        open_ = [one for one in open_ if one not in full]
    return [replace(one, due=round(due[one.tenant_id], 2)) for one in all_of]


def forecast(slots: int, all_of: Sequence[Standing], tenant_id: str, changes: Mapping[str, Any]) -> list[Standing]:
    """What would be due with another weight or limit of one of them. Nothing is written.

    :param changes: `weight`, `limit` or both.
    """
    return with_due(slots, [replace(one, **changes) if one.tenant_id == tenant_id else one for one in all_of])
