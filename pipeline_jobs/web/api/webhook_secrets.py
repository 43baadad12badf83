"""`/pipeline/tenants/{tenant_id}/webhook-secret`: what signs the webhooks of a tenant's jobs."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.job import rfc3339
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.http.openapi import answer, responses
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.http.validation import validated
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.tenants import TenantPath
from pipeline_jobs.web.schemas.webhooks import WebhookSecret
from pipeline_jobs.web.state import web

blueprint = APIBlueprint("webhook_secrets", __name__, url_prefix="/pipeline/tenants", abp_tags=[{"name": "webhooks"}])
blueprint.before_request(require_queue)


def _answer(tenant_id: str, *, rotate: bool) -> Response:
    if tenant_id == "*":
        raise Refused(422, "invalid_input", "tenant_id: `*` is not a tenant", field="tenant_id")
    webhooks = web().parts.webhooks
    found = webhooks.endpoints.tenant_secret(tenant_id, rotate=rotate)
    if rotate:
        web().parts.audit.record(caller().actor, "webhook_secret.rotated", tenant_id)
    return reply({"tenant_id": tenant_id, "secret": webhooks.reveal(found.current), "old_secret_until": rfc3339(found.old_secret_until)})


@blueprint.get(
    "/<tenant_id>/webhook-secret",
    summary="See a tenant's webhook secret",
    description="It signs the webhooks of jobs that were made with a `webhook` of their own. (An endpoint has a secret of its own.)",
    responses=responses({200: answer("The secret.", WebhookSecret)}, 404, 409, 422, 503),
)
@validated
def secret(path: TenantPath) -> Response:
    return _answer(path.tenant_id, rotate=False)


@blueprint.post(
    "/<tenant_id>/webhook-secret/rotate",
    summary="Give a tenant a new webhook secret",
    description="Until `old_secret_until` each message has two signatures, by the new and by the old secret.",
    responses=responses({200: answer("The new secret.", WebhookSecret)}, 404, 409, 422, 503),
)
@validated
def rotate(path: TenantPath) -> Response:
    return _answer(path.tenant_id, rotate=True)
