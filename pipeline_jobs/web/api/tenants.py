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
        None, ge=0.001, le=1000, allow_inf_nan=False, description="Share of the slots, relative to other tenants (1)."
    )
    max_concurrent: int | None = Field(None, ge=0, le=10**9, description="Maximum number of running jobs.")
    max_queued: int | None = Field(None, ge=0, le=10**9, description="Maximum number of queued jobs; above it, new jobs get 429.")
    submit_rate: float | None = Field(
        None, ge=0, le=10**6, allow_inf_nan=False, description="Maximum number of jobs submitted per second; above it, new jobs get 429."
    )
    start_rate: float | None = Field(None, ge=0, le=10**6, allow_inf_nan=False, description="Maximum number of jobs started per second.")
    paused: bool | None = Field(None, description="If true, no job is started; running jobs continue.")
    max_storage_bytes: int | None = Field(
        None, ge=0, le=10**15, description="Maximum number of bytes stored; above it, new jobs and uploads get 429."
    )
    max_run_seconds: float | None = Field(
        None,
        ge=1,
        le=31_536_000,
        allow_inf_nan=False,
        description="Maximum run time of a job in seconds, if its pipeline permits more; then it fails with the code `run_too_long`.",
    )


class UsageRequest(Parameters):
    """How many days."""

    days: Days = Field(DEFAULT_DAYS, description="Number of days in UTC, today first.")


class EraseRequest(Parameters):
    """Whether to do it."""

    dry_run: Flag = Field(False, description="`true`: only count what would be deleted.")


@blueprint.get(
    "/<tenant_id>/limits",
    summary="Get a tenant's limits",
    description="The tenant's own limits. null: it has none, and the default (tenant `*`) applies.",
    responses=responses({200: answer("The limits.", Limits)}, 400, 404, 422, 503),
)
@validated
def limits(path: TenantPath) -> Response:
    return reply(web().parts.tenants.limits(path.tenant_id).to_dict())


@blueprint.put(
    "/<tenant_id>/limits",
    summary="Set a tenant's limits",
    description="Replaces all limits of the tenant. They apply to its queued jobs immediately.",
    responses=responses({200: answer("The new limits.", Limits)}, 400, 404, 413, 415, 422, 503),
)
@validated
def set_limits(path: TenantPath, body: LimitsRequest) -> Response:
    here = web()
    now = here.parts.tenants.set_limits(path.tenant_id, TenantLimits(**body.model_dump()))
    here.parts.audit.record(caller().actor, "limits.changed", path.tenant_id, body.model_dump(exclude_none=True))
    return reply(now.to_dict())


@blueprint.get(
    "/<tenant_id>/usage",
    summary="Get a tenant's usage",
    description="By day in UTC, today first. Waiting times are from acceptance to the first start, accurate to an eighth.",
    responses=responses({200: answer("The days.", Usage)}, 400, 404, 422, 503),
)
@validated
def usage(path: TenantPath, query: UsageRequest) -> Response:
    days = web().parts.tenants.usage(path.tenant_id, query.days)
    return reply({"tenant_id": path.tenant_id, "days": [day.to_dict() for day in days]})


@blueprint.delete(
    "/<tenant_id>",
    summary="Erase a tenant",
    description="Deletes its jobs, artifacts, usage, limits and keys. Jobs that have not ended are cancelled first: repeat the request "
    "until `done` is true.",
    responses=responses({200: answer("What was deleted, or would be deleted.", Erasure)}, 400, 404, 422, 503),
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
