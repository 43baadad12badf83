"""Webhook deliveries: `/pipeline/jobs/{id}/deliveries` and `/pipeline/deliveries`."""

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
    found = web().cell.webhooks.ledger.get(delivery_id)
    if not caller().reaches(found.tenant_id, found.workspace_id):
        raise UnknownDelivery
    return found


@blueprint.get(
    "/jobs/<job_id>/deliveries",
    summary="List a job's webhook deliveries",
    description="Every message about the end of the job, with every attempt, oldest first.",
    responses=responses({200: answer("The deliveries.", DeliveryList)}, 404, 503),
)
@validated
def of_job(path: JobPath) -> Response:
    handle_of(path.job_id).record()
    who = caller()
    found = (one for one in web().cell.webhooks.ledger.of_subject(path.job_id) if who.reaches(one.tenant_id, one.workspace_id))
    return page_reply("deliveries", found, ledger.Delivery.to_dict)


@blueprint.get(
    "/deliveries",
    summary="List deliveries",
    description="The deliveries of a tenant, newest first, including those of deleted jobs. They are kept for "
    "PIPELINE_WEBHOOK_LEDGER_SECONDS after their end.",
    responses=responses({200: answer("One page.", DeliveryPage)}, 400, 404, 422, 503),
)
@validated
def list_(query: DeliveryListRequest) -> Response:
    who = caller()
    if who.workspace_id is not None:
        raise Refused(403, "forbidden", "this requires a key for the whole tenant; yours is for one workspace")
    tenant_id = who.tenant(query.tenant_id)
    if tenant_id is None:
        raise Refused(422, "invalid_input", "tenant_id: required with a key for all tenants", field="tenant_id")
    page = web().cell.webhooks.ledger.list(tenant_id, query.status, query.cursor, query.limit)
    return page_reply("deliveries", page.items, ledger.Delivery.to_dict, next_cursor=page.next_cursor)


@blueprint.get(
    "/deliveries/<delivery_id>",
    summary="Get a delivery",
    description="With every attempt.",
    responses=responses({200: answer("The delivery.", Delivery)}, 404, 503),
)
@validated
def get(path: DeliveryPath) -> Response:
    return reply(_own(path.delivery_id).to_dict())


@blueprint.post(
    "/deliveries/<delivery_id>/redeliver",
    summary="Send a webhook again",
    description="Sends it immediately, with the same `webhook-id`. A delivery that has ended gets a new series of retries; one that "
    "waits for its next attempt is sent now. A delivery that is being sent at the moment does not change.",
    responses=responses({202: answer("The delivery.", Delivery)}, 404, 503),
)
@validated
def redeliver(path: DeliveryPath) -> Response:
    return reply(web().cell.webhooks.ledger.redeliver(_own(path.delivery_id).delivery_id).to_dict(), 202)
