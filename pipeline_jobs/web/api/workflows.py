"""`/pipeline/workflows`: batches whose jobs have names and may depend on each other."""

from __future__ import annotations

from flask import Response, request

from pipeline_jobs.events import log
from pipeline_jobs.events.tokens import feed_scope
from pipeline_jobs.exceptions import UnknownBatch
from pipeline_jobs.jobs.batches import MAX_JOBS, Batch, BatchQuery, Made
from pipeline_jobs.jobs.bulk_ended import MOST
from pipeline_jobs.jobs.graph import mermaid as as_mermaid
from pipeline_jobs.jobs.graph import svg as as_svg
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.jobs.workflows import NewWorkflow, Workflow, body_of
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.flags import require_history
from pipeline_jobs.web.api.batches import BYTE_SECONDS, CANCELLED_SECONDS, MADE_SECONDS, cancelled_whole
from pipeline_jobs.web.api.events import SSE, event_page, last_place, stream
from pipeline_jobs.web.http.costing import cost
from pipeline_jobs.web.http.openapi import RATE_HEADERS, answer, file_answer, stream_answer
from pipeline_jobs.web.http.rate_headers import rate_headers
from pipeline_jobs.web.http.replies import page_reply, prefers, reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.http.streams import EventStream, reader_gone, still_allowed
from pipeline_jobs.web.http.submitting import REPLAYED, check_key
from pipeline_jobs.web.schemas import events as event_bodies
from pipeline_jobs.web.schemas import workflows as bodies
from pipeline_jobs.web.schemas.events import EventHeaders
from pipeline_jobs.web.schemas.fields import IdempotencyHeaders
from pipeline_jobs.web.schemas.jobs import GetRequest
from pipeline_jobs.web.schemas.workflows import WorkflowEventsRequest, WorkflowListRequest, WorkflowPath, WorkflowRequest
from pipeline_jobs.web.state import web

_WORKFLOWS = "/pipeline/workflows"
#: What it costs the store to show a job of a workflow, in seconds of its processor.
SHOWN_SECONDS = 5e-6

routes = Routes("workflows", "/pipeline", "Graphs of jobs, created in one request: batches whose jobs depend on each other by name.")


def own_workflow(workflow_id: str) -> Batch:
    """:raises UnknownBatch: there is none, or it is another's, or no workflow."""
    who, cell = caller(), web().cell
    who.look(cell.store, "batch", workflow_id, UnknownBatch)
    return who.own(cell.workflows.record(workflow_id), UnknownBatch)


def whole(workflow_id: str) -> Workflow:
    """It with its jobs. :raises UnknownBatch: likewise."""
    own_workflow(workflow_id)
    found = web().cell.workflows.get(workflow_id)
    cost(len(found.nodes) * SHOWN_SECONDS)
    return found


def _made(made: Made, names: list[str], path: str) -> Response:
    if not made.replayed:
        cost(made.batch.total * MADE_SECONDS + (request.content_length or 0) * BYTE_SECONDS)
    headers = {"Location": path, **({REPLAYED: "true"} if made.replayed else rate_headers(made.rates))}
    # A job of a workflow that is replayed may have been removed since.
    ids = {name: job_id for name, job_id in zip(names, made.job_ids, strict=True) if job_id is not None}
    return reply({**body_of(made.batch, web().settings.public_url), "job_ids": ids}, 201, headers)


@routes.post(
    "/workflows",
    "Create a workflow",
    "Creates a graph of up to 1,000 jobs in one request: all of them are accepted and stored, or none. A job starts when those that it "
    "names in `depends_on` have ended, and a stage of it can read what they gave. A circle is refused, and named. Limits count each job.",
    {201: answer("The workflow.", bodies.NewWorkflow, "Location", REPLAYED, *RATE_HEADERS)},
    errors=(429,),
)
def create(body: WorkflowRequest, header: IdempotencyHeaders) -> Response:
    here, who = web(), caller()
    tenant_id, workspace_id = who.place(body.tenant_id, body.workspace_id, body.model_fields_set)
    nodes = body.to_nodes()
    made = here.cell.workflows.create(
        NewWorkflow(nodes, tenant_id, workspace_id, body.metadata),
        idempotency_key=check_key(header.idempotency_key),
        sender=who.sender("workflows"),
    )
    return _made(made, [node.name for node in nodes], f"{_WORKFLOWS}/{made.batch.batch_id}")


@routes.get(
    "/workflows",
    "List workflows",
    "Newest first, without their jobs, for the key's tenant and workspace. A workflow is kept as long as one of its jobs.",
    {200: answer("One page.", bodies.WorkflowList)},
)
def list_(query: WorkflowListRequest) -> Response:
    tenant_id, workspace_id = caller().narrowed(query.tenant_id, query.workspace_id)
    page = web().cell.workflows.list(BatchQuery(tenant_id, workspace_id, query.limit, query.cursor))
    return page_reply("workflows", page.items, lambda one: body_of(one, web().settings.public_url), next_cursor=page.next_cursor)


@routes.get(
    "/workflows/<workflow_id>",
    "Get a workflow",
    "With its jobs in short. The ended jobs of a workflow are kept at least until the whole of it has ended.",
    {200: answer("The workflow.", bodies.Workflow)},
)
def get(path: WorkflowPath, query: GetRequest) -> Response:
    try:
        found = whole(path.workflow_id)
    except UnknownBatch:
        if not query.include:
            raise
        asked = caller().query(JobQuery(batch_id=path.workflow_id, limit=MAX_JOBS))
        found = Workflow.of_jobs(require_history().page(asked).items)
    return reply(found.to_body(web().settings.public_url))


@routes.get(
    "/workflows/<workflow_id>.mmd",
    "Get the graph of a workflow as Mermaid text",
    "A flowchart; the class of each job is its status.",
    {200: file_answer("The text.", media_type="text/plain", binary=False)},
)
def mermaid(path: WorkflowPath) -> Response:
    return Response(as_mermaid(whole(path.workflow_id).drawn()), content_type="text/plain; charset=utf-8")


@routes.get(
    "/workflows/<workflow_id>.svg",
    "Get the graph of a workflow as a picture",
    "An SVG file; each job leads to its address.",
    {200: file_answer("The picture.", media_type="image/svg+xml", binary=False)},
)
def svg(path: WorkflowPath) -> Response:
    root = web().settings.public_url
    picture = as_svg(whole(path.workflow_id).drawn(), lambda node: f"{root}/pipeline/jobs/{node.job_id}")
    return Response(picture, content_type="image/svg+xml; charset=utf-8")


@routes.get(
    "/workflows/<workflow_id>/events",
    "Follow a workflow",
    "The events of all of its jobs and the `batch.completed` at its end, in the order in which they happened: the tenant's feed without "
    "what is not of this workflow, with the feed's ids. A stream begins with the first event that is kept, and ends with the workflow; a "
    "browser that reconnects then gets 204, which stops it. It opens with a token for the tenant's feed, too.",
    {200: stream_answer("The events.", event_bodies.WorkflowPage), 204: answer("For a stream: the workflow has ended.", None)},
)
def events(path: WorkflowPath, query: WorkflowEventsRequest, header: EventHeaders) -> Response:
    here, batch = web(), own_workflow(path.workflow_id)
    if not caller().opens(feed_scope(batch.tenant_id)):
        raise UnknownBatch
    # Every event of it has a later place than this one.
    start = f"{batch.created_at - 1}-0"
    if not prefers(SSE):
        page = log.feed(here.cell.store, batch.tenant_id, query.after or start, query.limit, batch_id=batch.batch_id)
        return event_page(page.events, page.after, page.more, complete=page.ended and not page.more)
    after = last_place(header.last_event_id) or query.after or start
    if batch.completed_at is not None:
        page = log.feed(here.cell.store, batch.tenant_id, after, log.MAX_PAGE, batch_id=batch.batch_id)
        if not page.events and not page.more:
            return Response(status=204)
    place = here.streams.take(batch.tenant_id)
    follower = here.cell.events.follow_batch(batch.batch_id, batch.tenant_id, after, reader_gone(request.environ))
    return stream(EventStream(follower, place, still_allowed(), first_id=after))


@routes.post(
    "/workflows/<workflow_id>/cancel",
    "Cancel a workflow",
    "Cancels all of its jobs that have not ended, each before those that it depends on. Can be repeated.",
    {
        200: answer("None of its jobs is running; the queued ones are cancelled.", bodies.WorkflowRemoval),
        202: answer("Some jobs are running and are being stopped.", bodies.WorkflowRemoval),
    },
    errors=(429,),
)
def cancel(path: WorkflowPath) -> Response:
    return _cancelled(own_workflow(path.workflow_id))


def _cancelled(batch: Batch) -> Response:
    done = cancelled_whole(batch, web().cell.workflows.cancel)
    return reply({"batch_id": batch.batch_id, "status": "cancelled", "jobs": done.matched, "more": False}, 202 if done.stopping else 200)


@routes.post(
    "/workflows/<workflow_id>/retry",
    "Retry a workflow",
    "Creates a new workflow with the jobs that failed or were cancelled and all jobs behind them. `retry_of` names the old one, which does "
    "not change; its jobs that completed are not run again: the new ones depend on them and read their results.",
    {201: answer("The new workflow.", bodies.NewWorkflow, "Location", REPLAYED, *RATE_HEADERS)},
    errors=(409, 422, 429),
)
def retry(path: WorkflowPath, header: IdempotencyHeaders) -> Response:
    who, cell = caller(), web().cell
    batch = own_workflow(path.workflow_id)
    made = cell.workflows.retry(
        batch.batch_id, idempotency_key=check_key(header.idempotency_key), sender=who.sender("workflow retry"), within=who.workspace_id
    )
    by_id = {node.job.job_id: node.name for node in cell.workflows.get(made.batch.batch_id).nodes}
    names = [by_id.get(job_id or "", "") for job_id in made.job_ids]
    return _made(made, names, f"{_WORKFLOWS}/{made.batch.batch_id}")


@routes.delete(
    "/workflows/<workflow_id>",
    "Cancel or delete a workflow",
    "A workflow that has not ended is cancelled, and stays. Of one that has ended the jobs are deleted, with their results and files, up "
    "to 100 in a request, from the history too, also if only that has them; it is gone with the last of them.",
    {
        200: answer("It is cancelled, or its jobs are deleted.", bodies.WorkflowRemoval),
        202: answer("Some jobs are running and are being stopped.", bodies.WorkflowRemoval),
    },
    errors=(429,),
)
def delete(path: WorkflowPath) -> Response:
    try:
        batch = own_workflow(path.workflow_id)
    except UnknownBatch:
        who = caller()
        jobs, more = web().cell.gone_jobs.delete_workflow(path.workflow_id, who.whose, MOST, actor=who.actor)
        if not jobs:
            raise
        cost(jobs * (CANCELLED_SECONDS + MADE_SECONDS))
        return _deleted(path.workflow_id, jobs, more)
    if batch.completed_at is None:
        return _cancelled(batch)
    done = web().cell.workflows.delete(batch.batch_id, actor=caller().actor)
    cost(done.matched * (CANCELLED_SECONDS + MADE_SECONDS))
    return _deleted(batch.batch_id, done.done, done.next_cursor is not None)


def _deleted(workflow_id: str, jobs: int, more: bool) -> Response:
    return reply({"batch_id": workflow_id, "status": "deleted", "jobs": jobs, "more": more})
