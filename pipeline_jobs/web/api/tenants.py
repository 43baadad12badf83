"""`/pipeline/tenants/{tenant_id}`: a tenant's limits, usage and erasure."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.operation.usage import of_tenant
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
    summary="Get a tenant's limits",
    description="The tenant's own limits. null: it has none, and the default (tenant `*`) applies.",
    responses=responses({200: answer("The limits.", Limits)}, 400, 404, 422, 503),
)
@validated
def limits(path: TenantPath) -> Response:
    return reply(web().cell.client.limits(path.tenant_id).to_dict())


@blueprint.put(
    "/<tenant_id>/limits",
    summary="Set a tenant's limits",
    description="Replaces all limits of the tenant. They apply to its queued jobs immediately.",
    responses=responses({200: answer("The new limits.", Limits)}, 400, 404, 413, 415, 422, 503),
)
@validated
def set_limits(path: TenantPath, body: LimitsRequest) -> Response:
    now = web().cell.client.set_limits(path.tenant_id, TenantLimits(**body.model_dump()), actor=caller().actor)
    return reply(now.to_dict())


@blueprint.get(
    "/<tenant_id>/usage",
    summary="Get a tenant's usage",
    description="By day in UTC, today first. Waiting times are from acceptance to the first start, accurate to an eighth.",
    responses=responses({200: answer("The days.", Usage)}, 400, 404, 422, 503),
)
@validated
def usage(path: TenantPath, query: UsageRequest) -> Response:
    days = of_tenant(web().cell.store, path.tenant_id, query.days)
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
    cell = web().cell
    if path.tenant_id == "*":
        raise Refused(422, "invalid_input", "tenant_id: `*` is not a tenant", field="tenant_id")
    if not query.dry_run:
        for key in cell.keys.list(path.tenant_id):
            cell.keys.revoke(path.tenant_id, key.key_id, actor=caller().actor)
    erased = erase_tenant(cell.store, cell.artifacts, path.tenant_id, dry_run=query.dry_run, actor=caller().actor)
    if erased.done:
        cell.keys.erase(path.tenant_id)
    return reply(erased.to_dict())
