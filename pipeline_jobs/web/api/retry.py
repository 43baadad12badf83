"""`POST /pipeline/jobs/{id}/retry`: run an ended job again, from where it failed."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.api.jobs import handle_of
from pipeline_jobs.web.http import submitting
from pipeline_jobs.web.http.openapi import RATE_HEADERS, answer, responses
from pipeline_jobs.web.http.replies import job_path, job_reply
from pipeline_jobs.web.http.validation import validated
from pipeline_jobs.web.schemas.fields import IdempotencyHeaders
from pipeline_jobs.web.schemas.jobs import Job, JobPath
from pipeline_jobs.web.schemas.retry import RetryRequest

blueprint = APIBlueprint("retry", __name__, url_prefix="/pipeline/jobs", abp_tags=[{"name": "jobs"}])
blueprint.before_request(require_queue)


@blueprint.post(
    "/<job_id>/retry",
    summary="Run an ended job again",
    description="Makes a new job with the same input (`retry_of` names the old one, which stays as it is). Stages that succeeded are not "
    "run again if their outputs are still kept; they are as long as the record of a job that has them.",
    responses=responses(
        {201: answer("The new job.", Job, "Location", "ETag", "Retry-After", "Idempotent-Replayed", *RATE_HEADERS)},
        400, 404, 409, 413, 415, 422, 429, 503,
    ),
)  # fmt: skip
@validated
def retry(path: JobPath, body: RetryRequest, header: IdempotencyHeaders) -> Response:
    old = handle_of(path.job_id).record()
    job, headers = submitting.retry(old.job_id, body.from_stage, header.idempotency_key)
    return job_reply(job, 201, {"Location": job_path(job), **headers})
