"""What came of webhooks: `/pipeline/jobs/{id}/deliveries` and `/pipeline/deliveries`."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.exceptions import UnknownDelivery
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.api.jobs import handle_of
from pipeline_jobs.web.http.openapi import answer, responses
from pipeline_jobs.web.http.replies import page_reply, reply
from pipeline_jobs.web.http.validation import validated
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.jobs import JobPath
from pipeline_jobs.web.schemas.webhooks import Delivery, DeliveryList, DeliveryListRequest, DeliveryPage, DeliveryPath
from pipeline_jobs.web.state import web
from pipeline_jobs.webhooks import ledger

blueprint = APIBlueprint("deliveries", __name__, url_prefix="/pipeline", abp_tags=[{"name": "webhooks"}])
blueprint.before_request(require_queue)


def _own(delivery_id: str) -> ledger.Delivery:
    """A delivery of the caller's; another's is an unknown one.

    :raises UnknownDelivery:
    """
    found = web().parts.webhooks.ledger.get(delivery_id)
    if not caller().reaches(found.tenant_id, found.workspace_id):
        raise UnknownDelivery
    return found


@blueprint.get(
    "/jobs/<job_id>/deliveries",
    summary="See a job's webhooks",
    description="Each message that was made of its end, with every try, oldest first.",
    responses=responses({200: answer("The deliveries.", DeliveryList)}, 404, 503),
)
@validated
def of_job(path: JobPath) -> Response:
    handle_of(path.job_id).record()
    who = caller()
    found = (one for one in web().parts.webhooks.ledger.of_subject(path.job_id) if who.reaches(one.tenant_id, one.workspace_id))
    return page_reply("deliveries", found, ledger.Delivery.to_dict)


@blueprint.get(
    "/deliveries",
    summary="List deliveries",
    description="Of a tenant, newest first; also of jobs whose records are gone. Kept for PIPELINE_WEBHOOK_LEDGER_SECONDS after their end.",
    responses=responses({200: answer("One page.", DeliveryPage)}, 400, 404, 422, 503),
)
@validated
def list_(query: DeliveryListRequest) -> Response:
    who = caller()
    if who.workspace_id is not None:
        raise Refused(403, "forbidden", "this needs a key of the whole tenant; yours is of one workspace")
    tenant_id = who.tenant(query.tenant_id)
    if tenant_id is None:
        raise Refused(422, "invalid_input", "tenant_id: required with a key of all tenants", field="tenant_id")
    page = web().parts.webhooks.ledger.list(tenant_id, query.status, query.cursor, query.limit)
    return page_reply("deliveries", page.items, ledger.Delivery.to_dict, next_cursor=page.next_cursor)


@blueprint.get(
    "/deliveries/<delivery_id>",
    summary="See a delivery",
    description="With every try.",
    responses=responses({200: answer("The delivery.", Delivery)}, 404, 503),
)
@validated
def get(path: DeliveryPath) -> Response:
    return reply(_own(path.delivery_id).to_dict())


@blueprint.post(
    "/deliveries/<delivery_id>/redeliver",
    summary="Send a webhook again",
    description="At once, with the same `webhook-id`: one that has ended gets all its tries anew, one that waits need not wait any longer. "
    "One that is being sent just now is left alone.",
    responses=responses({202: answer("The delivery.", Delivery)}, 404, 503),
)
@validated
def redeliver(path: DeliveryPath) -> Response:
    return reply(web().parts.webhooks.ledger.redeliver(_own(path.delivery_id).delivery_id).to_dict(), 202)
