"""`POST /pipeline/run`: run a pipeline and wait for its result."""

from __future__ import annotations

from flask import Response

from pipeline_jobs.exceptions import DiskFull, ResultGone, StageError
from pipeline_jobs.job import Job, NewJob, StepResult
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.flags import require_run_api
from pipeline_jobs.web.http.openapi import RATE_HEADERS, answer
from pipeline_jobs.web.http.replies import file_reply, job_path, job_reply, reply, retry_after
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.http.submitting import REPLAYED, submit
from pipeline_jobs.web.http.waiting import wait_for_end
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.jobs import Job as JobAnswer
from pipeline_jobs.web.schemas.jobs import StepResult as ResultAnswer
from pipeline_jobs.web.schemas.run import RunHeaders, RunRequest
from pipeline_jobs.web.state import Web, web

routes = Routes("run", "/pipeline", "Run a job and wait for its result.", flag=require_run_api)


@routes.post(
    "/run",
    "Run a pipeline and wait for its result",
    "With the queue on, this creates a job and waits for it; a job that takes longer than `timeout` continues. With the "
    "queue off (ENABLE_PIPELINE_JOB_QUEUE), the pipeline runs in the API's own process until it has ended.",
    {
        200: answer("The result; `success` is false if the job failed or was cancelled.", ResultAnswer, REPLAYED, *RATE_HEADERS),
        202: answer("The job has not ended in time. It continues.", JobAnswer, "Location", "ETag", "Retry-After", *RATE_HEADERS),
    },
    errors=(409, 410, 429, 507),
)
def run(body: RunRequest, header: RunHeaders) -> Response:
    here = web()
    new = caller().new_job(body.to_new_job(), body.model_fields_set)
    if not here.settings.enable_job_queue:
        if header.idempotency_key is not None:
            raise Refused(422, "invalid_input", "Idempotency-Key requires the job queue, which is off", field="Idempotency-Key")
        return reply(_in_process(here, new).to_dict())
    job, headers = submit(new, "run", header.idempotency_key)
    if REPLAYED in headers:
        return _replayed(job, headers)
    cap = here.settings.run_timeout_seconds
    timeout = cap if body.timeout is None else min(body.timeout, cap)
    job, _ = wait_for_end(here.waiting, here.cell.results(job.job_id), job, timeout)
    if not job.ended:
        return job_reply(job, 202, {"Location": job_path(job), **headers})
    return _result(job, headers)


def _replayed(job: Job, headers: dict[str, str]) -> Response:
    """The first answer again, once there is one: two requests with one key never wait for it both."""
    if not job.ended:
        raise Refused(
            409,
            "request_in_flight",
            "the job of this Idempotency-Key has not ended yet; see Location",
            headers={"Location": job_path(job), "Retry-After": str(retry_after(job))},
        )
    return _result(job, headers)


def _in_process(here: Web, new: NewJob) -> StepResult:
    with here.waiting.required(new.tenant_id):
        try:
            return here.cell.run_in_process(new)
        except DiskFull:
            raise
        except StageError as error:
            return StepResult(False, error=error.message)


def _result(job: Job, headers: dict[str, str]) -> Response:
    if job.result_ref is not None:
        try:
            return file_reply(job.result_ref, headers=headers)
        except FileNotFoundError:
            raise ResultGone from None
    if job.status is JobStatus.COMPLETED:
        return reply(job.result if isinstance(job.result, dict) else StepResult(True).to_dict(), headers=headers)
    error = "the job was cancelled" if job.status is JobStatus.CANCELLED else job.error or "the job failed"
    return reply(StepResult(False, error=error).to_dict(), headers=headers)
