"""`/pipeline/jobs`: make, see, list and remove jobs. Each endpoint is an operation on the client or on the job's AsyncResult."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.exceptions import UnknownJob
from pipeline_jobs.job import ANY_ID
from pipeline_jobs.jobs.listing import BUDGET
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.access.caller import OwnHandle, caller
from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.http.openapi import RATE_HEADERS, answer, responses
from pipeline_jobs.web.http.replies import is_known, job_body, job_path, job_reply, job_reply_if_changed, page_reply, reply
from pipeline_jobs.web.http.submitting import submit
from pipeline_jobs.web.http.validation import validated
from pipeline_jobs.web.http.waiting import preferred_wait, wait_for_change, wait_for_end
from pipeline_jobs.web.ports import JobHandle
from pipeline_jobs.web.schemas.jobs import ChangeRequest, CreateHeaders, GetHeaders, Job, JobList, JobPath, JobRequest, ListRequest, Removal
from pipeline_jobs.web.state import web

blueprint = APIBlueprint("jobs", __name__, url_prefix="/pipeline/jobs", abp_tags=[{"name": "jobs", "description": "Asynchronous jobs."}])
blueprint.before_request(require_queue)


def handle_of(job_id: str) -> JobHandle:
    """The handle of a job of the caller's; the store is not asked yet. Another's job is an unknown one.

    :raises UnknownJob: nothing can have this id.
    """
    if not ANY_ID.fullmatch(job_id):
        raise UnknownJob
    return OwnHandle(web().parts.results(job_id), caller())


@blueprint.post(
    "",
    summary="Make a job",
    description="The job is accepted, durably, when this answers 201. It runs when a worker has a free slot.",
    responses=responses(
        {201: answer("The job.", Job, "Location", "ETag", "Retry-After", "Preference-Applied", "Idempotent-Replayed", *RATE_HEADERS)},
        400,
        404,
        409,
        413,
        415,
        422,
        429,
        503,
    ),
)
@validated
def create(body: JobRequest, header: CreateHeaders) -> Response:
    here = web()
    new = caller().new_job(body.to_new_job(), body.model_fields_set)
    job, headers = submit(new, "jobs", header.idempotency_key)
    headers["Location"] = job_path(job)
    wait = preferred_wait(header.prefer, here.settings.run_timeout_seconds)
    if wait is not None:
        job, waited = wait_for_end(here.waiting, here.parts.results(job.job_id), job, wait)
        if waited:
            headers["Preference-Applied"] = f"wait={wait:g}"
    return job_reply(job, 201, headers)


@blueprint.get(
    "/<job_id>",
    summary="See a job",
    description="Poll no faster than `Retry-After` says, or let the request wait with `Prefer: wait=n`.",
    responses=responses(
        {
            200: answer("The job.", Job, "ETag", "Retry-After", "Preference-Applied"),
            304: answer("It is as it was at the `ETag` in `If-None-Match`.", None, "ETag", "Retry-After", "Preference-Applied"),
        },
        404, 503,
    ),
)  # fmt: skip
@validated
def get(path: JobPath, header: GetHeaders) -> Response:
    here = web()
    handle = handle_of(path.job_id)
    job = handle.record()
    wait = preferred_wait(header.prefer, here.settings.run_timeout_seconds)
    if wait is None:
        return job_reply_if_changed(job)
    with here.waiting.place() as admitted:
        if not admitted:
            return job_reply_if_changed(job)
        if header.if_none_match is not None:
            job = wait_for_change(handle, here.parts.events, job, wait, is_known)
        elif not job.ended:
            job = handle.until_ended(wait)
    return job_reply_if_changed(job, {"Preference-Applied": f"wait={wait:g}"})


@blueprint.patch(
    "/<job_id>",
    summary="Change a waiting job",
    description="Its priority or its earliest start. A job that was dispatched, runs or has ended is answered 409.",
    responses=responses({200: answer("The job.", Job, "ETag", "Retry-After")}, 400, 404, 409, 413, 415, 422, 503),
)
@validated
def change(path: JobPath, body: ChangeRequest) -> Response:
    handle_of(path.job_id).record()
    return job_reply(web().parts.client.change(path.job_id, priority=body.priority, run_at=body.run_at), 200)


@blueprint.delete(
    "/<job_id>",
    summary="Cancel or remove a job",
    description="A job that has not ended is cancelled and keeps its record; one that has ended is removed with its artifacts.",
    responses=responses(
        {
            200: answer("It was waiting and is cancelled now, or it had ended and is removed.", Removal),
            202: answer("It was running and is being stopped. It will end as cancelled; until then its status is `running`.", Removal),
        },
        404, 503,
    ),
)  # fmt: skip
@validated
def delete(path: JobPath) -> Response:
    handle = handle_of(path.job_id)
    job = handle.record()
    if not job.ended:
        # It may end by itself between the two calls: then revoke gives the ended record and there is nothing to cancel.
        job = handle.revoke()
        if job.status is JobStatus.CANCELLED:
            return reply({"job_id": job.job_id, "status": "cancelled"})
        if not job.ended:
            return reply({"job_id": job.job_id, "status": "cancelled"}, 202)
    handle.forget()
    return reply({"job_id": job.job_id, "status": "deleted"})


@blueprint.get(
    "",
    summary="List jobs",
    description="Newest first, of the key's tenant and workspace: the jobs that meet all filters, in any mix. By one filter of a tenant "
    "all pages but the last are full. Where filters are mixed, or one of a tenant's is asked for without `tenant_id`, a page looks at "
    f"{BUDGET:,} jobs at most: it may hold fewer than `limit`, even none, and still have a next one. Go on until `next_cursor` is null.",
    responses=responses({200: answer("One page.", JobList)}, 400, 404, 422, 503),
)
@validated
def list_(query: ListRequest) -> Response:
    page = web().parts.client.list(caller().query(query.to_query()))
    return page_reply("jobs", page.items, job_body, next_cursor=page.next_cursor)
