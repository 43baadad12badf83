"""`POST /pipeline/jobs/{id}/cancel`: cancel, and keep the record."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.api.jobs import handle_of
from pipeline_jobs.web.http.openapi import answer, responses
from pipeline_jobs.web.http.replies import job_reply
from pipeline_jobs.web.http.validation import validated
from pipeline_jobs.web.schemas.jobs import Job, JobPath

blueprint = APIBlueprint("cancel", __name__, url_prefix="/pipeline/jobs", abp_tags=[{"name": "jobs"}])
blueprint.before_request(require_queue)


@blueprint.post(
    "/<job_id>/cancel",
    summary="Cancel a job",
    description="Safe to repeat. A job that has ended before stays as it is: look at the `status` of the answer.",
    responses=responses(
        {
            200: answer("The job has ended: cancelled, or as it ended before.", Job, "ETag"),
            202: answer("It is being stopped: `running` with `cancel_requested`.", Job, "ETag", "Retry-After"),
        },
        404, 503,
    ),
)  # fmt: skip
@validated
def cancel(path: JobPath) -> Response:
    job = handle_of(path.job_id).revoke()
    return job_reply(job, 200 if job.ended else 202)
