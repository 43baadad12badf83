"""What the history is asked for, and what is answered."""

from __future__ import annotations

from pydantic import BaseModel, Field

from pipeline_jobs.history.queries import MAX_DAYS
from pipeline_jobs.web.schemas.fields import Moment, Name, Parameters


class RangeRequest(Parameters):
    """Which ended jobs."""

    tenant_id: Name | None = Field(None, description="Jobs of this tenant.")
    workspace_id: Name | None = Field(None, description="Jobs of workspaces with this name.")
    pipeline: Name | None = Field(None, description="Jobs of this pipeline.")
    ended_after: Moment | None = Field(
        None, description=f"Jobs that ended at this time or later: at most {MAX_DAYS} days before `ended_before`. Default: seven days."
    )
    ended_before: Moment | None = Field(None, description="Jobs that ended before this time. Default: now.")


class AnalyticsLine(BaseModel):
    """Jobs of a tenant and a pipeline that ended on a day."""

    date: str = Field(description="The day, in UTC.", examples=["2025-01-03"])
    tenant_id: str = Field(description="The tenant.")
    pipeline: str = Field(description="The pipeline.")
    completed: int = Field(description="Number of jobs that completed.")
    failed: int = Field(description="Number of jobs that failed.")
    cancelled: int = Field(description="Number of jobs that were cancelled.")
    duration_p50_seconds: float | None = Field(description="From the first start to the end, the median; null: no job had started.")
    duration_p95_seconds: float | None = Field(description="The same, the 95th percentile.")
    wait_p50_seconds: float | None = Field(description="From the acceptance to the first start, the median; null: no job had started.")
    wait_p95_seconds: float | None = Field(description="The same, the 95th percentile.")
    slot_seconds: float = Field(description="Slots held, times seconds, of all runs of these jobs and of their parts.")
    failures: dict[str, int] = Field(description="Failed jobs by the code of their error.")


class Analytics(BaseModel):
    """An evaluation of the history."""

    lines: list[AnalyticsLine] = Field(description="By day, tenant and pipeline, in this order.")
    count: int = Field(description="Number of lines.")
