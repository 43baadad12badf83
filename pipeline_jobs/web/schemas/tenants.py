"""`/pipeline/tenants/{tenant_id}`: limits, usage, erasure."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from pipeline_jobs.tenants import NAME
from pipeline_jobs.web.schemas.fields import Body, Flag, Parameters, integer

DEFAULT_DAYS = 7


class TenantPath(BaseModel):
    """Whose keys."""

    tenant_id: Annotated[str, Field(pattern=rf"^({NAME.pattern}|\*)$")] = Field(
        description="A tenant; `*` for the keys for all tenants.", examples=["acme"]
    )


class LimitsRequest(Body):
    """All limits of a tenant. A limit that is absent or null is not set, and the default (tenant `*`) applies."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"weight": 2, "max_concurrent": 4}]})

    weight: float | None = Field(
        None, ge=0.001, le=1000, allow_inf_nan=False, description="Share of the slots, relative to other tenants (1)."
    )
    max_concurrent: int | None = Field(None, ge=0, le=10**9, description="Maximum number of running jobs.")
    max_queued: int | None = Field(None, ge=0, le=10**9, description="Maximum number of queued jobs; above it, new jobs get 429.")
    max_parked: int | None = Field(
        None, ge=0, le=10**9, description="Maximum number of jobs that wait for a signal; above it, the next one fails."
    )
    submit_rate: float | None = Field(
        None, ge=0, le=10**6, allow_inf_nan=False, description="Maximum number of jobs submitted per second; above it, new jobs get 429."
    )
    start_rate: float | None = Field(None, ge=0, le=10**6, allow_inf_nan=False, description="Maximum number of jobs started per second.")
    paused: bool | None = Field(None, description="If true, no job is started; running jobs continue.")
    max_storage_bytes: int | None = Field(
        None, ge=0, le=10**15, description="Maximum number of bytes stored; above it, new jobs and uploads get 429."
    )
    max_ended: int | None = Field(
        None, ge=0, le=10**15, description="Maximum number of ended jobs kept; of more, those that ended first are removed."
    )
    max_drive_bytes: int | None = Field(
        None, ge=0, le=10**15, description="Maximum number of bytes copied to Google Drive; 0: the tenant's results are not copied."
    )
    daily_llm_tokens: int | None = Field(
        None, ge=0, le=10**15, description="Maximum number of tokens per day of the operator's language model; 0: it is not used."
    )
    max_run_seconds: float | None = Field(
        None,
        ge=1,
        le=31_536_000,
        allow_inf_nan=False,
        description="Maximum run time of a job in seconds, if its pipeline permits more; then it fails with the code `run_too_long`.",
    )


Days = Annotated[int, *integer(1, 400, DEFAULT_DAYS)]


class UsageRequest(Parameters):
    """How many days."""

    days: Days = Field(DEFAULT_DAYS, description="Number of days in UTC, today first.")


class EraseRequest(Parameters):
    """Whether to do it."""

    dry_run: Flag = Field(False, description="`true`: only count what would be deleted.")


# All that can be set is shown.
_SHOWN: dict[str, Any] = {name: (info.annotation, Field(description=info.description)) for name, info in LimitsRequest.model_fields.items()}
Limits = create_model(
    "Limits", __doc__="A tenant's own limits. null: the default of the installation applies, or there is no limit.", **_SHOWN
)


class UsageDay(BaseModel):
    """The usage of a tenant on one day in UTC."""

    date: str = Field(examples=["2026-11-24"], description="The day, in UTC.")
    created: int = Field(description="Jobs created.")
    completed: int = Field(description="Jobs that completed.")
    failed: int = Field(description="Jobs that failed.")
    cancelled: int = Field(description="Jobs that were cancelled.")
    slot_seconds: float = Field(description="Time that slots were in use, in seconds.")
    wait_p50_seconds: float | None = Field(description="Time from acceptance to the first start, the median; null: no job started.")
    wait_p95_seconds: float | None = Field(description="The same, the 95th percentile.")
    failure_rate: float | None = Field(description="Fraction of the completed and failed jobs that failed; null: there were none.")


class Usage(BaseModel):
    """The usage of a tenant by day, today first."""

    tenant_id: str = Field(description="The tenant.")
    days: list[UsageDay] = Field(description="One entry for each day.")


class Erasure(BaseModel):
    """What was deleted of a tenant, or would be."""

    jobs: int = Field(description="Jobs that were deleted, or would be, those that only the history has among them.")
    still_live: int = Field(description="Jobs that are being cancelled; erase again when they have ended.")
    artifact_bytes: int = Field(description="Size of the files that were deleted, or would be.")
    done: bool = Field(description="True if nothing of the tenant is left.")
