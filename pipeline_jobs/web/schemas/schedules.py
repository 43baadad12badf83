"""`/pipeline/schedules`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from pipeline_jobs.job import NewJob
from pipeline_jobs.schedules.cron import MAX_EXPRESSION
from pipeline_jobs.schedules.schedule import NOT_IN_TEMPLATE, CatchUp, Overlap
from pipeline_jobs.schedules.scheduler import MAX_NAME, NewSchedule, in_job
from pipeline_jobs.tenants import DEFAULT_TENANT, DEFAULT_WORKSPACE
from pipeline_jobs.web.schemas.fields import Body, IdempotencyKey, Name, Parameters, idempotency_key, integer
from pipeline_jobs.web.schemas.jobs import JobRequest
from pipeline_jobs.web.schemas.pages import PageRequest, page_of

DEFAULT_UPCOMING, MAX_UPCOMING = 5, 100


if TYPE_CHECKING:
    JobTemplate = JobRequest
else:
    # What a job may have, a template may have, later fields too.
    JobTemplate = create_model(
        "JobTemplate",
        __config__=ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [{"pipeline": "sleep"}]}),
        __doc__="A job to be made: the body of `POST /pipeline/jobs` without what the schedule says.",
        **{name: (info.annotation, info) for name, info in JobRequest.model_fields.items() if name not in NOT_IN_TEMPLATE},
    )


Upcoming = Annotated[int, *integer(0, MAX_UPCOMING, DEFAULT_UPCOMING)]
Label = Annotated[str, Field(max_length=MAX_NAME, pattern=r"^[^\x00-\x1f\x7f]*$")]
Expression = Annotated[str, Field(max_length=MAX_EXPRESSION)]
Zone = Annotated[str, Field(min_length=1, max_length=64)]
_CRON = "Five fields: minute, hour, day of month, month, day of week (0 and 7: Sunday; SUN-SAT); `*`, lists, ranges, steps, `L`, `MON#2`."
_ZONE = "IANA name of the time zone in which `cron` is read."
_OVERLAP = "What happens to a slot while a job of this schedule has not ended: it is skipped, waits, or cancels the job first."
_CATCH_UP = "Which slots that passed while nothing could be fired are fired late: none, the last one, or all (up to a limit)."


class ScheduleRequest(Body):
    """A schedule to create."""

    model_config = ConfigDict(json_schema_extra={
            "examples": [
                {
                    "name": "nightly", "cron": "30 3 * * *", "timezone": "Europe/Berlin", "overlap": "skip", "catch_up": "last",
                    "tenant_id": "acme", "job": {"url": "https://youtube.com/watch?v=xtFiJ8AVdW0", "quality": "1080p"},
                }
            ]
        },
    )  # fmt: skip

    name: Label = Field("", description="A description for people.")
    cron: Expression = Field(description=_CRON, examples=["30 3 * * 1-5"])
    timezone: Zone = Field("UTC", description=_ZONE, examples=["Europe/Berlin"])
    overlap: Literal["skip", "queue", "cancel_running"] = Field("skip", description=_OVERLAP)
    catch_up: Literal["none", "last", "all"] = Field("none", description=_CATCH_UP)
    paused: bool = Field(False, description="Nothing is fired until the schedule is resumed.")
    tenant_id: Name = Field(DEFAULT_TENANT, description="The tenant of the schedule and its jobs.")
    workspace_id: Name = Field(DEFAULT_WORKSPACE, description="The workspace of the tenant.")
    job: JobTemplate = Field(description="The job to create at each slot.")

    def to_new(self) -> NewSchedule:
        """:raises InvalidInput: names the field."""
        given = {name: value for name, value in vars(self).items() if name not in ("tenant_id", "workspace_id")}
        given["job"] = _new_job(self.job, tenant_id=self.tenant_id, workspace_id=self.workspace_id)
        return NewSchedule(**given)


class ScheduleChange(Body):
    """Changes to a schedule. Fields that are absent do not change."""

    name: Label | None = Field(None, description="A description for people.")
    cron: Expression | None = Field(None, description=_CRON)
    timezone: Zone | None = Field(None, description=_ZONE)
    overlap: Literal["skip", "queue", "cancel_running"] | None = Field(None, description=_OVERLAP)
    catch_up: Literal["none", "last", "all"] | None = Field(None, description=_CATCH_UP)
    job: JobTemplate | None = Field(None, description="The job to create; replaces the old one as a whole.")

    def to_changes(self) -> dict[str, Any]:
        """:raises InvalidInput: names the field."""
        changes: dict[str, Any] = {"name": self.name, "cron": self.cron, "timezone": self.timezone}
        changes["overlap"] = None if self.overlap is None else Overlap(self.overlap)
        changes["catch_up"] = None if self.catch_up is None else CatchUp(self.catch_up)
        changes["job"] = None if self.job is None else _new_job(self.job)
        return changes


class ScheduleListRequest(PageRequest):
    """Which schedules."""

    tenant_id: Name | None = Field(None, description="Schedules of this tenant.")
    workspace_id: Name | None = Field(None, description="Schedules of this workspace of the tenant.")


class ScheduleView(Parameters):
    """How many next slots to return."""

    upcoming: Upcoming = Field(DEFAULT_UPCOMING, description="Number of next slots to return.")


class SchedulePath(BaseModel):
    """Which schedule."""

    schedule_id: str = Field(description="`sch_{unix seconds}_{8 hex}`.", examples=["sch_1704326400_abc12345"])


class ScheduleHeaders(Parameters):
    """Headers of a request that creates a schedule."""

    idempotency_key: IdempotencyKey = idempotency_key("create one schedule")


def _new_job(template: JobTemplate, **whose: Any) -> NewJob:
    given: dict[str, Any] = {name: getattr(template, name) for name in template.model_fields_set}
    with in_job():
        return JobRequest(**given, **whose).to_new_job()


class Schedule(BaseModel):
    """A schedule: when to create which job."""

    schedule_id: str = Field(examples=["sch_1704326400_abc12345"], description="`sch_{unix seconds}_{8 hex}`.")
    tenant_id: str = Field(description="The tenant of the schedule and its jobs.")
    workspace_id: str = Field(description="The workspace of the schedule and its jobs.")
    name: str = Field(description="A description for people.")
    cron: str = Field(examples=["30 3 * * 1-5"], description=_CRON)
    timezone: str = Field(examples=["Europe/Berlin"], description=_ZONE)
    overlap: Literal["skip", "queue", "cancel_running"] = Field(description=_OVERLAP)
    catch_up: Literal["none", "last", "all"] = Field(description=_CATCH_UP)
    job: dict[str, Any] = Field(description="The job to create, without the fields that have their default values.")
    paused: bool = Field(description="Nothing is fired until the schedule is resumed.")
    created_at: str = Field(description="When it was created.")
    updated_at: str = Field(description="When it was last changed.")
    next_run_at: str | None = Field(description="The next slot; null if the schedule is paused.")
    last_run_at: str | None = Field(description="When it last created a job.")
    last_job_id: str | None = Field(description="The job that it created last.")
    last_skipped_at: str | None = Field(description="The last slot that was skipped.")
    last_skipped_reason: str | None = Field(
        description="`missed`, `overlap`, `superseded`, `overlap_queue_full`, `paused`, `changed`, `invalid`, `rate_limited`, "
        "`queue_full`, `storage_full`, `webhooks_full`, `memory_full` or `store_full` (docs/schedules.md).",
    )
    fired: int = Field(description="Number of slots whose job was created.")
    skipped: int = Field(description="Number of slots that were skipped.")


class SlotOutcome(BaseModel):
    """The outcome of a slot, or of several consecutive slots that were skipped together."""

    outcome: str = Field(description="`fired`, `manual` (a requested run), or the reason why it was skipped.")
    at: str = Field(description="When it was decided.")
    slot: str = Field(description="The slot, or the first of several.")
    last_slot: str = Field(description="The last of several slots.")
    count: int = Field(description="Number of slots.")
    job_id: str | None = Field(description="The job that was created; null: none was.")


class ScheduleDetail(Schedule):
    """A schedule with its last and next slots."""

    upcoming: list[str] = Field(description="The next slots; none while the schedule is paused.")
    recent: list[SlotOutcome] = Field(description="The outcomes of the last slots, newest first, at most 20.")


ScheduleList = page_of("ScheduleList", "schedules", Schedule, "One page, newest first.")


class ScheduleRemoval(BaseModel):
    "It was deleted."

    schedule_id: str = Field(description="The schedule.")
    status: Literal["deleted"] = Field(description="Always `deleted`.")
