"""`/pipeline/jobs`: create, get, list and delete jobs. Each endpoint is an operation on the client or on the job's AsyncResult."""

from __future__ import annotations

from flask import Response

from pipeline_jobs.exceptions import UnknownJob
from pipeline_jobs.job import ANY_ID
from pipeline_jobs.jobs.listing import BUDGET
from pipeline_jobs.states import LIVE
from pipeline_jobs.web.access.caller import OwnHandle, caller
from pipeline_jobs.web.access.flags import require_history
from pipeline_jobs.web.api.counts import LOOKED_SECONDS
from pipeline_jobs.web.http.costing import cost
from pipeline_jobs.web.http.openapi import RATE_HEADERS, answer
from pipeline_jobs.web.http.replies import is_known, job_body, job_path, job_reply, job_reply_if_changed, page_reply, reply, row_body
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.http.submitting import submit
from pipeline_jobs.web.http.waiting import preferred_wait, wait_for_change, wait_for_end
from pipeline_jobs.web.schemas.jobs import (
    ChangeRequest,
    CreateHeaders,
    GetHeaders,
    GetRequest,
    Job,
    JobList,
    JobPath,
    JobRequest,
    ListRequest,
    Removal,
)  # fmt: skip
from pipeline_jobs.web.state import web

routes = Routes("jobs", "/pipeline/jobs", "Asynchronous jobs.")


def handle_of(job_id: str) -> OwnHandle:
    """The handle of a job of the caller's; the store is not asked yet. Another's job is an unknown one.

    :raises UnknownJob: nothing can have this id.
    """
    cell = web().cell
    return OwnHandle(cell.results(known_id(job_id)), caller())


def known_id(job_id: str) -> str:
    """:raises UnknownJob: nothing can have this id."""
    if not ANY_ID.fullmatch(job_id):
        raise UnknownJob
    return job_id


@routes.post(
    "",
    "Create a job",
    "201 means that the job is accepted and stored. It runs when a worker has a free slot.",
    {201: answer("The job.", Job, "Location", "ETag", "Retry-After", "Preference-Applied", "Idempotent-Replayed", *RATE_HEADERS)},
    errors=(409, 429),
)
def create(body: JobRequest, header: CreateHeaders) -> Response:
    here = web()
    new = caller().new_job(body.to_new_job(), body.model_fields_set)
    job, headers = submit(new, "jobs", header.idempotency_key)
    headers["Location"] = job_path(job)
    wait = preferred_wait(header.prefer, here.settings.run_timeout_seconds)
    if wait is not None:
        job, waited = wait_for_end(here.waiting, here.cell.results(job.job_id), job, wait)
        if waited:
            headers["Preference-Applied"] = f"wait={wait:g}"
    return job_reply(job, 201, headers)


@routes.get(
    "/<job_id>",
    "Get a job",
    "Poll no more often than `Retry-After` says, or let the request wait with `Prefer: wait=n`.",
    {
        200: answer("The job.", Job, "ETag", "Retry-After", "Preference-Applied"),
        304: answer("The job has not changed since the `ETag` in `If-None-Match`.", None, "ETag", "Retry-After", "Preference-Applied"),
    },
)
def get(path: JobPath, query: GetRequest, header: GetHeaders) -> Response:
    here = web()
    handle = handle_of(path.job_id)
    try:
        job = handle.record()
    except UnknownJob:
        if not query.include:
            raise
        return job_reply_if_changed(require_history().get(path.job_id, caller().whose))
    wait = preferred_wait(header.prefer, here.settings.run_timeout_seconds)
    if wait is None:
        return job_reply_if_changed(job)
    with here.waiting.place(job.tenant_id) as admitted:
        if not admitted:
            return job_reply_if_changed(job)
        if header.if_none_match is not None:
            job = wait_for_change(handle, here.cell, job, wait, is_known)
        elif not job.ended:
            job = here.waiting.until_ended(handle, wait)
    return job_reply_if_changed(job, {"Preference-Applied": f"wait={wait:g}"})


@routes.patch(
    "/<job_id>",
    "Change a queued job",
    "Changes its priority or its start time. A job that was dispatched, is running or has ended gets 409.",
    {200: answer("The job.", Job, "ETag", "Retry-After")},
    errors=(409,),
)
def change(path: JobPath, body: ChangeRequest) -> Response:
    changed = web().cell.client.change(known_id(path.job_id), caller().whose, priority=body.priority, run_at=body.run_at)
    return job_reply(changed, 200)


@routes.delete(
    "/<job_id>",
    "Cancel or delete a job",
    "A job that has not ended is cancelled, and its record is kept. A job that has ended is deleted with its files, also "
    "if only these are left.",
    {
        200: answer("The job was queued and is cancelled now, or it had ended and is deleted.", Removal),
        202: answer("The job was running and is being stopped. It will end as cancelled; until then its status is `running`.", Removal),
    },
)
def delete(path: JobPath) -> Response:
    job_id, handle = path.job_id, handle_of(path.job_id)
    try:
        done = handle.cancel()
    except UnknownJob:
        web().cell.gone_jobs.delete(job_id, caller().whose)
        return reply({"job_id": job_id, "status": "deleted"})
    if done.was in LIVE:
        return reply({"job_id": job_id, "status": "cancelled"}, 200 if done.ended else 202)
    handle.forget(done.order)
    return reply({"job_id": job_id, "status": "deleted"})


@routes.get(
    "",
    "List jobs",
    "The jobs of the key's tenant and workspace that match all filters, newest first. With one filter of a tenant all pages "
    "except the last are full. With more filters, or with a filter of a tenant but without `tenant_id`, a page looks at at most "
    f"{BUDGET:,} jobs: it may hold fewer than `limit`, or none, and still have a next page. Continue until `next_cursor` is null.",
    {200: answer("One page.", JobList)},
)
def list_(query: ListRequest) -> Response:
    asked = caller().query(query.to_query())
    page = require_history().page(asked) if "history" in query.include else web().cell.client.list(asked)
    cost(page.looked_at * LOOKED_SECONDS)
    return page_reply("jobs", page.items, job_body if "result" in query.include else row_body, next_cursor=page.next_cursor)
