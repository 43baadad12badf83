"""`/pipeline/tenants/{tenant_id}/keys`: create, list and revoke API keys."""

from __future__ import annotations

from flask import Response

from pipeline_jobs.access.api_keys import ApiKey as Record
from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.ids import unknown_key
from pipeline_jobs.web.http.openapi import answer
from pipeline_jobs.web.http.replies import page_reply, reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.keys import ApiKey, ApiKeyList, KeyPath, KeyRequest, NewApiKey
from pipeline_jobs.web.schemas.tenants import TenantPath
from pipeline_jobs.web.state import web

routes = Routes("keys", "/pipeline/tenants", "API keys.")


@routes.post(
    "/<tenant_id>/keys",
    "Create a key",
    "The answer has the key (`key`): keep it, because it cannot be retrieved again. An admin of a tenant can create keys "
    "for that tenant; an admin of all tenants can create any key. The first key is created on the command line: `celery -A "
    "celery_app jobs key create`.",
    {201: answer("The key.", NewApiKey)},
)
def create(path: TenantPath, body: KeyRequest) -> Response:
    who = caller()
    if who.key_id is None:
        # Whoever makes the first key shuts all others out: that takes more than a connection to this port.
        raise Refused(403, "no_key_yet", "the first key must be created on the command line: celery -A celery_app jobs key create")
    key, text = web().cell.keys.create(
        path.tenant_id, Role(body.role), actor=who.actor, name=body.name, workspace_id=body.workspace_id, expires_at=body.expires_at
    )
    return reply({**key.to_dict(), "key": text}, 201)


@routes.get(
    "/<tenant_id>/keys",
    "List a tenant's keys",
    "Newest first, including revoked and expired keys; at most 1,000. Without the secrets.",
    {200: answer("The keys.", ApiKeyList)},
    errors=(422,),
)
def list_(path: TenantPath) -> Response:
    return page_reply("keys", web().cell.keys.list(path.tenant_id), Record.to_dict)


@routes.delete(
    "/<tenant_id>/keys/<key_id>",
    "Revoke a key",
    "Permanent, and effective everywhere within a second. The key stays in the list as revoked. Can be repeated.",
    {200: answer("The revoked key.", ApiKey)},
    errors=(422,),
)
def revoke(path: KeyPath) -> Response:
    key = web().cell.keys.revoke(path.tenant_id, path.key_id, actor=caller().actor)
    if key is None:
        raise unknown_key()
    return reply(key.to_dict())
