"""`/pipeline/webhook-endpoints`: where a tenant wants its events."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.exceptions import UnknownEndpoint
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.http.openapi import answer, responses
from pipeline_jobs.web.http.replies import page_reply, reply
from pipeline_jobs.web.http.validation import validated
from pipeline_jobs.web.schemas.webhooks import (
    Delivery,
    EndpointChange,
    EndpointListRequest,
    EndpointPath,
    EndpointRequest,
    NewWebhookEndpoint,
    WebhookEndpoint,
    WebhookEndpointList,
    WebhookRemoval,
)
from pipeline_jobs.web.state import web
from pipeline_jobs.webhooks.endpoints import Endpoint

_PATH = "/pipeline/webhook-endpoints"

blueprint = APIBlueprint(
    "webhooks", __name__, url_prefix=_PATH, abp_tags=[{"name": "webhooks", "description": "Signed callbacks, and what came of them."}]
)
blueprint.before_request(require_queue)


def own(endpoint_id: str) -> Endpoint:
    """An endpoint of the caller's; another's is an unknown one.

    :raises UnknownEndpoint:
    """
    endpoint = web().parts.webhooks.endpoints.get(endpoint_id)
    if not caller().reaches(endpoint.tenant_id):
        raise UnknownEndpoint
    return endpoint


def _record(action: str, endpoint: Endpoint) -> None:
    """In the audit log. Of the URL it says nothing: that may hold a token of the receiver's."""
    web().parts.audit.record(caller().actor, action, endpoint.endpoint_id, {"tenant_id": endpoint.tenant_id})


@blueprint.post(
    "",
    summary="Make a webhook endpoint",
    description="From now on the tenant's events are sent there. The answer has its `secret`, by which the receiver checks signatures: "
    "keep it, nobody can ask for it again.",
    responses=responses({201: answer("The endpoint, with its secret.", NewWebhookEndpoint, "Location")}, 400, 404, 413, 415, 422, 503),
)
@validated
def create(body: EndpointRequest) -> Response:
    tenant_id = caller().tenant(body.tenant_id if "tenant_id" in body.model_fields_set else None) or body.tenant_id
    made, secret = web().parts.webhooks.endpoints.create(tenant_id, body.url, body.events, body.description)
    _record("webhook_endpoint.created", made)
    return reply({**made.to_dict(), "secret": secret}, 201, {"Location": f"{_PATH}/{made.endpoint_id}"})


@blueprint.get(
    "",
    summary="List webhook endpoints",
    description="Newest first. No secret is shown.",
    responses=responses({200: answer("One page.", WebhookEndpointList)}, 400, 404, 422, 503),
)
@validated
def list_(query: EndpointListRequest) -> Response:
    page = web().parts.webhooks.endpoints.list(caller().tenant(query.tenant_id), query.cursor, query.limit)
    return page_reply("endpoints", page.items, Endpoint.to_dict, next_cursor=page.next_cursor)


@blueprint.get(
    "/<endpoint_id>",
    summary="See a webhook endpoint",
    description="Without its secret.",
    responses=responses({200: answer("The endpoint.", WebhookEndpoint)}, 404, 503),
)
@validated
def get(path: EndpointPath) -> Response:
    return reply(own(path.endpoint_id).to_dict())


@blueprint.patch(
    "/<endpoint_id>",
    summary="Change a webhook endpoint",
    description="One that answered 410 is disabled; `enabled: true` lets it get events again.",
    responses=responses({200: answer("The endpoint.", WebhookEndpoint)}, 400, 404, 413, 415, 422, 503),
)
@validated
def change(path: EndpointPath, body: EndpointChange) -> Response:
    endpoint_id = own(path.endpoint_id).endpoint_id
    changed = web().parts.webhooks.endpoints.update(endpoint_id, **body.model_dump())
    _record("webhook_endpoint.changed", changed)
    return reply(changed.to_dict())


@blueprint.delete(
    "/<endpoint_id>",
    summary="Delete a webhook endpoint",
    description="What waits to be sent to it is dead when its turn comes.",
    responses=responses({200: answer("It is gone.", WebhookRemoval)}, 404, 503),
)
@validated
def delete(path: EndpointPath) -> Response:
    endpoint = own(path.endpoint_id)
    web().parts.webhooks.endpoints.delete(endpoint.endpoint_id)
    _record("webhook_endpoint.deleted", endpoint)
    return reply({"endpoint_id": endpoint.endpoint_id, "status": "deleted"})


@blueprint.post(
    "/<endpoint_id>/rotate",
    summary="Give a webhook endpoint a new secret",
    description="The answer has it, this once. Until `old_secret_until` each message has two signatures, by the new and by the old secret.",
    responses=responses({200: answer("The endpoint, with its new secret.", NewWebhookEndpoint)}, 404, 503),
)
@validated
def rotate(path: EndpointPath) -> Response:
    endpoint, secret = web().parts.webhooks.endpoints.rotate(own(path.endpoint_id).endpoint_id)
    _record("webhook_endpoint.rotated", endpoint)
    return reply({**endpoint.to_dict(), "secret": secret})


@blueprint.post(
    "/<endpoint_id>/test",
    summary="Send a webhook endpoint a test event",
    description="An event `endpoint.test`, whatever types it wants. Look at `GET /pipeline/deliveries/{delivery_id}` for what came of it.",
    responses=responses({202: answer("The delivery, which will be tried at once.", Delivery, "Location")}, 404, 409, 503),
)
@validated
def test(path: EndpointPath) -> Response:
    webhooks = web().parts.webhooks
    delivery_id = webhooks.endpoints.test(own(path.endpoint_id).endpoint_id)
    return reply(webhooks.ledger.get(delivery_id).to_dict(), 202, {"Location": f"/pipeline/deliveries/{delivery_id}"})
