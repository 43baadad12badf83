"""`/pipeline/batches`: jobs created together, and `/pipeline/jobs/cancel`: cancel by the filters of a list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from flask import Response, request

from pipeline_jobs.exceptions import UnknownBatch
from pipeline_jobs.jobs.batches import Batch, BatchQuery, Made, NewBatch
from pipeline_jobs.jobs.bulk import Cancelled
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.cancels import note_cancel
from pipeline_jobs.web.api.counts import LOOKED_SECONDS, count_live
from pipeline_jobs.web.http.costing import cost
from pipeline_jobs.web.http.openapi import RATE_HEADERS, answer
from pipeline_jobs.web.http.rate_headers import rate_headers
from pipeline_jobs.web.http.replies import page_reply, reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.http.sealing import seal
from pipeline_jobs.web.http.submitting import REPLAYED, check_key
from pipeline_jobs.web.schemas import batches as bodies
from pipeline_jobs.web.schemas.batches import BatchListRequest, BatchPath, BatchRequest, BulkCancelRequest
from pipeline_jobs.web.schemas.fields import IdempotencyHeaders
from pipeline_jobs.web.state import web

_BATCHES = "/pipeline/batches"

#: What a job of a batch costs the store as it is made and as it is cancelled, and what a byte of its body costs, in seconds: of its
#: processor (measured: 38-44 us, 120-160 us, 5 ns), and of its disk, for which it waits before it answers anybody (10 ns at 100 MB/s).
MADE_SECONDS, CANCELLED_SECONDS, BYTE_SECONDS = 45e-6, 150e-6, 15e-9

routes = Routes("batches", "/pipeline", "Jobs that are created and managed together.")


def own_batch(batch_id: str) -> Batch:
    """:raises UnknownBatch: there is none, or it is another's."""
    return caller().own(web().cell.batches.get(batch_id), UnknownBatch)


def _body(batch: Batch) -> dict[str, Any]:
    return batch.to_body(web().settings.public_url)


def _done(done: Cancelled, *, dry_run: bool = False) -> dict[str, Any]:
    told = asdict(done)
    del told["looked_at"]
    return {"dry_run": dry_run, **told, "next_cursor": seal(done.next_cursor)}


def make_batch(body: BatchRequest, key: str | None, route: str) -> Made:
    """What one request makes for its caller, whose time it costs. :param route: within which the key is one of a kind."""
    who = caller()
    tenant_id, workspace_id = who.place(body.tenant_id, body.workspace_id, body.model_fields_set)
    made = web().cell.batches.create(
        NewBatch(body.to_new_jobs(), tenant_id, workspace_id, body.metadata, depends_within=who.workspace_id),
        partial=body.partial,
        idempotency_key=check_key(key),
        sender=who.sender(route),
    )
    if not made.replayed:
        cost(made.batch.total * MADE_SECONDS + (request.content_length or 0) * BYTE_SECONDS)
    return made


def cancelled_whole(batch: Batch, cancel: Callable[[str], Cancelled]) -> Cancelled:
    """Cancel a batch or a workflow for the caller, whose time it costs and who is written down."""
    done = cancel(batch.batch_id)
    cost(done.matched * CANCELLED_SECONDS)
    if done.matched:
        note_cancel(web().cell.store, caller().actor, batch.batch_id, batch.tenant_id, done.matched)
    return done


@routes.post(
    "/batches",
    "Create a batch",
    "Creates up to 1,000 jobs in one request: all of them are accepted and stored, or none (see `partial`). Limits count each job.",
    {201: answer("The batch.", bodies.NewBatch, "Location", REPLAYED, *RATE_HEADERS)},
    errors=(429,),
)
def create(body: BatchRequest, header: IdempotencyHeaders) -> Response:
    made = make_batch(body, header.idempotency_key, "batches")
    headers = {"Location": f"{_BATCHES}/{made.batch.batch_id}", **({REPLAYED: "true"} if made.replayed else rate_headers(made.rates))}
    return reply({**_body(made.batch), "job_ids": list(made.job_ids), "errors": list(made.errors)}, 201, headers)


@routes.get(
    "/batches",
    "List batches",
    "Newest first, for the key's tenant and workspace. A batch is kept as long as one of its jobs.",
    {200: answer("One page.", bodies.BatchList)},
)
def list_(query: BatchListRequest) -> Response:
    tenant_id, workspace_id = caller().narrowed(query.tenant_id, query.workspace_id)
    page = web().cell.batches.list(BatchQuery(tenant_id, workspace_id, query.limit, query.cursor))
    return page_reply("batches", page.items, _body, next_cursor=page.next_cursor)


@routes.get(
    "/batches/<batch_id>",
    "Get a batch",
    "`GET /pipeline/jobs?batch_id=` lists its jobs; it takes `status` too.",
    {200: answer("The batch.", bodies.Batch)},
)
def get(path: BatchPath) -> Response:
    return reply(_body(own_batch(path.batch_id)))


@routes.post(
    "/batches/<batch_id>/cancel",
    "Cancel a batch",
    "Cancels all of its jobs that have not ended. Can be repeated.",
    {
        200: answer("None of its jobs is running; the queued ones are cancelled.", bodies.BulkCancel),
        202: answer("Some jobs are running and are being stopped.", bodies.BulkCancel),
    },
)
def cancel(path: BatchPath) -> Response:
    batch = own_batch(path.batch_id)
    done = cancelled_whole(batch, web().cell.batches.cancel)
    return reply(_done(done), 202 if done.stopping else 200)


@routes.post(
    "/jobs/cancel",
    "Cancel jobs by filter",
    "Cancels the queued and running jobs that match the filters of `GET /pipeline/jobs` (at least one filter is required), "
    "newest first. A request looks at about 10,000 jobs; `next_cursor` says where to continue. Start with `dry_run`.",
    {200: answer("What was done, or would be done.", bodies.BulkCancel)},
)
def cancel_jobs(body: BulkCancelRequest) -> Response:
    who = caller()
    query = who.query(body.to_query())
    if body.dry_run:
        return reply(_done(count_live(query), dry_run=True))
    done = web().cell.batches.cancel_matching(query, dry_run=False, operator=who.sees_all, actor=who.actor)
    cost(done.matched * CANCELLED_SECONDS + done.looked_at * LOOKED_SECONDS)
    return reply(_done(done))
