"""Models of what we answer, for the OpenAPI document. Answers are made by `replies`, not through these models: that would cost
more than the rest of a GET; the tests hold every answer against them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline_jobs.events.event_types import EventType
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.schemas import batch_bodies, schedule_bodies, tenant_bodies


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
    started_at: str | None
    completed_at: str | None
    expires_at: str | None = Field(description="When an ended job may be removed.")
    run_at: str | None = Field(description="It was asked not to start before.")
    queue: Queue | None = Field(description="On a waiting job that was asked for by its id: why it waits and for how long about.")
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


class StageInfo(BaseModel):
    """One stage of a pipeline."""

    name: str
    weight: float = Field(description="Its share of the progress, relative to the others.")


class PipelineInfo(BaseModel):
    """What can be run."""

    name: str
    description: str
    needs_url: bool = Field(description="A job of it must have a `url`.")
    qualities: list[str] = Field(description="The values of `quality` it takes; the first is the default.")
    max_attempts: int
    max_concurrent: int | None = Field(
        description="Most of its jobs at once, over all workers, as it declares; null: any number. Its `limits` say what holds."
    )
    stages: list[StageInfo]
    params: dict[str, Any] = Field(description="JSON schema of `params`.")


class MissingPipeline(BaseModel):
    """A pipeline that cannot be run: what it needs is not installed."""

    name: str
    modules: list[str] = Field(description="Python modules that are not there.")
    extra: str = Field(description="What brings them, as pip is told; empty: not known.")


class PipelineList(BaseModel):
    """All pipelines, by name."""

    pipelines: list[PipelineInfo]
    missing: list[MissingPipeline]


class PipelineLimits(BaseModel):
    """How many jobs of a pipeline run at once, over all workers."""

    max_concurrent: int | None = Field(description="Most, as set here; null: what the pipeline declares holds.")
    declared: int | None = Field(description="Most, as the pipeline declares; null: any number.")
    current: int = Field(description="How many are dispatched or run.")


class Upload(BaseModel):
    """Media of a client's own. Times are RFC 3339 in UTC."""

    model_config = ConfigDict(title="Upload")

    upload_id: str = Field(examples=["3f9ac21b0d4e5f603f9ac21b"])
    url: str = Field(description="What a job of this tenant and workspace takes as `url`, once the upload is complete.")
    tenant_id: str
    workspace_id: str
    length: int = Field(description="Bytes of the whole.")
    offset: int = Field(description="Bytes that are stored.")
    complete: bool
    created_at: str
    completed_at: str | None
    expires_at: str = Field(description="When it may be removed, if no job that has not ended needs it then.")
    metadata: dict[str, str] = Field(description="As in `Upload-Metadata`.")


class UploadList(BaseModel):
    """One page of uploads, newest first."""

    uploads: list[Upload]
    count: int = Field(description="How many are on this page.")
    next_cursor: str | None = Field(description="Ask with `cursor=` for the next page; null: this is the last.")


class EventData(BaseModel):
    """What an event says of its job, as it was then."""

    status: JobStatus
    attempt: int
    stage: str | None
    progress: float = Field(ge=0, le=100)
    message: str | None = Field(None, description="What the stage said. Of most types.")
    reason: Literal["retry", "crash", "handback", "fault"] | None = Field(None, description="Of job.requeued: why.")
    changes: dict[str, Any] | None = Field(None, description="Of job.updated: `priority`, `run_at` as they are now.")
    error: str | None = Field(None, description="Of job.failed: why.")
    error_code: str | None = Field(None, description="Of job.failed: why, for programs.")


class BatchEventCounts(BaseModel):
    """Jobs of the batch by how they ended."""

    completed: int
    failed: int
    cancelled: int


class BatchEventData(BaseModel):
    """What batch.completed says of its batch."""

    total: int
    counts: BatchEventCounts


class Event(BaseModel):
    """Something that happened to a job (or that a batch has ended): the same envelope over SSE, WebSocket, webhooks and here."""

    id: str = Field(description="`{job_id}.{seq}`: the same wherever it is told.", examples=["job_1704326400_abc12345.3"])
    seq: int = Field(ge=1, description="Counts the events of the job, from 1 without a gap.")
    type: EventType
    job_id: str | None = Field(description="null: of batch.completed.")
    batch_id: str | None = Field(None, description="Of batch.completed only.")
    tenant_id: str
    workspace_id: str
    created_at: str = Field(examples=["2025-01-03T12:00:00.000Z"])
    data: EventData | BatchEventData


class EventPage(BaseModel):
    """One page of a job's events, oldest first."""

    events: list[Event]
    count: int = Field(description="How many events are on this page.")
    next_after: int | None = Field(description="Ask with `after=` for the next page; null: there is no more now.")
    reached: int = Field(description="Ask with `after=` later for what came after this page.")
    complete: bool = Field(description="The job has ended and this page has its last event: nothing will follow.")


class FeedPage(BaseModel):
    """One page of a tenant's events, in the order in which they happened."""

    events: list[Event]
    count: int = Field(description="How many events are on this page.")
    next_after: str | None = Field(description="Ask with `after=` for the next page; null: there is no more now.")
    reached: str = Field(description="Ask with `after=` later for what came after this page.", examples=["1704326400000-0"])


class StreamToken(BaseModel):
    """Opens one stream."""

    token: str = Field(description="For `?token=` of the stream.")
    expires_at: str = Field(description="A stream that is open then goes on.")


class Live(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class PartHealth(BaseModel):
    """One part that the service stands on."""

    model_config = ConfigDict(extra="allow")

    ok: bool
    reason: str | None = None
    warning: str | None = Field(None, description="What is to be mended, although the part works.")


class Ready(BaseModel):
    """Every part works."""

    status: Literal["ready"]
    parts: dict[str, PartHealth]


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str = Field(examples=["params.seconds"])
    message: str
    code: str


class Problem(BaseModel):
    """An error (RFC 9457). Programs switch on `code`."""

    type: str = Field(examples=["urn:pipeline-jobs:problem:invalid_input"])
    title: str
    status: int
    detail: str
    instance: str = Field(description="The path that was asked for.")
    code: str = Field(examples=["invalid_input"])
    request_id: str = Field(description="The answer's X-Request-Id; every log line of this request has it.")
    field: str | None = Field(None, description="Dotted path of the (first) wrong field.")
    errors: list[FieldError] | None = Field(None, description="Each wrong field, at most 20; of a batch those of each job.")
    parts: dict[str, PartHealth] | None = Field(None, description="Of /health/ready only.")


PUBLIC: tuple[type[BaseModel], ...] = (
    *batch_bodies.BODIES,
    *schedule_bodies.BODIES,
    *tenant_bodies.BODIES,
    Job,
    JobList,
    Removal,
    StepResult,
    PipelineList,
    PipelineLimits,
    Upload,
    UploadList,
    Event,
    EventPage,
    FeedPage,
    StreamToken,
    Live,
    Ready,
    Problem,
)
