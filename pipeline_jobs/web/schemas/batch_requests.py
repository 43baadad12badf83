"""Models of what requests about many jobs bring."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import MAX_JOBS, WrongJob
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import DEFAULT_TENANT, DEFAULT_WORKSPACE
from pipeline_jobs.web.http.validation import check_json
from pipeline_jobs.web.problems import field_errors
from pipeline_jobs.web.schemas.requests import DEFAULT_LIMIT, BatchId, JobFields, Limit, Moment, Name, Parameters, Word


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
    tenant_id: Name = Field(DEFAULT_TENANT, description="The tenant of the jobs.")
    workspace_id: Name = Field(DEFAULT_WORKSPACE, description="The workspace of the tenant.")
    partial: bool = Field(False, description="`true`: skip invalid jobs. Otherwise one invalid job refuses the whole batch.")
    metadata: dict[str, Any] = Field(default_factory=dict, description="Your own data, returned unchanged. At most 16 KB of JSON.")

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


class BatchListRequest(Parameters):
    """Which batches."""

    tenant_id: Name | None = Field(None, description="Batches of this tenant.")
    workspace_id: Name | None = Field(None, description="Batches of this workspace; requires `tenant_id`.")
    limit: Limit = Field(DEFAULT_LIMIT, description="Maximum number of batches on the page.")
    cursor: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(None, description="`next_cursor` of the previous page.")


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
    dry_run: bool = Field(False, description="`true`: only count the jobs.")
    cursor: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(None, description="`next_cursor` of the previous answer.")

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
