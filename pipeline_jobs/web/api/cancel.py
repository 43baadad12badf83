"""`POST /pipeline/jobs/{id}/cancel`: cancel, and keep the record."""

from __future__ import annotations

from flask import Response

from pipeline_jobs.web.api.jobs import handle_of
from pipeline_jobs.web.http.openapi import answer
from pipeline_jobs.web.http.replies import job_reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.schemas.jobs import Job, JobPath

routes = Routes("cancel", "/pipeline/jobs", tag="jobs")


@routes.post(
    "/<job_id>/cancel",
    "Cancel a job",
    "Can be repeated. A job that has already ended does not change: check the `status` in the answer.",
    {
        200: answer("The job has ended: it was cancelled, or had ended before.", Job, "ETag"),
        202: answer("The job is being stopped: its status is `running`, with `cancel_requested`.", Job, "ETag", "Retry-After"),
    },
)
def cancel(path: JobPath) -> Response:
    job = handle_of(path.job_id).revoke()
    return job_reply(job, 200 if job.ended else 202)
