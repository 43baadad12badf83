"""`/pipeline/schedules`: make, see, change, pause and remove schedules, and run one now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.exceptions import UnknownSchedule
from pipeline_jobs.job import rfc3339
from pipeline_jobs.schedules.schedule import Schedule
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.http.openapi import RATE_HEADERS, answer, responses
from pipeline_jobs.web.http.replies import job_path, job_reply, page_reply, reply
from pipeline_jobs.web.http.submitting import REPLAYED, check_key, run_schedule
from pipeline_jobs.web.http.validation import validated
from pipeline_jobs.web.ports import Schedules
from pipeline_jobs.web.schemas.fields import IdempotencyHeaders
from pipeline_jobs.web.schemas.jobs import Job
from pipeline_jobs.web.schemas.schedules import (
    DEFAULT_UPCOMING,
    ScheduleChange,
    ScheduleDetail,
    ScheduleHeaders,
    ScheduleList,
    ScheduleListRequest,
    SchedulePath,
    ScheduleRemoval,
    ScheduleRequest,
    ScheduleView,
)
from pipeline_jobs.web.state import web

RECENT = 20
_SEEN = {200: answer("The schedule.", ScheduleDetail)}

blueprint = APIBlueprint(
    "schedules", __name__, url_prefix="/pipeline/schedules", abp_tags=[{"name": "schedules", "description": "Jobs by the clock."}]
)
blueprint.before_request(require_queue)


def _kept() -> Schedules:
    return web().parts.schedules


def _own(schedule_id: str) -> Schedule:
    """:raises UnknownSchedule: there is none, or it is another's."""
    found = _kept().get(schedule_id)
    if not caller().sees(found):
        raise UnknownSchedule
    return found


def _detail(schedule: Schedule, upcoming: int = DEFAULT_UPCOMING) -> dict[str, Any]:
    slots = [rfc3339(slot) for slot in _kept().upcoming(schedule, upcoming)]
    return {**schedule.to_dict(), "upcoming": slots, "recent": [one.to_dict() for one in _kept().log(schedule.schedule_id, RECENT)]}


def _created(made: Schedule, **headers: str) -> Response:
    return reply(_detail(made), 201, {"Location": f"/pipeline/schedules/{made.schedule_id}", **headers})


def _note(action: str, schedule: Schedule, **detail: Any) -> None:
    whose = {"tenant_id": schedule.tenant_id, "workspace_id": schedule.workspace_id}
    web().parts.audit.record(caller().actor, f"schedule.{action}", schedule.schedule_id, {**whose, **detail})


def _changed(path: SchedulePath, action: str, change: Callable[[str], Schedule], **detail: Any) -> Response:
    """Change a schedule of the caller's, note it, and show it as it is then. Another's is not even looked at by `change`."""
    changed = change(_own(path.schedule_id).schedule_id)
    _note(action, changed, **detail)
    return reply(_detail(changed))


@blueprint.post(
    "",
    summary="Make a schedule",
    description="At each moment that `cron` names in `timezone` a job is made. A slot is fired once, or the schedule says why not.",
    responses=responses({201: answer("The schedule.", ScheduleDetail, "Location", REPLAYED)}, 400, 404, 409, 413, 415, 422, 429, 503),
)
@validated
def create(body: ScheduleRequest, header: ScheduleHeaders) -> Response:
    who, key, new = caller(), check_key(header.idempotency_key), body.to_new()
    new = replace(new, job=who.new_job(new.job, body.model_fields_set))
    planned = _kept().create(new, idempotency_key=key, sender=who.sender("schedules"))
    made = planned.schedule
    if planned.replayed:
        return _created(made, **{REPLAYED: "true"})
    _note("created", made, cron=made.cron.expression, timezone=made.cron.timezone)
    return _created(made)


@blueprint.get(
    "",
    summary="List schedules",
    description="Newest first, of the key's tenant and workspace.",
    responses=responses({200: answer("One page.", ScheduleList)}, 400, 404, 422, 503),
)
@validated
def list_(query: ScheduleListRequest) -> Response:
    tenant_id, workspace_id = caller().narrowed(query.tenant_id, query.workspace_id)
    page = _kept().list(tenant_id=tenant_id, workspace_id=workspace_id, cursor=query.cursor, limit=query.limit)
    return page_reply("schedules", page.items, Schedule.to_dict, next_cursor=page.next_cursor)


@blueprint.get(
    "/<schedule_id>",
    summary="See a schedule",
    description="With its next slots, and what became of the last ones.",
    responses=responses(_SEEN, 400, 404, 422, 503),
)
@validated
def get(path: SchedulePath, query: ScheduleView) -> Response:
    return reply(_detail(_own(path.schedule_id), query.upcoming))


@blueprint.patch(
    "/<schedule_id>",
    summary="Change a schedule",
    description="What is absent stays. With another `cron` or `timezone` the next slot is the first one from now on.",
    responses=responses(_SEEN, 400, 404, 413, 415, 422, 503),
)
@validated
def change(path: SchedulePath, body: ScheduleChange) -> Response:
    fields = sorted(body.model_dump(exclude_none=True))
    return _changed(path, "changed", lambda schedule_id: _kept().change(schedule_id, **body.to_changes()), fields=fields)


@blueprint.delete(
    "/<schedule_id>",
    summary="Remove a schedule",
    description="The jobs that it has made go on.",
    responses=responses({200: answer("It is gone.", ScheduleRemoval)}, 404, 503),
)
@validated
def delete(path: SchedulePath) -> Response:
    gone = _own(path.schedule_id)
    _kept().delete(path.schedule_id)
    _note("deleted", gone)
    return reply({"schedule_id": gone.schedule_id, "status": "deleted"})


@blueprint.post(
    "/<schedule_id>/pause",
    summary="Pause a schedule",
    description="Nothing is fired until it is resumed; slots that wait are skipped. Safe to repeat.",
    responses=responses(_SEEN, 404, 503),
)
@validated
def pause(path: SchedulePath) -> Response:
    return _changed(path, "paused", _kept().pause)


@blueprint.post(
    "/<schedule_id>/resume",
    summary="Resume a schedule",
    description="It goes on with the first slot from now on; nothing is caught up. Safe to repeat.",
    responses=responses(_SEEN, 404, 503),
)
@validated
def resume(path: SchedulePath) -> Response:
    return _changed(path, "resumed", _kept().resume)


@blueprint.post(
    "/<schedule_id>/run",
    summary="Run a schedule now",
    description="Makes its job at once, paused or not, whatever `overlap` says. Its slots stay as they are. The limits of a new job hold.",
    responses=responses(
        {201: answer("The job.", Job, "Location", "ETag", "Retry-After", REPLAYED, *RATE_HEADERS)}, 404, 409, 422, 429, 503
    ),
)
@validated
def run(path: SchedulePath, header: IdempotencyHeaders) -> Response:
    schedule = _own(path.schedule_id)
    job, headers = run_schedule(path.schedule_id, header.idempotency_key)
    if REPLAYED not in headers:
        _note("run", schedule, job_id=job.job_id)
    return job_reply(job, 201, {"Location": job_path(job), **headers})
