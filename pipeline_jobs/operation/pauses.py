"""A tenant's pause: by whom, until when it is meant, and why. The pause itself is a limit; its name and time are in the audit log.

Nothing ends it by itself: a pause that is over unnoticed would start a flood that somebody stopped. It says that its time is over.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from pipeline_jobs.access import audit
from pipeline_jobs.access.api_keys import ALL
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.operation.overview import tenants

PAUSED, RESUMED = "tenant.paused", "tenant.resumed"
#: Of any change of limits, a pause or a resumption by them among them (`PUT .../limits`, `jobs limits`).
CHANGED = "limits.changed"
#: Rows of the installation's audit log that are looked at, the newest ones: whatever was paused longer ago is told without a name.
LOOKED_AT = 500
#: Tenants whose limits are looked at besides, those with the most jobs: a pause by limits alone has no row with a name.
MOST_TENANTS = 50
#: Who is told to have paused a tenant where no name is known.
NOBODY = "an operator"
#: Longest reason, in characters.
MAX_WHY = 300


@dataclass(frozen=True, slots=True)
class Pause:
    """A tenant starts nothing now."""

    #: `*`: all tenants, by the default limits.
    tenant_id: str
    by: str = NOBODY
    #: Until when it is meant, in Unix ms; None: until somebody resumes the tenant.
    until: int | None = None
    why: str = ""

    @property
    def over(self) -> bool:
        """Its time has passed."""
        return self.until is not None and self.until < time.time() * 1000


def pause(client: Client, tenant_id: str, *, actor: str | None, by: str, until: int | None, why: str) -> None:
    """What runs goes on; nothing more of it is started.

    :param by: the name that the tenant is told. :param until: Unix ms; None: until somebody resumes it.
    :raises StoreUnavailable:
    """
    # This limit alone: another one that somebody sets meanwhile stays.
    client.store.set_limits(tenant_id, {"paused": True})
    audit.record(client.store, actor, PAUSED, tenant_id, {"by": by, "until": until, "why": why[:MAX_WHY]})


def resume(client: Client, tenant_id: str, *, actor: str | None) -> None:
    """:raises StoreUnavailable:"""
    client.store.set_limits(tenant_id, {"paused": None})
    audit.record(client.store, actor, RESUMED, tenant_id)


def pauses(client: Client) -> Sequence[Pause]:
    """The pauses that hold: those with a name first, the newest first. :raises StoreUnavailable:"""
    named = _named(client)
    names = dict.fromkeys((*named, ALL, *tenants(client.store, MOST_TENANTS)))
    return [named.get(name) or Pause(name) for name in names if client.limits(name).paused]


def pause_of(client: Client, tenant_id: str) -> Pause | None:
    """What holds up this tenant, its own pause or that of all; None: nothing does. :raises StoreUnavailable:"""
    own = client.limits(tenant_id).paused
    held = client.limits(ALL).paused if own is None else own
    name = ALL if own is None else tenant_id
    return (_named(client).get(name) or Pause(name)) if held else None


def _named(client: Client) -> dict[str, Pause]:
    """Pauses with a name, by tenant, the newest first. One that was ended since is none, also where the tenant was paused again without."""
    found: dict[str, Pause | None] = {}
    for row in islice(audit.of_installation(client.store), LOOKED_AT):
        ended = row.action == RESUMED or (row.action == CHANGED and not row.detail.get("paused"))
        if row.action == PAUSED or ended:
            found.setdefault(row.target, None if ended else _told(row))
    return {name: one for name, one in found.items() if one is not None}


def _told(row: audit.Row) -> Pause:
    return Pause(row.target, str(row.detail.get("by") or NOBODY), row.detail.get("until"), str(row.detail.get("why", "")))
