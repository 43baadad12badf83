"""A queued job's priority and start time. A page of its own: the job's page is drawn anew each second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response, request

from pipeline_jobs.exceptions import PipelineJobsError
from pipeline_jobs.job import rfc3339
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api.jobs import handle_of
from pipeline_jobs.web.http.validation import check
from pipeline_jobs.web.problems import Refused, answer
from pipeline_jobs.web.schemas.jobs import ChangeRequest
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, page, see_other
from pipeline_jobs.web.ui.forms import problems_at
from pipeline_jobs.web.ui.story import title_of

_FIELDS = ("priority", "run_at")


@blueprint.get("/jobs/<job_id>/change")
def change(job_id: str) -> Response:
    record = handle_of(job_id).record()
    return _page(job_id, {"priority": str(record.priority), "run_at": rfc3339(record.run_at) or ""})


@blueprint.post("/jobs/<job_id>/change")
def change_job(job_id: str) -> Response:
    values = request.form.to_dict()
    try:
        body = check(ChangeRequest, _body(values))
        web().cell.client.change(handle_of(job_id).record().job_id, caller().whose, priority=body.priority, run_at=body.run_at)
    except (Refused, PipelineJobsError) as error:
        told = answer(error)
        if told.status_code == 404:
            raise
        return _page(job_id, values, problems_at(told, _FIELDS), told.status_code)
    return see_other("ui.job", job_id=job_id)


def _body(values: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {name: values[name].strip() for name in _FIELDS if values.get(name, "").strip()}
    try:
        return given | ({"priority": int(given["priority"])} if "priority" in given else {})
    except ValueError:
        raise Refused(422, "invalid_input", "must be an integer", field="priority") from None


def _page(job_id: str, values: Mapping[str, str], errors: Mapping[str, str] | None = None, status: int = 200) -> Response:
    record = handle_of(job_id).record()
    return page("change", status, job=record, title=title_of(record), values=values, errors=errors or {})
