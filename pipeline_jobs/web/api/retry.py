"""`POST /pipeline/jobs/{id}/retry`: run an ended job again, from the stage that failed."""

from __future__ import annotations

from flask import Response

from pipeline_jobs.web.api.jobs import handle_of
from pipeline_jobs.web.http import submitting
from pipeline_jobs.web.http.openapi import RATE_HEADERS, answer
from pipeline_jobs.web.http.replies import job_path, job_reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.schemas.fields import IdempotencyHeaders
from pipeline_jobs.web.schemas.jobs import Job, JobPath
from pipeline_jobs.web.schemas.retry import RetryRequest
from pipeline_jobs.web.state import web

routes = Routes("retry", "/pipeline/jobs", tag="jobs")


@routes.post(
    "/<job_id>/retry",
    "Retry a job",
    "Creates a new job with the same input, or with other `params` and `quality`. `retry_of` names the old job, which does not change. "
    "Stages that succeeded are not run again if their outputs are still kept; an output is kept as long as the record of a job that "
    "has it.",
    {201: answer("The new job.", Job, "Location", "ETag", "Retry-After", "Idempotent-Replayed", *RATE_HEADERS)},
    errors=(409, 429),
)
def retry(path: JobPath, body: RetryRequest, header: IdempotencyHeaders) -> Response:
    old = handle_of(path.job_id).record()
    job, headers = submitting.retry(old, body.from_stage, header.idempotency_key, body.changes(old, web().cell.pipelines))
    return job_reply(job, 201, {"Location": job_path(job), **headers})
