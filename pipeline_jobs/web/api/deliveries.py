"""Webhook deliveries: `/pipeline/jobs/{id}/deliveries` and `/pipeline/deliveries`."""

from __future__ import annotations

from flask import Response

from pipeline_jobs.exceptions import UnknownDelivery
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api.jobs import handle_of
from pipeline_jobs.web.http.openapi import answer
from pipeline_jobs.web.http.replies import page_reply, reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.jobs import JobPath
from pipeline_jobs.web.schemas.webhooks import Delivery, DeliveryList, DeliveryListRequest, DeliveryPage, DeliveryPath
from pipeline_jobs.web.state import web
from pipeline_jobs.webhooks import ledger

routes = Routes("deliveries", "/pipeline", tag="webhooks")


def own_delivery(delivery_id: str) -> ledger.Delivery:
    """A delivery of the caller's; another's is an unknown one.

    :raises UnknownDelivery:
    """
    caller().look(web().cell.store, "delivery", delivery_id, UnknownDelivery)
    return caller().own(web().cell.webhooks.ledger.get(delivery_id), UnknownDelivery)


@routes.get(
    "/jobs/<job_id>/deliveries",
    "List a job's webhook deliveries",
    "Every message about the end of the job, with every attempt, oldest first.",
    {200: answer("The deliveries.", DeliveryList)},
)
def of_job(path: JobPath) -> Response:
    handle_of(path.job_id).record()
    who = caller()
    found = (one for one in web().cell.webhooks.ledger.of_subject(path.job_id) if who.reaches(one.tenant_id, one.workspace_id))
    return page_reply("deliveries", found, ledger.Delivery.to_dict)


@routes.get(
    "/deliveries",
    "List deliveries",
    "The deliveries of a tenant, newest first, including those of deleted jobs. They are kept for "
    "PIPELINE_WEBHOOK_LEDGER_SECONDS after their end.",
    {200: answer("One page.", DeliveryPage)},
)
def list_(query: DeliveryListRequest) -> Response:
    who = caller()
    if who.workspace_id is not None:
        raise Refused(403, "forbidden", "this requires a key for the whole tenant; yours is for one workspace")
    page = web().cell.webhooks.ledger.list(who.one_tenant(query.tenant_id), query.status, query.cursor, query.limit)
    return page_reply("deliveries", page.items, ledger.Delivery.to_dict, next_cursor=page.next_cursor)


@routes.get("/deliveries/<delivery_id>", "Get a delivery", "With every attempt.", {200: answer("The delivery.", Delivery)})
def get(path: DeliveryPath) -> Response:
    return reply(own_delivery(path.delivery_id).to_dict())


@routes.post(
    "/deliveries/<delivery_id>/redeliver",
    "Send a webhook again",
    "Sends it immediately, with the same `webhook-id`. A delivery that has ended gets a new series of retries; one that "
    "waits for its next attempt is sent now. A delivery that is being sent at the moment does not change.",
    {202: answer("The delivery.", Delivery)},
)
def redeliver(path: DeliveryPath) -> Response:
    return reply(web().cell.webhooks.ledger.redeliver(own_delivery(path.delivery_id).delivery_id).to_dict(), 202)
