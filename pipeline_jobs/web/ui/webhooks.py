"""A tenant's webhook endpoints and deliveries, for its admins: made (the secret is shown once), changed, tested, sent again."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from pipeline_jobs.exceptions import PipelineJobsError
from pipeline_jobs.tenants import check_name
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api.deliveries import own_delivery
from pipeline_jobs.web.api.webhooks import own
from pipeline_jobs.web.http.sealing import seal
from pipeline_jobs.web.http.validation import check
from pipeline_jobs.web.problems import Refused, answer
from pipeline_jobs.web.schemas.webhooks import DeliveryListRequest, EndpointChange, EndpointRequest
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, page, see_other
from pipeline_jobs.web.ui.forms import problems_at
from pipeline_jobs.webhooks.endpoints import MAX_ENDPOINTS, Endpoint
from pipeline_jobs.webhooks.ledger import Delivery
from pipeline_jobs.webhooks.targets import EVENTS

_FIELDS = ("url", "events", "description")
#: Deliveries on the page of an endpoint; how many of its tenant's are read at once for them, and how often.
SHOWN, PAGE, MOST_PAGES = 25, 100, 10


@blueprint.get("/tenants/<tenant_id>/webhooks")
def webhooks(tenant_id: str) -> Response:
    return _page(tenant_id)


@blueprint.post("/tenants/<tenant_id>/webhooks")
def make_webhook(tenant_id: str) -> Response:
    """A new endpoint, or (`act`) the secret of the webhooks that jobs bring along. The next page is the only one with the secret."""
    check_name("tenant_id", tenant_id)
    act, endpoints = request.form.get("act", "make"), web().cell.webhooks.endpoints
    if act in ("show", "rotate"):
        found = endpoints.tenant_secret(tenant_id, rotate=act == "rotate", actor=caller().actor)
        return _page(tenant_id, secret=web().cell.webhooks.signer.reveal(found.current), of="jobs with a webhook of their own")
    if act != "make":
        raise Refused(422, "invalid_input", "act must be one of: make, show, rotate", field="act")
    try:
        body = check(EndpointRequest, {**_typed(), "tenant_id": tenant_id})
        made, secret = endpoints.create(tenant_id, body.url, body.events, body.description, actor=caller().actor)
    except (Refused, PipelineJobsError) as error:
        told = answer(error)
        return _page(tenant_id, told.status_code, values=request.form.to_dict(), errors=problems_at(told, _FIELDS))
    return _page(tenant_id, secret=secret, of=made.url)


@blueprint.get("/webhooks/<endpoint_id>")
def webhook(endpoint_id: str) -> Response:
    return _endpoint(own(endpoint_id))


@blueprint.post("/webhooks/<endpoint_id>")
def change_webhook(endpoint_id: str) -> Response:
    """What the button says: `act`."""
    found, endpoints, actor = own(endpoint_id), web().cell.webhooks.endpoints, caller().actor
    match request.form.get("act", ""):
        case "enable" | "disable" as act:
            endpoints.update(endpoint_id, enabled=act == "enable", actor=actor)
        case "rotate":
            changed, secret = endpoints.rotate(endpoint_id, actor=actor)
            return _endpoint(changed, secret=secret)
        case "test":
            return see_other("ui.delivery", delivery_id=endpoints.test(endpoint_id))
        case "delete":
            endpoints.delete(endpoint_id, actor=actor)
            return see_other("ui.webhooks", tenant_id=found.tenant_id)
        case "change":
            return _change(found)
        case _:
            raise Refused(422, "invalid_input", "act must be one of: enable, disable, rotate, test, delete, change", field="act")
    return see_other("ui.webhook", endpoint_id=endpoint_id)


@blueprint.get("/deliveries/<delivery_id>")
def delivery(delivery_id: str) -> Response:
    return page("delivery", delivery=own_delivery(delivery_id))


def _change(found: Endpoint) -> Response:
    try:
        body = check(EndpointChange, {"events": [], **_typed()})
        web().cell.webhooks.endpoints.update(found.endpoint_id, actor=caller().actor, **body.model_dump())
    except (Refused, PipelineJobsError) as error:
        told = answer(error)
        return _endpoint(found, told.status_code, values=request.form.to_dict(), errors=problems_at(told, _FIELDS))
    return see_other("ui.webhook", endpoint_id=found.endpoint_id)


def _typed() -> dict[str, Any]:
    """What the form has, as the API's body; all events ticked are said as none, which is every type, later ones too."""
    events = request.form.getlist("events")
    given: dict[str, Any] = {name: request.form[name].strip() for name in ("url", "description") if name in request.form}
    return given | ({"events": events} if set(events) != set(EVENTS) else {})


def _page(tenant_id: str, status: int = 200, **values: Any) -> Response:
    check_name("tenant_id", tenant_id)
    kept = web().cell.webhooks
    query = check(DeliveryListRequest, {name: value for name, value in request.args.items() if value})
    found = kept.ledger.list(tenant_id, query.status, query.cursor, query.limit)
    defaults: dict[str, Any] = {"values": {}, "errors": {}}
    return page(
        "webhooks",
        status,
        tenant_id=tenant_id,
        endpoints=kept.endpoints.list(tenant_id, None, MAX_ENDPOINTS).items,
        deliveries=found.items,
        next_cursor=seal(found.next_cursor),
        chosen=query.status,
        events=EVENTS,
        **defaults | values,
    )


def _endpoint(found: Endpoint, status: int = 200, **values: Any) -> Response:
    shown = {"url": found.url, "description": found.description}
    defaults: dict[str, Any] = {"values": shown, "errors": {}}
    deliveries, more = _newest_of(found)
    return page("webhook", status, endpoint=found, deliveries=deliveries, more=more, events=EVENTS, **defaults | values)


def _newest_of(endpoint: Endpoint) -> tuple[list[Delivery], bool]:
    """An endpoint's newest deliveries among the newest of its tenant, and whether there are older ones that were not looked at."""
    found: list[Delivery] = []
    cursor = None
    for _ in range(MOST_PAGES):
        part = web().cell.webhooks.ledger.list(endpoint.tenant_id, None, cursor, PAGE)
        found += [one for one in part.items if one.endpoint_id == endpoint.endpoint_id]
        cursor = part.next_cursor
        if cursor is None or len(found) >= SHOWN:
            break
    return found[:SHOWN], cursor is not None
