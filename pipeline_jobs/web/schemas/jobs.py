"""`/pipeline/jobs`: what requests bring and what we answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
)

from pipeline_jobs.job import ACCEPTED, PRIORITY_MAX, PRIORITY_MIN, NewJob
from pipeline_jobs.jobs.client import MAX_ATTEMPTS, MAX_DEPENDENCIES, MAX_SECONDS, MAX_TAGS, MAX_URL
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import DEFAULT_TENANT, DEFAULT_WORKSPACE
from pipeline_jobs.web.http.validation import check_json
from pipeline_jobs.web.schemas.fields import (
    BatchId,
    IdempotencyHeaders,
    JobId,
    Moment,
    Name,
    PageRequest,
    Parameters,
    StatusWord,
    Word,
)


class WebhookRequest(BaseModel):
    """Who is to be told of a job's end."""

    model_config = ConfigDict(strict=True, extra="forbid")

    url: str = Field(
        max_length=MAX_URL, description="https, a public address, no user name or password.", examples=["https://hooks.example/x"]
    )
    events: list[Literal["job.completed", "job.failed", "job.cancelled"]] = Field(
        default_factory=list, max_length=20, description="Only of these. Absent or empty: of any end."
    )


class JobFields(BaseModel):
    """What to run and how, for whomever."""

    model_config = ConfigDict(strict=True, extra="forbid")

    url: str | None = Field(
        None,
        max_length=MAX_URL,
        description="The media to work on: http or https, without a user name or password; or the `upload://` address of a complete "
        "upload of this tenant and workspace. Required by pipelines with `needs_url`.",
    )
    quality: str | None = Field(
        None, max_length=64, description="One of the pipeline's `qualities`, for example `1080p`. Absent: the pipeline's default."
    )
    pipeline: Name = Field("media", description="What to run: a name from `GET /pipeline/pipelines`.")
    params: dict[str, Any] = Field(
        default_factory=dict, description="The pipeline's own parameters; `GET /pipeline/pipelines` has their JSON schema."
    )
    priority: int = Field(0, ge=PRIORITY_MIN, le=PRIORITY_MAX, description="Higher is sooner, inside its tenant only.")
    max_attempts: int | None = Field(
        None,
        ge=1,
        le=MAX_ATTEMPTS,
        description="How often it may be tried when a stage fails with a retryable error. Absent: the pipeline's own limit.",
    )
    deadline_seconds: float | None = Field(
        None,
        gt=0,
        le=MAX_SECONDS,
        allow_inf_nan=False,
        description="Fail the job, wherever it is, when it has not ended so many seconds from now (code `deadline_exceeded`).",
    )
    ttl_seconds: float | None = Field(
        None,
        gt=0,
        le=MAX_SECONDS,
        allow_inf_nan=False,
        description="Fail the job when it has not started so many seconds from now (code `expired`).",
    )
    run_at: Moment | None = Field(
        None, description="RFC 3339 date-time before which it does not start. Absent or past: as soon as it is its turn."
    )
    depends_on: Annotated[list[JobId], AfterValidator(lambda ids: list(dict.fromkeys(ids)))] = Field(
        default_factory=list,
        max_length=MAX_DEPENDENCIES,
        description="Jobs of the tenant that must have ended before it may start (`reason` is `dependency` until then).",
    )
    on_dependency_failure: Literal["fail", "cancel", "run"] = Field(
        "fail", description="What becomes of it when one of them fails or is cancelled: it fails too, is cancelled, or runs all the same."
    )
    tags: Annotated[list[Word], AfterValidator(lambda tags: list(dict.fromkeys(tags)))] = Field(
        default_factory=list, max_length=MAX_TAGS, description="Words to find it by; doubled ones count once."
    )
    metadata: dict[str, Any] = Field(default_factory=dict, description="Yours; given back as it is. At most 16 KB of JSON.")

    webhook: WebhookRequest | None = Field(
        None, description="A URL that the job is sent to when it ends, signed with the tenant's webhook secret (Standard Webhooks)."
    )

    def to_new_job(self) -> NewJob:
        """Of the default tenant and workspace, unless it says more.

        :raises InvalidInput: `params` or `metadata` hold a value that no store keeps (names the path)."""
        check_json(self.params, "params")
        check_json(self.metadata, "metadata")
        return NewJob.of({name: _plain(value) for name, value in vars(self).items() if name in ACCEPTED})


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else value


class JobRequest(JobFields):
    """A job to be made."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"url": "https://youtube.com/watch?v=xtFiJ8AVdW0", "quality": "1080p", "tenant_id": "acme", "workspace_id": "main"}
            ]
        },
    )

    tenant_id: Name = Field(DEFAULT_TENANT, description="Whose job it is.")
    workspace_id: Name = Field(DEFAULT_WORKSPACE, description="The tenant's workspace.")


class ListRequest(PageRequest):
    """The filters of a list. An unknown one is refused."""

    tenant_id: Name | None = Field(None, description="Jobs of this tenant.")
    workspace_id: Name | None = Field(None, description="Jobs of workspaces with this name.")
    status: list[StatusWord] = Field(
        default_factory=list,
        description="Jobs in any of these states: `status=queued,running` or `status=queued&status=running`. `canceled` is `cancelled`.",
    )
    pipeline: Name | None = Field(None, description="Jobs of this pipeline.")
    tag: Word | None = Field(None, description="Jobs with this tag.")
    batch_id: BatchId | None = Field(None, description="Jobs of this batch.")
    created_after: Moment | None = Field(None, description="RFC 3339 date-time.")
    created_before: Moment | None = Field(None, description="RFC 3339 date-time.")

    def to_query(self) -> JobQuery:
        return JobQuery(
            tenant_id=self.tenant_id,
            workspace_id=self.workspace_id,
            statuses=tuple(dict.fromkeys(self.status)),
            pipeline=self.pipeline,
            tag=self.tag,
            batch_id=self.batch_id,
            created_after=self.created_after,
            created_before=self.created_before,
            limit=self.limit,
            cursor=self.cursor,
        )


class ChangeRequest(BaseModel):
    """What to change of a waiting job; what is absent stays."""

    model_config = ConfigDict(strict=True, extra="forbid")

    priority: int | None = Field(None, ge=PRIORITY_MIN, le=PRIORITY_MAX, description="Higher is sooner, inside its workspace only.")
    run_at: Moment | None = Field(None, description="Not before; in the past: as soon as it is its turn.")


class JobPath(BaseModel):
    """Which job."""

    job_id: str = Field(description="`job_{unix seconds}_{8 hex}`; the Celery task id too.", examples=["job_1704326400_abc12345"])


class WaitHeaders(Parameters):
    """Headers of a request that may wait."""

    prefer: str | None = Field(
        None, alias="Prefer", description="`wait=10`: answer when the job has ended, or after 10 s.", examples=["wait=10"]
    )


class CreateHeaders(WaitHeaders, IdempotencyHeaders):
    """Headers of a request that makes a job."""


class GetHeaders(WaitHeaders):
    """Headers of a request for one job."""

    prefer: str | None = Field(
        None,
        alias="Prefer",
        description="`wait=10`: answer when the job has ended (with If-None-Match: when it has changed), or after 10 s.",
        examples=["wait=10"],
    )
    if_none_match: str | None = Field(
        None, alias="If-None-Match", description="The `ETag` of an earlier answer: 304 if nothing has changed."
    )


class StepResult(BaseModel):
    """What a pipeline gives back."""

    model_config = ConfigDict(title="StepResult")

    success: bool = Field(description="False: the job failed or was cancelled.")
    data: dict[str, Any] = Field(description="The pipeline's result; for `media`: transcript, summary, drive_url, ...")
    error: str | None = Field(None, description="Why, when `success` is false.")


class ErrorDetail(BaseModel):
    """Why a job failed, for programs."""

    code: str = Field(examples=["source_not_found"])
    message: str
    stage: str | None = Field(description="The stage that failed.")
    retryable: bool = Field(description="The same job may well succeed if it is run again.")


class Urls(BaseModel):
    """Links of a job: absolute if PIPELINE_PUBLIC_URL is set, else paths."""

    self: str
    cancel: str


class Queue(BaseModel):
    """Why a job waits."""

    position: int | None = Field(description="This job and those of its tenant that start before it; null: it is not in line yet.")
    reason: str = Field(description="As `reason` of the job.")
    limit: float | int | None = Field(description="What is full: slots of the tenant, of the pipeline, or of all workers; a rate a second.")
    current: int | None = Field(description="How many of them are taken.")
    eta_seconds: float | None = Field(description="About how long until it starts; null: nothing is known.")


class JobWebhook(BaseModel):
    """Who is told of a job's end."""

    url: str
    events: list[str] = Field(description="Types of events; empty: all.")


class Job(BaseModel):
    """One request of a tenant. Times are RFC 3339 in UTC."""

    model_config = ConfigDict(title="Job")

    job_id: str = Field(examples=["job_1704326400_abc12345"])
    status: JobStatus
    reason: str | None = Field(description="Why it waits, while queued: fair_share, no_worker, dispatched, dependency, retry, ...")
    url: str | None
    quality: str | None
    pipeline: str
    params: dict[str, Any]
    tenant_id: str
    workspace_id: str
    priority: int
    attempt: int = Field(description="0 until a worker first takes it.")
    max_attempts: int
    stage: str | None = Field(description="The stage that runs now.")
    progress: float = Field(ge=0, le=100, description="Per cent; never falls within an attempt.")
    message: str | None
    created_at: str = Field(examples=["2025-01-03T12:00:00.000Z"])
    started_at: str | None = Field(description="Its first start; null: it has not started.")
    attempt_started_at: str | None = Field(description="The start of its last run: another than the first one when it was tried again.")
    completed_at: str | None
    expires_at: str | None = Field(description="When an ended job may be removed.")
    run_at: str | None = Field(description="It was asked not to start before.")
    queue: Queue | None = Field(description="On a waiting job that was asked for by its id: why it waits and for how long about.")
    deadline_seconds: float | None = Field(description="As it was asked for.")
    ttl_seconds: float | None = Field(description="As it was asked for.")
    deadline_at: str | None = Field(description="When it is failed if it has not ended (`deadline_seconds`).")
    result: StepResult | None = Field(description="Of a completed job.")
    error: str | None = Field(description="Why it failed.")
    error_detail: ErrorDetail | None
    cancel_requested: bool = Field(description="It will end as cancelled.")
    retry_of: str | None = Field(description="The job that this one runs again.")
    batch_id: str | None = Field(description="The batch it came in.")
    depends_on: list[str] = Field(description="Jobs that must have ended before it may start.")
    on_dependency_failure: Literal["fail", "cancel", "run"] | None = Field(
        description="What becomes of it when one of them does not complete; null: it depends on none."
    )
    tags: list[str]
    metadata: dict[str, Any]
    webhook: JobWebhook | None
    urls: Urls


class JobList(BaseModel):
    """One page of jobs, newest first."""

    jobs: list[Job]
    count: int = Field(description="How many jobs are on this page.")
    next_cursor: str | None = Field(description="Ask with `cursor=` for the next page; null: this is the last.")


class Removal(BaseModel):
    """What DELETE did."""

    job_id: str
    status: Literal["cancelled", "deleted"] = Field(
        description="`cancelled`: it had not ended, it ends now, its record stays. `deleted`: it had ended, its record is gone."
    )
