"""`/pipeline/batches` and `/pipeline/jobs/cancel`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import MAX_JOBS, WrongJob
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import DEFAULT_TENANT, DEFAULT_WORKSPACE
from pipeline_jobs.web.http.validation import check_json
from pipeline_jobs.web.problems import field_errors
from pipeline_jobs.web.schemas.fields import (
    BatchId,
    Cursor,
    Moment,
    Name,
    PageRequest,
    Word,
)
from pipeline_jobs.web.schemas.jobs import JobFields


class BatchItem(JobFields):
    """A job of a batch: as a job of its own, but whose it is the batch says."""


def _keep_errors(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """What is wrong with one job must not hide what is wrong with the others, nor refuse them where `partial` is asked for."""
    try:
        return check(value)
    except ValidationError as error:
        return WrongJob(tuple(field_errors(error)))


class BatchRequest(BaseModel):
    """A batch to be made."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={
            "examples": [{"tenant_id": "acme", "jobs": [{"url": "https://example.com/1.mp4"}, {"url": "https://example.com/2.mp4"}]}]
        },
    )

    jobs: list[Annotated[BatchItem, WrapValidator(_keep_errors)]] = Field(
        min_length=1, max_length=MAX_JOBS, description="As for `POST /pipeline/jobs`, without `tenant_id` and `workspace_id`."
    )
    tenant_id: Name = Field(DEFAULT_TENANT, description="Whose jobs they are.")
    workspace_id: Name = Field(DEFAULT_WORKSPACE, description="The tenant's workspace.")
    partial: bool = Field(
        False, description="`true`: leave out the jobs that are not as they must be; else one such job refuses the whole batch."
    )
    metadata: dict[str, Any] = Field(default_factory=dict, description="Yours; given back as it is. At most 16 KB of JSON.")

    def to_new_jobs(self) -> list[NewJob | WrongJob]:
        check_json(self.metadata, "metadata")
        return [_new_job(item) for item in self.jobs]


def _new_job(item: BatchItem | WrongJob) -> NewJob | WrongJob:
    if isinstance(item, WrongJob):
        return item
    try:
        return item.to_new_job()
    except InvalidInput as error:
        return WrongJob(({"field": error.field or "", "message": error.message, "code": error.code},))


class BatchPath(BaseModel):
    """Which batch."""

    batch_id: str = Field(description="`batch_{unix seconds}_{8 hex}`.", examples=["batch_1704326400_abc12345"])


class BatchListRequest(PageRequest):
    """Which batches."""

    tenant_id: Name | None = Field(None, description="Batches of this tenant.")
    workspace_id: Name | None = Field(None, description="Batches of this workspace; with `tenant_id`.")


class BulkCancelRequest(BaseModel):
    """Which jobs to cancel: the filters of a list, at least one of them."""

    model_config = ConfigDict(
        strict=True, extra="forbid", json_schema_extra={"examples": [{"tenant_id": "acme", "tag": "trial", "dry_run": True}]}
    )

    tenant_id: Name | None = Field(None, description="Jobs of this tenant.")
    workspace_id: Name | None = Field(None, description="Jobs of this workspace.")
    status: list[Literal["queued", "running"]] = Field(default_factory=list, max_length=2, description="Absent: both.")
    pipeline: Name | None = Field(None, description="Jobs of this pipeline.")
    tag: Word | None = Field(None, description="Jobs with this tag.")
    batch_id: BatchId | None = Field(None, description="Jobs of this batch.")
    created_after: Moment | None = Field(None, description="RFC 3339 date-time.")
    created_before: Moment | None = Field(None, description="RFC 3339 date-time.")
    dry_run: bool = Field(False, description="`true`: only count.")
    cursor: Cursor | None = Field(None, description="`next_cursor` of the answer before.")

    def to_query(self) -> JobQuery:
        """:raises InvalidInput: it names no filter: a request that says nothing must not cancel everything."""
        if not self.model_fields_set - {"dry_run", "cursor"}:
            raise InvalidInput("name at least one filter, such as tenant_id", field="tenant_id")
        return JobQuery(
            tenant_id=self.tenant_id,
            workspace_id=self.workspace_id,
            statuses=tuple(JobStatus(word) for word in dict.fromkeys(self.status)),
            pipeline=self.pipeline,
            tag=self.tag,
            batch_id=self.batch_id,
            created_after=self.created_after,
            created_before=self.created_before,
            cursor=self.cursor,
        )


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
    next_cursor: str | None = Field(description="Ask with `cursor=` for the next page; null: this is the last.")


class BulkCancel(BaseModel):
    """What was done to many jobs, or would be."""

    dry_run: bool
    matched: int = Field(description="Jobs that match and have not ended: the sum of the next two.")
    cancelled: int = Field(description="They waited and are cancelled.")
    stopping: int = Field(description="They run and are being stopped; they end as cancelled.")
    next_cursor: str | None = Field(description="Send the request again with this `cursor`: there are more. null: that was all.")
