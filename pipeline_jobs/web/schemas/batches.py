"""`/pipeline/batches` and `/pipeline/jobs/cancel`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import MAX_JOBS, WrongJob
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import DEFAULT_TENANT, DEFAULT_WORKSPACE
from pipeline_jobs.web.http.validation import check_json
from pipeline_jobs.web.http.validation_errors import field_errors
from pipeline_jobs.web.schemas.fields import Body, Name
from pipeline_jobs.web.schemas.jobs import Filters, JobFields
from pipeline_jobs.web.schemas.pages import Cursor, PageRequest, page_of
from pipeline_jobs.web.server.giving_way import give_way_at_times


class BatchItem(JobFields):
    """A job of a batch: the fields of a job without its tenant and workspace."""


def _keep_errors(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """What is wrong with one job must not hide what is wrong with the others, nor refuse them where `partial` is asked for."""
    give_way_at_times()
    try:
        return check(value)
    except ValidationError as error:
        return WrongJob(tuple(field_errors(error)))


class BatchRequest(Body):
    """A batch to create."""

    #: A thousand jobs with all that each may have (`web/http/json_bounds.py`).
    max_elements: ClassVar[int] = 50_000
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"tenant_id": "acme", "jobs": [{"url": "https://example.com/1.mp4"}, {"url": "https://example.com/2.mp4"}]}]
        },
    )

    jobs: list[Annotated[BatchItem, WrapValidator(_keep_errors)]] = Field(
        min_length=1, max_length=MAX_JOBS, description="As for `POST /pipeline/jobs`, without `tenant_id` and `workspace_id`."
    )
    tenant_id: Name = Field(DEFAULT_TENANT, description="The tenant of the jobs.")
    workspace_id: Name = Field(DEFAULT_WORKSPACE, description="The workspace of the tenant.")
    partial: bool = Field(False, description="`true`: skip invalid jobs. Otherwise one invalid job refuses the whole batch.")
    metadata: dict[str, Any] = Field(default_factory=dict, description="Your own data, returned unchanged. At most 16 KB of JSON.")

    def to_new_jobs(self) -> list[NewJob | WrongJob]:
        check_json(self.metadata, "metadata")
        return [_new_job(item) for item in self.jobs]


def _new_job(item: BatchItem | WrongJob) -> NewJob | WrongJob:
    give_way_at_times()
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
    workspace_id: Name | None = Field(None, description="Batches of this workspace; requires `tenant_id`.")


class BulkCancelRequest(Filters):
    """The jobs to cancel: the filters of a list, at least one of them."""

    model_config = ConfigDict(
        strict=True, extra="forbid", json_schema_extra={"examples": [{"tenant_id": "acme", "tag": "trial", "dry_run": True}]}
    )

    status: list[Literal["queued", "running"]] = Field(default_factory=list, max_length=2, description="Absent: both.")
    dry_run: bool = Field(False, description="`true`: only count the jobs.")
    cursor: Cursor | None = Field(None, description="`next_cursor` of the previous answer.")

    def to_query(self) -> JobQuery:
        """:raises InvalidInput: it names no filter: a request that says nothing must not cancel everything."""
        query = self.narrowed(self.status, cursor=self.cursor)
        if not query.filters():
            raise InvalidInput("name at least one filter, such as tenant_id", field="tenant_id")
        return query


class BatchUrls(BaseModel):
    """Links of a batch: absolute if PIPELINE_PUBLIC_URL is set, otherwise paths."""

    self: str = Field(description="The batch.")
    jobs: str = Field(description="The list of its jobs.")
    cancel: str = Field(description="Where a POST cancels all its jobs.")


class BatchCounts(BaseModel):
    """Number of jobs by status; their sum is `total`. A deleted job stays counted as it ended."""

    queued: int = Field(description="Jobs that wait.")
    running: int = Field(description="Jobs that run.")
    completed: int = Field(description="Jobs that completed.")
    failed: int = Field(description="Jobs that failed.")
    cancelled: int = Field(description="Jobs that were cancelled.")


class Batch(BaseModel):
    """Jobs that were created in one request. Times are RFC 3339 in UTC."""

    batch_id: str = Field(examples=["batch_1704326400_abc12345"], description="`batch_{unix seconds}_{8 hex}`.")
    status: JobStatus = Field(
        description="`queued`: none has started; `running`: some have; when all have ended: `failed` if one has failed, else `cancelled` "
        "if one was cancelled, else `completed`."
    )
    tenant_id: str = Field(description="The tenant that it belongs to.")
    workspace_id: str = Field(description="The workspace that it belongs to.")
    total: int = Field(description="How many jobs came in it.")
    counts: BatchCounts = Field(description="Its jobs by status.")
    created_at: str = Field(examples=["2025-01-03T12:00:00.000Z"], description="When it was created.")
    completed_at: str | None = Field(description="When its last job ended.")
    metadata: dict[str, Any] = Field(description="As in the request.")
    workflow: bool = Field(description="Its jobs have names and may depend on each other: `GET /pipeline/workflows/{id}` shows them.")
    retry_of: str | None = Field(description="The workflow that it is a retry of.")
    urls: BatchUrls = Field(description="Links.")


class ItemError(BaseModel):
    """What is wrong with one job of a batch."""

    field: str = Field(examples=["jobs.3.url"], description="The job by its index, and the path of the field in it.")
    message: str = Field(description="What is wrong with it, for people.")
    code: str = Field(description="What is wrong with it, for programs.")


class NewBatch(Batch):
    """A new batch, with the ids of its jobs. Only this answer has them."""

    job_ids: list[str | None] = Field(description="In the order of the request; null: that one was left out (`errors` says why).")
    errors: list[ItemError] = Field(description="Of the jobs that were left out (`partial`).")


BatchList = page_of("BatchList", "batches", Batch, "One page of batches, newest first.", "How many batches are on this page.")


class BulkCancel(BaseModel):
    """How many jobs were cancelled, or would be."""

    dry_run: bool = Field(description="As in the request: `true` if the jobs were only counted.")
    matched: int = Field(description="Jobs that match and have not ended: the sum of the next two.")
    cancelled: int = Field(description="They waited and are cancelled.")
    stopping: int = Field(description="They run and are being stopped; they end as cancelled.")
    next_cursor: str | None = Field(description="Send the request again with this `cursor`: there are more. null: that was all.")
