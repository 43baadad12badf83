"""`/pipeline/tenants/{tenant_id}`: a tenant's limits and usage, and its end."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.http.openapi import answer, responses
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.http.validation import validated
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.tenants import (
    EraseRequest,
    Erasure,
    Limits,
    LimitsRequest,
    TenantPath,
    Usage,
    UsageRequest,
)
from pipeline_jobs.web.state import web

blueprint = APIBlueprint(
    "tenants", __name__, url_prefix="/pipeline/tenants", abp_tags=[{"name": "tenants", "description": "Limits and usage."}]
)
blueprint.before_request(require_queue)


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
