"""The jobs that were ticked in a list: cancelled, run again or deleted after a question that names how many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from flask import Response, request

from pipeline_jobs.exceptions import PipelineJobsError, UnknownJob
from pipeline_jobs.job import Job
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.api.batches import CANCELLED_SECONDS, MADE_SECONDS
from pipeline_jobs.web.api.jobs import handle_of
from pipeline_jobs.web.http import submitting
from pipeline_jobs.web.http.costing import cost
from pipeline_jobs.web.problems import Refused, answer
from pipeline_jobs.web.ui.blueprint import blueprint, page
from pipeline_jobs.web.ui.forms import form_token

#: Most jobs that are done at once: a page of the list has fewer.
MOST = 100
ACTIONS = ("cancel", "retry", "delete")


@blueprint.get("/jobs/chosen")
def ask_chosen() -> Response:
    """The question, with their numbers by status."""
    return _page(_action(), _records(), None)


@blueprint.post("/jobs/chosen")
def do_chosen() -> Response:
    action, records = _action(), _records()
    cost(len(records) * (CANCELLED_SECONDS + MADE_SECONDS))
    left = [(job, fault) for job in records if applies(action, job) and (fault := _do(action, job))]
    return _page(action, records, left)


def applies(action: str, job: Job) -> bool:
    """This can be done to a job as it is now."""
    if action == "cancel":
        return not job.ended
    return job.status in (JobStatus.FAILED, JobStatus.CANCELLED) if action == "retry" else job.ended


def _do(action: str, job: Job) -> str:
    """Do it. :return: why it was not done, or nothing."""
    try:
        if action == "cancel":
            handle_of(job.job_id).revoke()
        elif action == "delete":
            handle_of(job.job_id).forget(job.order)
        else:
            # The same click sent twice makes one job of each.
            submitting.retry(job, None, f"chosen {request.form.get('token', '')[:40]} {job.job_id}")
    except (Refused, PipelineJobsError) as error:
        return str(answer(error).get_json()["detail"])
    return ""


def _action() -> str:
    found = request.values.get("action", "")
    if found not in ACTIONS:
        raise Refused(422, "invalid_input", f"action must be one of: {', '.join(ACTIONS)}", field="action")
    return found


def _records() -> list[Job]:
    """The jobs that were ticked and are still there. :raises Refused: 422, none or too many were ticked."""
    ids = list(dict.fromkeys(request.values.getlist("id")))
    if not 0 < len(ids) <= MOST:
        raise Refused(422, "invalid_input", f"id: tick 1 to {MOST} jobs", field="id")
    found = []
    for job_id in ids:
        try:
            found.append(handle_of(job_id).record())
        except UnknownJob:
            continue
    return found


def _page(action: str, records: Sequence[Job], left: list[tuple[Job, str]] | None) -> Response:
    """:param left: of a click, what was not done and why; None: nobody has said yes yet."""
    fit = [job for job in records if applies(action, job)]
    return page(
        "chosen", action=action, jobs=fit, passed=len(records) - len(fit), counts=Counter(job.status.value for job in fit), left=left,
        token=form_token(),
    )  # fmt: skip
