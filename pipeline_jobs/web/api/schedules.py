"""`/pipeline/schedules`: create, get, change, pause and delete schedules, and run one now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flask import Response

from pipeline_jobs.exceptions import UnknownSchedule
from pipeline_jobs.job import rfc3339
from pipeline_jobs.schedules.schedule import Schedule
from pipeline_jobs.schedules.scheduler import Scheduler
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.http.openapi import RATE_HEADERS, answer
from pipeline_jobs.web.http.replies import job_path, job_reply, page_reply, reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.http.submitting import REPLAYED, check_key, run_schedule
from pipeline_jobs.web.schemas import schedules as bodies
from pipeline_jobs.web.schemas.fields import IdempotencyHeaders
from pipeline_jobs.web.schemas.jobs import Job
from pipeline_jobs.web.state import web

RECENT = 20
_SEEN = {200: answer("The schedule.", bodies.ScheduleDetail)}

routes = Routes("schedules", "/pipeline/schedules", "Jobs that are created at regular times.")


def _kept() -> Scheduler:
    return web().cell.schedules


def own_schedule(schedule_id: str) -> Schedule:
    """:raises UnknownSchedule: there is none, or it is another's."""
    return caller().own(_kept().get(schedule_id), UnknownSchedule)


def _detail(schedule: Schedule, upcoming: int = bodies.DEFAULT_UPCOMING) -> dict[str, Any]:
    slots = [rfc3339(slot) for slot in _kept().upcoming(schedule, upcoming)]
    return {**schedule.to_dict(), "upcoming": slots, "recent": [one.to_dict() for one in _kept().log(schedule.schedule_id, RECENT)]}


def _created(made: Schedule, **headers: str) -> Response:
    return reply(_detail(made), 201, {"Location": f"/pipeline/schedules/{made.schedule_id}", **headers})


def _changed(path: bodies.SchedulePath, change: Callable[..., Schedule], **changes: Any) -> Response:
    """Change a schedule of the caller's, and show it as it is then. Another's is not even looked at by `change`."""
    return reply(_detail(change(own_schedule(path.schedule_id).schedule_id, **changes, actor=caller().actor)))


@routes.post(
    "",
    "Create a schedule",
    "A job is created at each time that `cron` names in `timezone`. Each such slot is fired once, or the schedule says why it was skipped.",
    {201: answer("The schedule.", bodies.ScheduleDetail, "Location", REPLAYED)},
    errors=(409, 429),
)
def create(body: bodies.ScheduleRequest, header: bodies.ScheduleHeaders) -> Response:
    who, key, new = caller(), check_key(header.idempotency_key), body.to_new()
    new = replace(new, job=who.new_job(new.job, body.model_fields_set))
    planned = _kept().create(new, idempotency_key=key, sender=who.sender("schedules"), actor=who.actor)
    made = planned.schedule
    if planned.replayed:
        return _created(made, **{REPLAYED: "true"})
    return _created(made)


@routes.get("", "List schedules", "Newest first, for the key's tenant and workspace.", {200: answer("One page.", bodies.ScheduleList)})
def list_(query: bodies.ScheduleListRequest) -> Response:
    tenant_id, workspace_id = caller().narrowed(query.tenant_id, query.workspace_id)
    page = _kept().list(tenant_id=tenant_id, workspace_id=workspace_id, cursor=query.cursor, limit=query.limit)
    return page_reply("schedules", page.items, Schedule.to_dict, next_cursor=page.next_cursor)


@routes.get("/<schedule_id>", "Get a schedule", "With its next slots and the outcomes of its last slots.", _SEEN)
def get(path: bodies.SchedulePath, query: bodies.ScheduleView) -> Response:
    return reply(_detail(own_schedule(path.schedule_id), query.upcoming))


@routes.patch(
    "/<schedule_id>",
    "Change a schedule",
    "Fields that are absent do not change. After a change of `cron` or `timezone` the next slot is the first one from now on.",
    _SEEN,
)
def change(path: bodies.SchedulePath, body: bodies.ScheduleChange) -> Response:
    return _changed(path, _kept().change, **body.to_changes())


@routes.delete(
    "/<schedule_id>", "Delete a schedule", "Jobs that it has created continue.", {200: answer("It was deleted.", bodies.ScheduleRemoval)}
)
def delete(path: bodies.SchedulePath) -> Response:
    gone = own_schedule(path.schedule_id)
    _kept().delete(path.schedule_id, actor=caller().actor)
    return reply({"schedule_id": gone.schedule_id, "status": "deleted"})


@routes.post(
    "/<schedule_id>/pause",
    "Pause a schedule",
    "Nothing is fired until the schedule is resumed; waiting slots are skipped. Can be repeated.",
    _SEEN,
)
def pause(path: bodies.SchedulePath) -> Response:
    return _changed(path, _kept().pause)


@routes.post(
    "/<schedule_id>/resume",
    "Resume a schedule",
    "The schedule continues with the first slot from now on; missed slots are not fired. Can be repeated.",
    _SEEN,
)
def resume(path: bodies.SchedulePath) -> Response:
    return _changed(path, _kept().resume)


@routes.post(
    "/<schedule_id>/run",
    "Run a schedule now",
    "Creates its job immediately, even if the schedule is paused and whatever `overlap` says. Its slots do not change. The "
    "limits for new jobs apply.",
    {201: answer("The job.", Job, "Location", "ETag", "Retry-After", REPLAYED, *RATE_HEADERS)},
    errors=(409, 422, 429),
)
def run(path: bodies.SchedulePath, header: IdempotencyHeaders) -> Response:
    job, headers = run_schedule(own_schedule(path.schedule_id).schedule_id, header.idempotency_key)
    return job_reply(job, 201, {"Location": job_path(job), **headers})
