"""The overview: queued and running jobs, latest jobs, and the tenants for those who see all of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flask import Response, request

from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.job import Job, rfc3339
from pipeline_jobs.jobs.listing import JobQuery, tally
from pipeline_jobs.operation.overview import now, tenants
from pipeline_jobs.operation.pauses import Pause, pause_of
from pipeline_jobs.operation.usage import COUNTS, Day, of_tenant
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import check_name
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, is_fragment, page
from pipeline_jobs.web.ui.jobs import explained

#: Days in the chart.
DAYS = 14
#: Most tenants in the table, and in the sums over all.
MOST_TENANTS = 50
#: Jobs shown below the figures.
LATEST = 6
#: Statuses in the chart, from the foot of a bar up.
ENDED = ("completed", "failed", "cancelled")
#: Of how many seconds failures are told at the top, and of how many of them on.
RECENT, MANY = 86_400, 3
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
    running, latest = _some(tenant, (JobStatus.RUNNING,)), explained(_some(tenant))
    shown = {job.job_id for job in running}
    values: dict[str, Any] = {"figures": _figures(tenant), "running": running, "latest": [job for job in latest if job.job_id not in shown]}
    if not is_fragment():
        values |= _usage(tenant) | {"trouble": _trouble(tenant), "paused": _paused(tenant)}
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


def _some(tenant: str | None, statuses: tuple[JobStatus, ...] = ()) -> Sequence[Job]:
    return web().cell.client.list(caller().query(JobQuery(tenant_id=tenant, statuses=statuses, limit=LATEST))).items


def _paused(tenant: str | None) -> Pause | None:
    """The pause that holds the tenant up: everybody whom it holds up is told."""
    return None if tenant is None else pause_of(web().cell.client, tenant)


class Trouble(NamedTuple):
    """The jobs that failed in the last day, and the code that most of them have."""

    failed: int
    code: str
    #: How many of them have it.
    most: int
    #: From when on they are counted, as a filter of the list.
    since: str


def _trouble(tenant: str | None) -> Trouble | None:
    """What failed in the last day; None: little or nothing."""
    since = rfc3339((int(time.time()) - RECENT) * 1000) or ""
    query = JobQuery(tenant_id=tenant, statuses=(JobStatus.FAILED,), created_after=(int(time.time()) - RECENT) * 1000)
    found = tally(web().cell.store, caller().query(query))
    codes = found.of("error_code")
    failed = sum(found.of("status").values())
    if failed < MANY or not codes:
        return None
    code, most = next(iter(codes.items()))
    return Trouble(failed, code, most, f"{since[:19]}Z")


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


@dataclass(frozen=True, slots=True)
class Chart:
    """Jobs that ended by day, as the rectangles of a picture of 1000 by 100."""

    #: Of each: its status, and x, y, width, height.
    rects: tuple[tuple[str, float, float, float, float], ...]
    #: The most that ended in a day.
    top: int


def chart(days: Sequence[Day]) -> Chart:
    """The picture of these days, oldest first: what ended, by status on top of each other."""
    top = max((sum(getattr(day, name) for name in ENDED) for day in days), default=0)
    wide, rects = 1000 / max(1, len(days)), list[tuple[str, float, float, float, float]]()
    for number, day in enumerate(reversed(days)):
        y = 100.0
        for name in ENDED:
            if high := 100 * getattr(day, name) / max(1, top):
                y -= high
                rects.append((name, round(wide * (number + 0.15), 1), round(y, 2), round(wide * 0.7, 1), round(high, 2)))
    return Chart(tuple(rects), top)
