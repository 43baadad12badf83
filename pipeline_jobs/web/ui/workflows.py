"""A workflow: its graph, live, and its actions."""

from __future__ import annotations

from flask import Response, url_for

from pipeline_jobs.jobs.graph import svg
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api.batches import MADE_SECONDS, cancelled_whole
from pipeline_jobs.web.api.workflows import own_workflow, whole
from pipeline_jobs.web.http.costing import cost
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, page, see_other
from pipeline_jobs.web.ui.forms import form_token, sent_token

#: Of a larger workflow the picture is shown, and no table beside it.
MOST_ROWS = 100


@blueprint.get("/workflows/<workflow_id>")
def workflow(workflow_id: str) -> Response:
    found = whole(workflow_id)
    return page(
        "workflow",
        batch=found.batch,
        nodes=found.nodes if len(found.nodes) <= MOST_ROWS else (),
        picture=svg(found.drawn(), lambda node: url_for("ui.job", job_id=node.job_id)),
        token=form_token(),
    )


@blueprint.post("/workflows/<workflow_id>/cancel")
def cancel_workflow(workflow_id: str) -> Response:
    cancelled_whole(own_workflow(workflow_id), web().cell.workflows.cancel)
    return see_other("ui.workflow", workflow_id=workflow_id)


@blueprint.post("/workflows/<workflow_id>/retry")
def retry_workflow(workflow_id: str) -> Response:
    who = caller()
    made = web().cell.workflows.retry(
        own_workflow(workflow_id).batch_id,
        idempotency_key=sent_token(),
        sender=who.sender("workflow retry"),
        within=who.workspace_id,
    )
    cost(made.batch.total * MADE_SECONDS)
    return see_other("ui.workflow", workflow_id=made.batch.batch_id)
