"""Models of what we answer about many jobs at once, for the OpenAPI document (see `bodies`)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline_jobs.states import JobStatus


class BatchUrls(BaseModel):
    """Links of a batch: absolute if PIPELINE_PUBLIC_URL is set, else paths."""

    self: str
    jobs: str
    cancel: str


class BatchCounts(BaseModel):
    """Jobs by status; their sum is `total`. A job that was removed stays counted as it ended."""

    queued: int
    running: int
    completed: int
    failed: int
    cancelled: int


class Batch(BaseModel):
    """Jobs that came in one call. Times are RFC 3339 in UTC."""

    model_config = ConfigDict(title="Batch")

    batch_id: str = Field(examples=["batch_1704326400_abc12345"])
    status: JobStatus = Field(
        description="`queued`: none has started; `running`: some have; when all have ended: `failed` if one has failed, else `cancelled` "
        "if one was cancelled, else `completed`."
    )
    tenant_id: str
    workspace_id: str
    total: int = Field(description="How many jobs came in it.")
    counts: BatchCounts
    created_at: str = Field(examples=["2025-01-03T12:00:00.000Z"])
    completed_at: str | None = Field(description="When its last job ended.")
    metadata: dict[str, Any]
    urls: BatchUrls


class ItemError(BaseModel):
    """What is wrong with one job of a batch."""

    field: str = Field(examples=["jobs.3.url"])
    message: str
    code: str


class NewBatch(Batch):
    """A batch that was made, with the ids of its jobs, this once."""

    model_config = ConfigDict(title="NewBatch")

    job_ids: list[str | None] = Field(description="In the order of the request; null: that one was left out (`errors` says why).")
    errors: list[ItemError] = Field(description="Of the jobs that were left out (`partial`).")


class BatchList(BaseModel):
    """One page of batches, newest first."""

    batches: list[Batch]
    count: int = Field(description="How many batches are on this page.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null on the last page.")


class BulkCancel(BaseModel):
    """What was done to many jobs, or would be."""

    dry_run: bool
    matched: int = Field(description="Jobs that match and have not ended: the sum of the next two.")
    cancelled: int = Field(description="They waited and are cancelled.")
    stopping: int = Field(description="They run and are being stopped; they end as cancelled.")
    next_cursor: str | None = Field(description="Send the request again with this `cursor`: there are more. null: that was all.")


BODIES: tuple[type[BaseModel], ...] = (Batch, NewBatch, BatchList, BulkCancel)
