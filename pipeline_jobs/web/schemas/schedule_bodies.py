"""Models of what `/pipeline/schedules` answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class Schedule(BaseModel):
    """When which job is made."""

    schedule_id: str = Field(examples=["sch_1704326400_abc12345"])
    tenant_id: str
    workspace_id: str
    name: str
    cron: str = Field(examples=["30 3 * * 1-5"])
    timezone: str = Field(examples=["Europe/Berlin"])
    overlap: Literal["skip", "queue", "cancel_running"]
    catch_up: Literal["none", "last", "all"]
    job: dict[str, Any] = Field(description="The job to create, without the fields that have their default values.")
    paused: bool
    created_at: str
    updated_at: str
    next_run_at: str | None = Field(description="The next slot; null if the schedule is paused.")
    last_run_at: str | None = Field(description="When it last created a job.")
    last_job_id: str | None
    last_skipped_at: str | None = Field(description="The last slot that was skipped.")
    last_skipped_reason: str | None = Field(
        description="`missed`, `overlap`, `superseded`, `overlap_queue_full`, `paused`, `changed`, `invalid`, `rate_limited`, "
        "`queue_full`, `storage_full`, `webhooks_full` or `store_full` (docs/schedules.md).",
    )
    fired: int = Field(description="Number of slots whose job was created.")
    skipped: int = Field(description="Number of slots that were skipped.")


class SlotOutcome(BaseModel):
    """What became of a slot, or of several in a row that were skipped together."""

    outcome: str = Field(description="`fired`, `manual` (a requested run), or the reason why it was skipped.")
    at: str
    slot: str
    last_slot: str
    count: int
    job_id: str | None


class ScheduleDetail(Schedule):
    """A schedule with its past and its future."""

    upcoming: list[str] = Field(description="The next slots; none while the schedule is paused.")
    recent: list[SlotOutcome] = Field(description="The outcomes of the last slots, newest first, at most 20.")


class ScheduleList(BaseModel):
    """One page, newest first."""

    schedules: list[Schedule]
    count: int = Field(description="Number of items on this page.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null on the last page.")


class ScheduleRemoval(BaseModel):
    """It is gone."""

    schedule_id: str
    status: Literal["deleted"]


BODIES: tuple[type[BaseModel], ...] = (Schedule, ScheduleDetail, ScheduleList, ScheduleRemoval)
