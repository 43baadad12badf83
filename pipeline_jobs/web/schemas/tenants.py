"""`/pipeline/tenants/{tenant_id}`: limits, usage, erasure."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
)

from pipeline_jobs.tenants import NAME
from pipeline_jobs.web.schemas.fields import Flag, Parameters, integer

DEFAULT_DAYS = 7


class TenantPath(BaseModel):
    """Whose keys."""

    tenant_id: Annotated[str, Field(pattern=rf"^({NAME.pattern}|\*)$")] = Field(
        description="A tenant; `*` for the keys that are of all tenants.", examples=["acme"]
    )


class LimitsRequest(BaseModel):
    """All limits of a tenant; what is absent or null is not set (the defaults, tenant `*`, hold)."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [{"weight": 2, "max_concurrent": 4}]})

    weight: float | None = Field(
        None, ge=0.001, le=1000, allow_inf_nan=False, description="Its part of the slots, relative to others' (1)."
    )
    max_concurrent: int | None = Field(None, ge=0, le=10**9, description="Most slots at once.")
    max_queued: int | None = Field(None, ge=0, le=10**9, description="Most jobs that wait; more are answered 429.")
    submit_rate: float | None = Field(
        None, ge=0, le=10**6, allow_inf_nan=False, description="Jobs submitted a second; more are answered 429."
    )
    start_rate: float | None = Field(None, ge=0, le=10**6, allow_inf_nan=False, description="Jobs started a second.")
    paused: bool | None = Field(None, description="Starts nothing; what runs goes on.")
    max_storage_bytes: int | None = Field(None, ge=0, le=10**15, description="Most bytes kept; at that no new job or upload is taken.")
    max_run_seconds: float | None = Field(
        None,
        ge=1,
        le=31_536_000,
        allow_inf_nan=False,
        description="Longest that a job may run, in seconds, where its pipeline lets it run longer; then it fails, code `run_too_long`.",
    )


Days = Annotated[int, *integer(1, 400, DEFAULT_DAYS)]


class UsageRequest(Parameters):
    """How many days."""

    days: Days = Field(DEFAULT_DAYS, description="The last so many days in UTC, today first.")


class EraseRequest(Parameters):
    """Whether to do it."""

    dry_run: Flag = Field(False, description="`true`: only count what would go.")


class Limits(BaseModel):
    """A tenant's own limits; null: the default of the installation holds, or there is none."""

    weight: float | None
    max_concurrent: int | None
    max_queued: int | None
    submit_rate: float | None
    start_rate: float | None
    paused: bool | None
    max_storage_bytes: int | None
    max_run_seconds: float | None


class UsageDay(BaseModel):
    """A tenant's figures of one day in UTC."""

    date: str = Field(examples=["2026-11-24"])
    created: int
    completed: int
    failed: int
    cancelled: int
    slot_seconds: float = Field(description="Slots held, times seconds.")
    wait_p50_seconds: float | None = Field(description="From acceptance to the first start; null: nothing started.")
    wait_p95_seconds: float | None
    failure_rate: float | None = Field(description="Failed of those that completed or failed; null: there were none.")


class Usage(BaseModel):
    """What a tenant used, by day, today first."""

    tenant_id: str
    days: list[UsageDay]


class Erasure(BaseModel):
    """What was erased of a tenant, or would be."""

    jobs: int
    still_live: int = Field(description="Jobs that were asked to end; erase again when they have.")
    artifact_bytes: int
    done: bool = Field(description="Nothing of the tenant is left.")
