"""`/pipeline/tenants/{tenant_id}/keys`: make, list and revoke API keys."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.access.api_keys import ApiKey as Record
from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.access.ids import unknown_key
from pipeline_jobs.web.http.openapi import answer, responses
from pipeline_jobs.web.http.replies import page_reply, reply
from pipeline_jobs.web.http.validation import validated
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.keys import ApiKey, ApiKeyList, KeyPath, KeyRequest, NewApiKey
from pipeline_jobs.web.schemas.tenants import TenantPath
from pipeline_jobs.web.state import web

blueprint = APIBlueprint(
    "keys", __name__, url_prefix="/pipeline/tenants", abp_tags=[{"name": "keys", "description": "Who may use the API."}]
)
blueprint.before_request(require_queue)


@blueprint.post(
    "/<tenant_id>/keys",
    summary="Make a key",
    description="The answer has the key's text (`key`): keep it, nobody can ask for it again. An admin of a tenant makes keys of that "
    "tenant; an admin of all tenants makes any. The first key is made on the command line: `celery -A celery_app jobs key create`.",
    responses=responses({201: answer("The key, with its text.", NewApiKey)}, 400, 404, 413, 415, 422, 503),
)
@validated
def create(path: TenantPath, body: KeyRequest) -> Response:
    who = caller()
    if who.key_id is None:
        # Whoever makes the first key shuts all others out: that takes more than a connection to this port.
        raise Refused(403, "no_key_yet", "the first key is made on the command line: celery -A celery_app jobs key create")
    key, text = web().parts.keys.create(
        path.tenant_id, Role(body.role), actor=who.actor, name=body.name, workspace_id=body.workspace_id, expires_at=body.expires_at
    )
    return reply({**key.to_dict(), "key": text}, 201)


@blueprint.get(
    "/<tenant_id>/keys",
    summary="List a tenant's keys",
    description="Newest first, the revoked and expired ones too; at most 1,000. No secret is shown.",
    responses=responses({200: answer("The keys.", ApiKeyList)}, 404, 422, 503),
)
@validated
def list_(path: TenantPath) -> Response:
    return page_reply("keys", web().parts.keys.list(path.tenant_id), Record.to_dict)


@blueprint.delete(
    "/<tenant_id>/keys/<key_id>",
    summary="Revoke a key",
    description="For good, and everywhere within a second. The key stays listed as revoked. Safe to repeat.",
    responses=responses({200: answer("The key, revoked.", ApiKey)}, 404, 422, 503),
)
@validated
def revoke(path: KeyPath) -> Response:
    key = web().parts.keys.revoke(path.tenant_id, path.key_id, actor=caller().actor)
    if key is None:
        raise unknown_key()
    return reply(key.to_dict())
