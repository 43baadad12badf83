"""A tenant's pause: by whom, until when it is meant, and why. The pause itself is a limit; its name and time are in the audit log.

Nothing ends it by itself: a pause that is over unnoticed would start a flood that somebody stopped. It says that its time is over.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline_jobs.access import audit
from pipeline_jobs.jobs.client import Client

PAUSED, RESUMED = "tenant.paused", "tenant.resumed"
#: Rows of the audit log that are looked at, the newest ones: whatever was paused longer ago is told without a name.
LOOKED_AT = 200
#: Longest reason, in characters.
MAX_WHY = 300


@dataclass(frozen=True, slots=True)
class Pause:
    """A tenant starts nothing now."""

    tenant_id: str
    by: str
    #: Until when it is meant, in Unix ms; None: until somebody resumes the tenant.
    until: int | None
    why: str

    @property
    def over(self) -> bool:
        """Its time has passed."""
        return self.until is not None and self.until < time.time() * 1000


def pause(client: Client, tenant_id: str, *, actor: str | None, by: str, until: int | None, why: str) -> None:
    """What runs goes on; nothing more of it is started.

    :param by: the name that the tenant is told. :param until: Unix ms; None: until somebody resumes it.
    :raises StoreUnavailable:
    """
    client.set_limits(tenant_id, replace(client.limits(tenant_id), paused=True), actor=actor)
    audit.record(client.store, actor, PAUSED, tenant_id, {"by": by, "until": until, "why": why[:MAX_WHY]})


def resume(client: Client, tenant_id: str, *, actor: str | None) -> None:
    """:raises StoreUnavailable:"""
    client.set_limits(tenant_id, replace(client.limits(tenant_id), paused=None), actor=actor)
    audit.record(client.store, actor, RESUMED, tenant_id)


def pauses(client: Client, only: str | None = None) -> Sequence[Pause]:
    """Those that hold, the newest first. :param only: of this tenant. :raises StoreUnavailable:"""
    found: dict[str, Pause | None] = {}
    for row in audit.page(client.store, limit=LOOKED_AT).items:
        if row.action not in (PAUSED, RESUMED) or row.target in found or only not in (None, row.target):
            continue
        holds = row.action == PAUSED and client.limits(row.target).paused
        found[row.target] = (
            Pause(row.target, str(row.detail.get("by") or row.actor), row.detail.get("until"), str(row.detail.get("why", "")))
            if holds
            else None
        )
    return [one for one in found.values() if one is not None]
