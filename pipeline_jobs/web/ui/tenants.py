"""A tenant's limits and usage, for its admins; changing limits is for admins of all tenants."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from flask import Response, request

from pipeline_jobs.access.api_keys import ALL
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.operation.usage import of_tenant
from pipeline_jobs.states import TERMINAL, JobStatus
from pipeline_jobs.tenants import WHOLE_LIMITS, TenantLimits, check_name
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.http.validation import check
from pipeline_jobs.web.problems import Refused, answer
from pipeline_jobs.web.schemas.tenants import LimitsRequest
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, page, see_other
from pipeline_jobs.web.ui.forms import typed_number
from pipeline_jobs.web.ui.overview import DAYS, chart

#: What each limit is, for people.
LIMITS = {
    "weight": "Share of the slots (weight)",
    "max_concurrent": "Maximum number of running jobs",
    "max_queued": "Maximum number of queued jobs",
    "max_parked": "Maximum number of jobs that wait for a signal",
    "submit_rate": "Maximum number of jobs submitted per second",
    "start_rate": "Maximum number of jobs started per second",
    "max_storage_bytes": "Maximum number of bytes stored",
    "max_ended": "Maximum number of ended jobs kept",
    "max_drive_bytes": "Maximum number of bytes copied to Google Drive",
    "daily_llm_tokens": "Maximum number of tokens of the language model per day",
    "max_run_seconds": "Maximum run time of a job, in seconds",
}

#: What of it is taken now, for people.
USED = {"max_concurrent": "Running jobs", "max_queued": "Queued jobs", "max_ended": "Ended jobs kept", "max_storage_bytes": "Stored"}


@blueprint.get("/tenants/<tenant_id>")
def tenant(tenant_id: str) -> Response:
    return _page(tenant_id, None)


@blueprint.post("/tenants/<tenant_id>/limits")
def set_limits(tenant_id: str) -> Response:
    values = request.form.to_dict()
    check_tenant(tenant_id)
    try:
        body = check(LimitsRequest, read_limits(values))
        if (read_at := values.get("version")) and read_at != _version(now := web().cell.client.limits(tenant_id)):
            return _page(tenant_id, values, {"version": "changed"}, 409, theirs=_differences(now, body))
        web().cell.client.set_limits(tenant_id, TenantLimits(**body.model_dump()), actor=caller().actor)
    except (Refused, InvalidInput) as error:
        told = answer(error)
        return _page(tenant_id, values, {one["field"]: one["message"] for one in told.get_json()["errors"]}, told.status_code)
    return see_other("ui.tenant", tenant_id=tenant_id, saved=1)


def _version(limits: TenantLimits) -> str:
    """Tells these limits from others: a form brings back that of the limits it was made from.

    Two who save within the same milliseconds may both pass: the store takes limits as they come. Whoever reads, thinks and saves does not.
    """
    return sha256(repr(limits).encode()).hexdigest()[:16]


def _differences(now: TenantLimits, wanted: LimitsRequest) -> list[tuple[str, Any, Any]]:
    """What somebody has set meanwhile, beside what was about to be saved: the words for the limit, theirs, one's own."""
    both = ((name, getattr(now, name), getattr(wanted, name)) for name in (*LIMITS, "paused"))
    return [(LIMITS.get(name, "Paused"), theirs, own) for name, theirs, own in both if theirs != own]


def read_limits(values: Mapping[str, str]) -> dict[str, Any]:
    """The limits of a form: what is empty is not set. What is no number is left for the check to refuse."""
    raw: dict[str, Any] = {
        name: typed_number(values[name].strip(), name in WHOLE_LIMITS) for name in LIMITS if values.get(name, "").strip()
    }
    if values.get("paused"):
        raw["paused"] = True
    return raw


def _page(
    tenant_id: str,
    values: Mapping[str, str] | None,
    errors: Mapping[str, str] | None = None,
    status: int = 200,
    theirs: list[tuple[str, Any, Any]] | None = None,
) -> Response:
    cell = web().cell
    check_tenant(tenant_id)
    limits = cell.client.limits(tenant_id)
    own = limits.to_dict()
    days = of_tenant(cell.store, tenant_id, DAYS) if tenant_id != ALL else []
    return page(
        "tenant",
        status,
        tenant_id=tenant_id,
        limits=LIMITS,
        words=USED,
        # Whoever is shown what somebody else has set, and saves again, means it.
        read_at=_version(limits),
        theirs=theirs or [],
        own=own,
        defaults=cell.client.limits(ALL).to_dict() if caller().sees_all else {},
        values=values if values is not None else {name: "" if value is None else f"{value:.15g}" for name, value in own.items()},
        errors=errors or {},
        used=_used(tenant_id) if tenant_id != ALL else {},
        days=days,
        chart=chart(days),
        may_edit=caller().sees_all,
        saved="saved" in request.args,
    )


def _used(tenant_id: str) -> dict[str, int]:
    """How much of some limits is taken now, by the names of the limits."""
    store = web().cell.store
    queued, running, ended = (
        sum(store.sizes([("tenant_status", tenant_id, status) for status in statuses]))
        for statuses in ((JobStatus.QUEUED,), (JobStatus.RUNNING,), TERMINAL)
    )
    return {"max_concurrent": running, "max_queued": queued, "max_ended": ended, "max_storage_bytes": store.tenant_bytes(tenant_id)}


def check_tenant(tenant_id: str) -> None:
    """:raises InvalidInput: it is neither a tenant's name nor `*`, all of them."""
    if tenant_id != ALL:
        check_name("tenant_id", tenant_id)
