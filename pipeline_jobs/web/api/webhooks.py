"""`/pipeline/webhook-endpoints`: URLs that get a tenant's events."""

from __future__ import annotations

from flask import Response

from pipeline_jobs.exceptions import UnknownEndpoint
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.http.openapi import answer
from pipeline_jobs.web.http.replies import page_reply, reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.schemas import webhooks as bodies
from pipeline_jobs.web.state import web
from pipeline_jobs.webhooks.endpoints import Endpoint

_PATH = "/pipeline/webhook-endpoints"

routes = Routes("webhooks", _PATH, "Webhook endpoints and deliveries.")


def own(endpoint_id: str) -> Endpoint:
    """An endpoint of the caller's; another's is an unknown one.

    :raises UnknownEndpoint:
    """
    endpoint = web().cell.webhooks.endpoints.get(endpoint_id)
    if not caller().reaches(endpoint.tenant_id):
        raise UnknownEndpoint
    return endpoint


@routes.post(
    "",
    "Create a webhook endpoint",
    "From now on the tenant's events are sent to it. The answer has its `secret`, with which the receiver verifies "
    "signatures: keep it, because it cannot be retrieved again.",
    {201: answer("The endpoint, with its secret.", bodies.NewWebhookEndpoint, "Location")},
)
def create(body: bodies.EndpointRequest) -> Response:
    tenant_id = caller().tenant(body.tenant_id if "tenant_id" in body.model_fields_set else None) or body.tenant_id
    made, secret = web().cell.webhooks.endpoints.create(tenant_id, body.url, body.events, body.description, actor=caller().actor)
    return reply({**made.to_dict(), "secret": secret}, 201, {"Location": f"{_PATH}/{made.endpoint_id}"})


@routes.get("", "List webhook endpoints", "Newest first. Without the secrets.", {200: answer("One page.", bodies.WebhookEndpointList)})
def list_(query: bodies.EndpointListRequest) -> Response:
    page = web().cell.webhooks.endpoints.list(caller().tenant(query.tenant_id), query.cursor, query.limit)
    return page_reply("endpoints", page.items, Endpoint.to_dict, next_cursor=page.next_cursor)


@routes.get("/<endpoint_id>", "Get a webhook endpoint", "Without its secret.", {200: answer("The endpoint.", bodies.WebhookEndpoint)})
def get(path: bodies.EndpointPath) -> Response:
    return reply(own(path.endpoint_id).to_dict())


@routes.patch(
    "/<endpoint_id>",
    "Change a webhook endpoint",
    "An endpoint that answered 410 is disabled; `enabled: true` enables it again.",
    {200: answer("The endpoint.", bodies.WebhookEndpoint)},
)
def change(path: bodies.EndpointPath, body: bodies.EndpointChange) -> Response:
    endpoint_id = own(path.endpoint_id).endpoint_id
    changed = web().cell.webhooks.endpoints.update(endpoint_id, actor=caller().actor, **body.model_dump())
    return reply(changed.to_dict())


@routes.delete(
    "/<endpoint_id>",
    "Delete a webhook endpoint",
    "Its waiting messages become dead when they are due.",
    {200: answer("It was deleted.", bodies.WebhookRemoval)},
)
def delete(path: bodies.EndpointPath) -> Response:
    endpoint = own(path.endpoint_id)
    web().cell.webhooks.endpoints.delete(endpoint.endpoint_id, actor=caller().actor)
    return reply({"endpoint_id": endpoint.endpoint_id, "status": "deleted"})


@routes.post(
    "/<endpoint_id>/rotate",
    "Rotate a webhook endpoint's secret",
    "Only this answer has the new secret. Until `old_secret_until` each message has two signatures, with the new and the old secret.",
    {200: answer("The endpoint, with its new secret.", bodies.NewWebhookEndpoint)},
)
def rotate(path: bodies.EndpointPath) -> Response:
    endpoint, secret = web().cell.webhooks.endpoints.rotate(own(path.endpoint_id).endpoint_id, actor=caller().actor)
    return reply({**endpoint.to_dict(), "secret": secret})


@routes.post(
    "/<endpoint_id>/test",
    "Send a webhook endpoint a test event",
    "Sends an event `endpoint.test`, whatever types the endpoint has. `GET /pipeline/deliveries/{delivery_id}` shows the result.",
    {202: answer("The delivery, which will be sent immediately.", bodies.Delivery, "Location")},
    errors=(409,),
)
def test(path: bodies.EndpointPath) -> Response:
    webhooks = web().cell.webhooks
    delivery_id = webhooks.endpoints.test(own(path.endpoint_id).endpoint_id)
    return reply(webhooks.ledger.get(delivery_id).to_dict(), 202, {"Location": f"/pipeline/deliveries/{delivery_id}"})
