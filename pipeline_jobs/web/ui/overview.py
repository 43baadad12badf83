"""The overview: queued and running jobs, latest jobs, and the tenants for those who see all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Response, request

from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.job import Job
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.operation.overview import now, tenants
from pipeline_jobs.operation.usage import COUNTS, Day, of_tenant
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import check_name
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, is_fragment, page

#: Days in the chart.
DAYS = 14
#: Most tenants in the table, and in the sums over all.
MOST_TENANTS = 50
#: Jobs shown below the figures.
LATEST = 6
#: Most jobs that are counted one by one.
MOST_COUNTED = 100


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers at the top. `more_...`: there are more than were counted."""

    queued: int
    running: int
    more_queued: bool = False
    more_running: bool = False
    slots: int | None = None
    oldest_seconds: float | None = None


@blueprint.get("")
def overview() -> Response:
    named = request.args.get("tenant_id") or None
    if named is not None:
        check_name("tenant_id", named)
    # Refuses a tenant that is not the key's, as a list does.
    tenant = caller().query(JobQuery(tenant_id=named)).tenant_id
    values: dict[str, Any] = {"figures": _figures(tenant), "latest": _latest(tenant)}
    if not is_fragment():
        values |= _usage(tenant)
    return page("overview", **values)


def _figures(tenant: str | None) -> Figures:
    who, cell = caller(), web().cell
    if who.workspace_id is not None:
        # No index knows how many jobs of a workspace wait: they are looked at, up to a limit.
        waits, runs = (JobQuery(statuses=(status,), limit=MOST_COUNTED) for status in (JobStatus.QUEUED, JobStatus.RUNNING))
        queued, running = cell.client.list(who.query(waits)), cell.client.list(who.query(runs))
        return Figures(len(queued.items), len(running.items), more_queued=bool(queued.next_cursor), more_running=bool(running.next_cursor))
    all_now = now(cell.store, cell.settings, tenant)
    # How many slots there are is the installation's business; a tenant's own limit is on its page.
    return Figures(all_now.queued, all_now.running, slots=all_now.slots if who.sees_all else None, oldest_seconds=all_now.oldest_seconds)


def _latest(tenant: str | None) -> Sequence[Job]:
    return web().cell.client.list(caller().query(JobQuery(tenant_id=tenant, limit=LATEST))).items


def _usage(tenant: str | None) -> dict[str, Any]:
    """Figures by day, for whom the API would tell them too: admins."""
    who, cell = caller(), web().cell
    if who.role is not Role.ADMIN or who.workspace_id is not None:
        return {}
    if tenant is not None:
        days = of_tenant(cell.store, tenant, DAYS)
        return {"days": days, "chart": chart(days)}
    names = tenants(cell.store, MOST_TENANTS)
    used = {name: of_tenant(cell.store, name, DAYS) for name in names}
    days = [summed(same_day) for same_day in zip(*used.values(), strict=True)]
    return {"days": days, "chart": chart(days), "tenants": [(name, used[name][0]) for name in names], "most_tenants": MOST_TENANTS}


def summed(days: Sequence[Day]) -> Day:
    """The same day of several tenants as one; of their waits nothing can be said together."""
    sums = {name: sum(getattr(day, name) for day in days) for name in (*COUNTS, "slot_seconds")}
    return Day(days[0].date, **sums, wait_p50_seconds=None, wait_p95_seconds=None)


def chart(days: Sequence[Day]) -> dict[str, list[Any]]:
    """For `chart.js`: oldest first, what ended by status, and how many came in."""
    old_first = list(reversed(days))
    return {"dates": [day.date for day in old_first], **{name: [getattr(day, name) for day in old_first] for name in COUNTS}}
