"""`/pipeline/tenants/{tenant_id}/webhook-secret`: what signs the webhooks of a tenant's jobs."""

from __future__ import annotations

from flask import Response

from pipeline_jobs.job import rfc3339
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.http.openapi import answer
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.tenants import TenantPath
from pipeline_jobs.web.schemas.webhooks import WebhookSecret
from pipeline_jobs.web.state import web

routes = Routes("webhook_secrets", "/pipeline/tenants", tag="webhooks")


def _answer(tenant_id: str, *, rotate: bool) -> Response:
    if tenant_id == "*":
        raise Refused(422, "invalid_input", "tenant_id: `*` is not a tenant", field="tenant_id")
    webhooks = web().cell.webhooks
    found = webhooks.endpoints.tenant_secret(tenant_id, rotate=rotate, actor=caller().actor)
    secret = webhooks.signer.reveal(found.current)
    return reply({"tenant_id": tenant_id, "secret": secret, "old_secret_until": rfc3339(found.old_secret_until)})


@routes.get(
    "/<tenant_id>/webhook-secret",
    "Get a tenant's webhook secret",
    "It signs the webhooks of jobs that were created with their own `webhook`. (An endpoint has its own secret.)",
    {200: answer("The secret.", WebhookSecret)},
    errors=(409, 422),
)
def secret(path: TenantPath) -> Response:
    return _answer(path.tenant_id, rotate=False)


@routes.post(
    "/<tenant_id>/webhook-secret/rotate",
    "Rotate a tenant's webhook secret",
    "Until `old_secret_until` each message has two signatures, with the new and the old secret.",
    {200: answer("The new secret.", WebhookSecret)},
    errors=(409, 422),
)
def rotate(path: TenantPath) -> Response:
    return _answer(path.tenant_id, rotate=True)
