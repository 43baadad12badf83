"""`/pipeline/tenants/{tenant_id}`: a tenant's limits, usage and erasure."""

from __future__ import annotations

from flask import Response

from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.operation.usage import of_tenant
from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.http.openapi import answer
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas import tenants as bodies
from pipeline_jobs.web.state import web

routes = Routes("tenants", "/pipeline/tenants", "Limits and usage.")


@routes.get(
    "/<tenant_id>/limits",
    "Get a tenant's limits",
    "The tenant's own limits. null: it has none, and the default (tenant `*`) applies.",
    {200: answer("The limits.", bodies.Limits)},
    errors=(400, 422),
)
def limits(path: bodies.TenantPath) -> Response:
    return reply(web().cell.client.limits(path.tenant_id).to_dict())


@routes.put(
    "/<tenant_id>/limits",
    "Set a tenant's limits",
    "Replaces all limits of the tenant. They apply to its queued jobs immediately.",
    {200: answer("The new limits.", bodies.Limits)},
)
def set_limits(path: bodies.TenantPath, body: bodies.LimitsRequest) -> Response:
    now = web().cell.client.set_limits(path.tenant_id, TenantLimits(**body.model_dump()), actor=caller().actor)
    return reply(now.to_dict())


@routes.get(
    "/<tenant_id>/usage",
    "Get a tenant's usage",
    "By day in UTC, today first. Waiting times are from acceptance to the first start, accurate to an eighth.",
    {200: answer("The days.", bodies.Usage)},
)
def usage(path: bodies.TenantPath, query: bodies.UsageRequest) -> Response:
    days = of_tenant(web().cell.store, path.tenant_id, query.days)
    return reply({"tenant_id": path.tenant_id, "days": [day.to_dict() for day in days]})


@routes.delete(
    "/<tenant_id>",
    "Erase a tenant",
    "Deletes its jobs, artifacts, usage, limits and keys. Jobs that have not ended are cancelled first: repeat the request "
    "until `done` is true.",
    {200: answer("What was deleted, or would be deleted.", bodies.Erasure)},
)
def erase(path: bodies.TenantPath, query: bodies.EraseRequest) -> Response:
    cell = web().cell
    if path.tenant_id == "*":
        raise Refused(422, "invalid_input", "tenant_id: `*` is not a tenant", field="tenant_id")
    if not query.dry_run:
        for key in cell.keys.list(path.tenant_id):
            cell.keys.revoke(path.tenant_id, key.key_id, actor=caller().actor)
    erased = erase_tenant(
        cell.store,
        cell.artifacts,
        path.tenant_id,
        dry_run=query.dry_run,
        actor=caller().actor,
        drive=cell.executor.drive,
        history=cell.history,
    )
    if erased.done:
        cell.keys.erase(path.tenant_id)
    return reply(erased.to_dict())
