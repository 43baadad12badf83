"""The schedules of a tenant: made, changed, paused, run now and deleted, with their next slots and what became of the last ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import Response, request
from pydantic_core import from_json

from pipeline_jobs.exceptions import PipelineJobsError
from pipeline_jobs.schedules.schedule import CatchUp, Overlap, Schedule
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api.schedules import RECENT, own_schedule
from pipeline_jobs.web.http.sealing import seal
from pipeline_jobs.web.http.submitting import run_schedule
from pipeline_jobs.web.http.validation import check
from pipeline_jobs.web.problems import Refused, answer
from pipeline_jobs.web.schemas.schedules import ScheduleChange, ScheduleListRequest, ScheduleRequest
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, chosen_tenant, page, see_other
from pipeline_jobs.web.ui.forms import form_token, problems_at, sent_token

#: Next slots on its page.
UPCOMING = 10
#: What the form of a schedule has, besides its job.
FIELDS = ("name", "cron", "timezone", "overlap", "catch_up", "tenant_id", "workspace_id")
_SHOWN = ("name", "cron", "timezone", "overlap", "catch_up", "job", "workspace_id", "tenant_id")


@blueprint.get("/schedules")
def schedules() -> Response:
    given = {name: value for name, value in request.args.items() if value}
    query = check(ScheduleListRequest, given)
    tenant_id, workspace_id = caller().narrowed(query.tenant_id, query.workspace_id)
    found = web().cell.schedules.list(tenant_id=tenant_id, workspace_id=workspace_id, cursor=query.cursor, limit=query.limit)
    given.pop("cursor", None)
    return page("schedules", schedules=found.items, next_cursor=seal(found.next_cursor), given=given)


@blueprint.get("/schedules/new")
def new_schedule() -> Response:
    return _form({"cron": "0 3 * * *", "timezone": "UTC", "job": '{"pipeline": "media", "url": ""}', "tenant_id": chosen_tenant() or ""})


@blueprint.post("/schedules/new")
def make_schedule() -> Response:
    who, values = caller(), request.form.to_dict()
    try:
        body = check(ScheduleRequest, _body(values, FIELDS))
        new = body.to_new()
        new = replace(new, job=who.new_job(new.job, body.model_fields_set))
        planned = web().cell.schedules.create(new, idempotency_key=sent_token(), sender=who.sender("ui schedules"), actor=who.actor)
    except (Refused, PipelineJobsError) as error:
        told = answer(error)
        if told.status_code == 403:
            raise
        return _form(values, problems_at(told, _SHOWN), told.status_code)
    return see_other("ui.schedule", schedule_id=planned.schedule.schedule_id)


@blueprint.get("/schedules/<schedule_id>")
def schedule(schedule_id: str) -> Response:
    return _page(own_schedule(schedule_id))


@blueprint.post("/schedules/<schedule_id>")
def change_schedule(schedule_id: str) -> Response:
    """What the button says: `act`."""
    found, kept, actor = own_schedule(schedule_id), web().cell.schedules, caller().actor
    values = request.form.to_dict()
    match values.get("act", ""):
        case "pause":
            kept.pause(found.schedule_id, actor=actor)
        case "resume":
            kept.resume(found.schedule_id, actor=actor)
        case "run":
            job, _ = run_schedule(found.schedule_id, sent_token())
            return see_other("ui.job", job_id=job.job_id)
        case "delete":
            kept.delete(found.schedule_id, actor=actor)
            return see_other("ui.schedules", tenant_id=found.tenant_id if caller().sees_all else None)
        case "change":
            return _change(found, values)
        case _:
            raise Refused(422, "invalid_input", "act must be one of: pause, resume, run, delete, change", field="act")
    return see_other("ui.schedule", schedule_id=found.schedule_id)


def _change(found: Schedule, values: dict[str, str]) -> Response:
    try:
        body = check(ScheduleChange, _body(values, FIELDS[:5]))
        web().cell.schedules.change(found.schedule_id, **body.to_changes(), actor=caller().actor)
    except (Refused, PipelineJobsError) as error:
        told = answer(error)
        return _page(found, values, problems_at(told, _SHOWN), told.status_code)
    return see_other("ui.schedule", schedule_id=found.schedule_id)


def _body(values: Mapping[str, str], names: tuple[str, ...]) -> dict[str, Any]:
    """The body that the API would be sent for this form. :raises Refused: 422, the job is no JSON."""
    given: dict[str, Any] = {name: values[name].strip() for name in names if values.get(name, "").strip()}
    if text := values.get("job", "").strip():
        try:
            given["job"] = from_json(text, allow_inf_nan=False)
        except ValueError as error:
            raise Refused(422, "invalid_input", f"this is not JSON: {error}", field="job") from None
    return given


def _form(values: Mapping[str, str], errors: Mapping[str, str] | None = None, status: int = 200) -> Response:
    return page(
        "new_schedule", status, values=values, errors=errors or {}, overlaps=list(Overlap), catch_ups=list(CatchUp),
        token=form_token(),
    )  # fmt: skip


def _page(found: Schedule, values: Mapping[str, str] | None = None, errors: Mapping[str, str] | None = None, status: int = 200) -> Response:
    kept = web().cell.schedules
    body = found.to_mapping()
    return page(
        "schedule",
        status,
        schedule=found,
        upcoming=kept.upcoming(found, UPCOMING),
        recent=kept.log(found.schedule_id, RECENT),
        body=found.to_dict()["job"],
        values=values or {name: body[name] for name in FIELDS[:5]},
        errors=errors or {},
        overlaps=list(Overlap),
        catch_ups=list(CatchUp),
        token=form_token(),
    )
