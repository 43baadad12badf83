"""`/pipeline/batches`: many jobs as one, and `/pipeline/jobs/cancel`: cancel by the filters of a list."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.exceptions import UnknownBatch
from pipeline_jobs.jobs.batches import Batch, BatchQuery, NewBatch
from pipeline_jobs.jobs.bulk import Cancelled
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.http.openapi import RATE_HEADERS, answer, responses
from pipeline_jobs.web.http.rate_headers import rate_headers
from pipeline_jobs.web.http.replies import page_reply, reply
from pipeline_jobs.web.http.submitting import REPLAYED, check_key
from pipeline_jobs.web.http.validation import validated
from pipeline_jobs.web.schemas import batches as bodies
from pipeline_jobs.web.schemas.batches import BatchListRequest, BatchPath, BatchRequest, BulkCancelRequest
from pipeline_jobs.web.schemas.fields import IdempotencyHeaders
from pipeline_jobs.web.state import web

_BATCHES = "/pipeline/batches"

blueprint = APIBlueprint("batches", __name__, url_prefix="/pipeline", abp_tags=[{"name": "batches", "description": "Many jobs as one."}])
blueprint.before_request(require_queue)


def _own(batch_id: str) -> Batch:
    """:raises UnknownBatch: there is none, or it is another's."""
    batch = web().parts.batches.get(batch_id)
    if not caller().sees(batch):
        raise UnknownBatch
    return batch


def _body(batch: Batch) -> dict[str, Any]:
    return batch.to_body(web().settings.public_url)


def _done(done: Cancelled, *, dry_run: bool = False) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "matched": done.matched,
        "cancelled": done.cancelled,
        "stopping": done.stopping,
        "next_cursor": done.next_cursor,
    }


@blueprint.post(
    "/batches",
    summary="Make a batch",
    description="Up to 1,000 jobs in one call: all of them are accepted, durably, or none (see `partial`). Limits count each job.",
    responses=responses(
        {201: answer("The batch.", bodies.NewBatch, "Location", REPLAYED, *RATE_HEADERS)},
        400, 404, 413, 415, 422, 429, 503,
    ),
)  # fmt: skip
@validated
def create(body: BatchRequest, header: IdempotencyHeaders) -> Response:
    here, who = web(), caller()
    tenant_id, workspace_id = who.place(body.tenant_id, body.workspace_id, body.model_fields_set)
    made = here.parts.batches.create(
        NewBatch(body.to_new_jobs(), tenant_id, workspace_id, body.metadata, depends_within=who.workspace_id),
        partial=body.partial,
        idempotency_key=check_key(header.idempotency_key),
        sender=who.sender("batches"),
    )
    headers = {"Location": f"{_BATCHES}/{made.batch.batch_id}", **({REPLAYED: "true"} if made.replayed else rate_headers(made.rates))}
    return reply({**_body(made.batch), "job_ids": list(made.job_ids), "errors": list(made.errors)}, 201, headers)


@blueprint.get(
    "/batches",
    summary="List batches",
    description="Newest first, of the key's tenant and workspace. A batch is there as long as one of its jobs is.",
    responses=responses({200: answer("One page.", bodies.BatchList)}, 400, 404, 422, 503),
)
@validated
def list_(query: BatchListRequest) -> Response:
    tenant_id, workspace_id = caller().narrowed(query.tenant_id, query.workspace_id)
    page = web().parts.batches.list(BatchQuery(tenant_id, workspace_id, query.limit, query.cursor))
    return page_reply("batches", page.items, _body, next_cursor=page.next_cursor)


@blueprint.get(
    "/batches/<batch_id>",
    summary="See a batch",
    description="Its jobs are listed by `GET /pipeline/jobs?batch_id=`, which takes `status` too.",
    responses=responses({200: answer("The batch.", bodies.Batch)}, 404, 503),
)
@validated
def get(path: BatchPath) -> Response:
    return reply(_body(_own(path.batch_id)))


@blueprint.post(
    "/batches/<batch_id>/cancel",
    summary="Cancel a batch",
    description="All of its jobs that have not ended. Safe to repeat.",
    responses=responses(
        {
            200: answer("None of its jobs runs: those that waited are cancelled now.", bodies.BulkCancel),
            202: answer("Some run and are being stopped.", bodies.BulkCancel),
        },
        404, 503,
    ),
)  # fmt: skip
@validated
def cancel(path: BatchPath) -> Response:
    batch = _own(path.batch_id)
    done = web().parts.batches.cancel(batch.batch_id)
    return reply(_done(done), 202 if done.stopping else 200)


@blueprint.post(
    "/jobs/cancel",
    summary="Cancel jobs by filter",
    description="The live jobs that match, newest first, with the filters of `GET /pipeline/jobs` (at least one). A request looks at about "
    "10,000 jobs; `next_cursor` says where to go on. Start with `dry_run`.",
    responses=responses({200: answer("What was done, or would be.", bodies.BulkCancel)}, 400, 404, 413, 415, 422, 503),
)
@validated
def cancel_jobs(body: BulkCancelRequest) -> Response:
    here, who = web(), caller()
    query = who.query(body.to_query())
    done = here.parts.batches.cancel_matching(query, dry_run=body.dry_run)
    if not body.dry_run and done.matched:
        filters = body.model_dump(mode="json", exclude_unset=True, exclude={"dry_run", "cursor"})
        here.parts.audit.record(who.actor, "jobs.cancelled", query.tenant_id or "*", {"matched": done.matched, **filters})
    return reply(_done(done, dry_run=body.dry_run))
