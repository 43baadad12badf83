"""`/pipeline/tenants/{tenant_id}`: a tenant's limits and usage, and its end."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel, ConfigDict, Field

from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.api.keys import TenantPath
from pipeline_jobs.web.http.openapi import answer, responses
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.http.validation import validated
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.requests import Days, Flag, Parameters
from pipeline_jobs.web.schemas.tenant_bodies import Erasure, Limits, Usage
from pipeline_jobs.web.state import web

DEFAULT_DAYS = 7

blueprint = APIBlueprint(
    "tenants", __name__, url_prefix="/pipeline/tenants", abp_tags=[{"name": "tenants", "description": "Limits and usage."}]
)
blueprint.before_request(require_queue)


class LimitsRequest(BaseModel):
    """All limits of a tenant; what is absent or null is not set (the defaults, tenant `*`, hold)."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [{"weight": 2, "max_concurrent": 4}]})

    weight: float | None = Field(
        None, ge=0.001, le=1000, allow_inf_nan=False, description="Its part of the slots, relative to others' (1)."
    )
    max_concurrent: int | None = Field(None, ge=0, le=10**9, description="Most slots at once.")
    max_queued: int | None = Field(None, ge=0, le=10**9, description="Most jobs that wait; more are answered 429.")
    submit_rate: float | None = Field(
        None, ge=0, le=10**6, allow_inf_nan=False, description="Jobs submitted a second; more are answered 429."
    )
    start_rate: float | None = Field(None, ge=0, le=10**6, allow_inf_nan=False, description="Jobs started a second.")
    paused: bool | None = Field(None, description="Starts nothing; what runs goes on.")
    max_storage_bytes: int | None = Field(None, ge=0, le=10**15, description="Most bytes kept; at that no new job or upload is taken.")
    max_run_seconds: float | None = Field(
        None,
        ge=1,
        le=31_536_000,
        allow_inf_nan=False,
        description="Longest that a job may run, in seconds, where its pipeline lets it run longer; then it fails, code `run_too_long`.",
    )


class UsageRequest(Parameters):
    """How many days."""

    days: Days = Field(DEFAULT_DAYS, description="The last so many days in UTC, today first.")


class EraseRequest(Parameters):
    """Whether to do it."""

    dry_run: Flag = Field(False, description="`true`: only count what would go.")


@blueprint.get(
    "/<tenant_id>/limits",
    summary="See a tenant's limits",
    description="Its own; null where it has none and the defaults (tenant `*`) hold.",
    responses=responses({200: answer("The limits.", Limits)}, 400, 404, 422, 503),
)
@validated
def limits(path: TenantPath) -> Response:
    return reply(web().parts.tenants.limits(path.tenant_id).to_dict())


@blueprint.put(
    "/<tenant_id>/limits",
    summary="Set a tenant's limits",
    description="In the place of those it had. They act on its backlog at once.",
    responses=responses({200: answer("The limits as they are now.", Limits)}, 400, 404, 413, 415, 422, 503),
)
@validated
def set_limits(path: TenantPath, body: LimitsRequest) -> Response:
    here = web()
    now = here.parts.tenants.set_limits(path.tenant_id, TenantLimits(**body.model_dump()))
    here.parts.audit.record(caller().actor, "limits.changed", path.tenant_id, body.model_dump(exclude_none=True))
    return reply(now.to_dict())


@blueprint.get(
    "/<tenant_id>/usage",
    summary="See what a tenant used",
    description="By day in UTC, today first. Waits are from acceptance to the first start, within an eighth.",
    responses=responses({200: answer("The days.", Usage)}, 400, 404, 422, 503),
)
@validated
def usage(path: TenantPath, query: UsageRequest) -> Response:
    days = web().parts.tenants.usage(path.tenant_id, query.days)
    return reply({"tenant_id": path.tenant_id, "days": [day.to_dict() for day in days]})


@blueprint.delete(
    "/<tenant_id>",
    summary="Erase a tenant",
    description="Its jobs, artifacts, figures, limits and keys. Live jobs are asked to end first: ask again until `done` is true.",
    responses=responses({200: answer("What went, or would go.", Erasure)}, 400, 404, 422, 503),
)
@validated
def erase(path: TenantPath, query: EraseRequest) -> Response:
    here = web()
    if path.tenant_id == "*":
        raise Refused(422, "invalid_input", "tenant_id: `*` is not a tenant", field="tenant_id")
    if not query.dry_run:
        for key in here.parts.keys.list(path.tenant_id):
            here.parts.keys.revoke(path.tenant_id, key.key_id, actor=caller().actor)
    erased = here.parts.tenants.erase(path.tenant_id, dry_run=query.dry_run)
    if erased.done:
        here.parts.keys.erase(path.tenant_id)
    if not query.dry_run:
        here.parts.audit.record(caller().actor, "tenant.erased", path.tenant_id, erased.to_dict())
    return reply(erased.to_dict())
