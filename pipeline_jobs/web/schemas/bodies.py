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

    success: bool = Field(description="False if the job failed or was cancelled.")
    data: dict[str, Any] = Field(description="The pipeline's result; for `media`: transcript, summary, drive_url, ...")
    error: str | None = Field(None, description="The error, if `success` is false.")


class ErrorDetail(BaseModel):
    """Why a job failed, for programs."""

    code: str = Field(examples=["source_not_found"])
    message: str
    stage: str | None = Field(description="The stage that failed.")
    retryable: bool = Field(description="Whether the same job may succeed if it is run again.")


class Urls(BaseModel):
    """Links of a job: absolute if PIPELINE_PUBLIC_URL is set, else paths."""

    self: str
    cancel: str


class Queue(BaseModel):
    """Why a job waits."""

    position: int | None = Field(description="Number of jobs of its tenant that start before it, plus 1. null: it cannot start yet.")
    reason: str = Field(description="The same as the job's `reason`.")
    limit: float | int | None = Field(
        description="The limit that is reached: slots of the tenant, of the pipeline or of all workers, or a rate per second."
    )
    current: int | None = Field(description="How many of them are in use.")
    eta_seconds: float | None = Field(description="Estimated time until the job starts, in seconds; null: unknown.")


class JobWebhook(BaseModel):
    """Who is told of a job's end."""

    url: str
    events: list[str] = Field(description="Types of events to send; empty: all.")


class Job(BaseModel):
    """One request of a tenant. Times are RFC 3339 in UTC."""

    model_config = ConfigDict(title="Job")

    job_id: str = Field(examples=["job_1704326400_abc12345"])
    status: JobStatus
    reason: str | None = Field(description="Why a queued job waits: fair_share, no_worker, dispatched, dependency, retry, ...")
    url: str | None
    quality: str | None
    pipeline: str
    params: dict[str, Any]
    tenant_id: str
    workspace_id: str
    priority: int
    attempt: int = Field(description="The number of the attempt; 0 until a worker first starts the job.")
    max_attempts: int
    stage: str | None = Field(description="The stage that is running.")
    progress: float = Field(ge=0, le=100, description="Progress in per cent. It never decreases within an attempt.")
    message: str | None
    created_at: str = Field(examples=["2025-01-03T12:00:00.000Z"])
    started_at: str | None
    completed_at: str | None
    expires_at: str | None = Field(description="When a job that has ended may be deleted.")
    run_at: str | None = Field(description="The job does not start before this time.")
    queue: Queue | None = Field(description="Why a queued job waits and for how long approximately. Only in the answer about a single job.")
    deadline_at: str | None = Field(description="The job fails if it has not ended by this time (`deadline_seconds`).")
    result: StepResult | None = Field(description="The result of a completed job.")
    error: str | None = Field(description="The error of a failed job.")
    error_detail: ErrorDetail | None
    cancel_requested: bool = Field(description="True if the job will end as cancelled.")
    retry_of: str | None = Field(description="The job that this one is a retry of.")
    batch_id: str | None = Field(description="The batch of the job.")
    depends_on: list[str] = Field(description="Jobs that must end before this job starts.")
    on_dependency_failure: Literal["fail", "cancel", "run"] | None = Field(
        description="What happens if one of them does not complete; null: it depends on no job."
    )
    tags: list[str]
    metadata: dict[str, Any]
    webhook: JobWebhook | None
    urls: Urls


class JobList(BaseModel):
    """One page of jobs, newest first."""

    jobs: list[Job]
    count: int = Field(description="Number of jobs on this page.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null on the last page.")


class Removal(BaseModel):
    """What DELETE did."""

    job_id: str
    status: Literal["cancelled", "deleted"] = Field(
        description="`cancelled`: the job had not ended and is cancelled; its record is kept. `deleted`: it had ended; its record is "
        "deleted."
    )


class StageInfo(BaseModel):
    """One stage of a pipeline."""

    name: str
    weight: float = Field(description="Its share of the progress, relative to the others.")


class PipelineInfo(BaseModel):
    """What can be run."""

    name: str
    description: str
    needs_url: bool = Field(description="Whether its jobs must have a `url`.")
    qualities: list[str] = Field(description="Permitted values of `quality`; the first is the default.")
    max_attempts: int
    max_concurrent: int | None = Field(
        description="Maximum number of its running jobs over all workers, as declared; null: no limit. Its `limits` have the number "
        "that applies."
    )
    stages: list[StageInfo]
    params: dict[str, Any] = Field(description="JSON schema of `params`.")


class PipelineList(BaseModel):
    """All pipelines, by name."""

    pipelines: list[PipelineInfo]


class PipelineLimits(BaseModel):
    """How many jobs of a pipeline run at once, over all workers."""

    max_concurrent: int | None = Field(description="Maximum number of running jobs, as set; null: the declared number applies.")
    declared: int | None = Field(description="Maximum number of running jobs, as declared by the pipeline; null: no limit.")
    current: int = Field(description="Number of jobs that are dispatched or running.")


class Upload(BaseModel):
    """Media of a client's own. Times are RFC 3339 in UTC."""

    model_config = ConfigDict(title="Upload")

    upload_id: str = Field(examples=["3f9ac21b0d4e5f603f9ac21b"])
    url: str = Field(description="The `url` for jobs of this tenant and workspace, once the upload is complete.")
    tenant_id: str
    workspace_id: str
    length: int = Field(description="Size of the whole upload in bytes.")
    offset: int = Field(description="Number of bytes that are stored.")
    complete: bool
    created_at: str
    completed_at: str | None
    expires_at: str = Field(description="When the upload expires. It is kept longer while a job that has not ended needs it.")
    metadata: dict[str, str] = Field(description="As in `Upload-Metadata`.")


class UploadList(BaseModel):
    """One page of uploads, newest first."""

    uploads: list[Upload]
    count: int = Field(description="Number of items on this page.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null on the last page.")


class EventData(BaseModel):
    """What an event says of its job, as it was then."""

    status: JobStatus
    attempt: int
    stage: str | None
    progress: float = Field(ge=0, le=100)
    message: str | None = Field(None, description="The message of the stage. In most types of events.")
    reason: Literal["retry", "crash", "handback", "fault"] | None = Field(None, description="In job.requeued: the reason.")
    changes: dict[str, Any] | None = Field(None, description="In job.updated: the new `priority` and `run_at`.")
    error: str | None = Field(None, description="In job.failed: the error.")
    error_code: str | None = Field(None, description="In job.failed: the code of the error.")


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

    id: str = Field(description="`{job_id}.{seq}`: the same wherever the event is delivered.", examples=["job_1704326400_abc12345.3"])
    seq: int = Field(ge=1, description="The number of the event within the job, from 1 without gaps.")
    type: EventType
    job_id: str | None = Field(description="null in batch.completed.")
    batch_id: str | None = Field(None, description="Only in batch.completed.")
    tenant_id: str
    workspace_id: str
    created_at: str = Field(examples=["2025-01-03T12:00:00.000Z"])
    data: EventData | BatchEventData


class EventPage(BaseModel):
    """One page of a job's events, oldest first."""

    events: list[Event]
    count: int = Field(description="Number of events on this page.")
    next_after: int | None = Field(description="The `after` of the next page; null: there are no more events now.")
    reached: int = Field(description="The `after` to continue with later.")
    complete: bool = Field(description="True if the job has ended and this page has its last event.")


class FeedPage(BaseModel):
    """One page of a tenant's events, in the order in which they happened."""

    events: list[Event]
    count: int = Field(description="Number of events on this page.")
    next_after: str | None = Field(description="The `after` of the next page; null: there are no more events now.")
    reached: str = Field(description="The `after` to continue with later.", examples=["1704326400000-0"])


class StreamToken(BaseModel):
    """Opens one stream."""

    token: str = Field(description="For `?token=` of the stream.")
    expires_at: str = Field(description="When the token expires. A stream that is open then continues.")


class Live(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class PartHealth(BaseModel):
    """One part that the service stands on."""

    model_config = ConfigDict(extra="allow")

    ok: bool
    reason: str | None = None
    warning: str | None = Field(None, description="What should be fixed, although the part works.")


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
    instance: str = Field(description="The path of the request.")
    code: str = Field(examples=["invalid_input"])
    request_id: str = Field(description="The X-Request-Id of the answer; every log line of this request has it.")
    field: str | None = Field(None, description="Dotted path of the first wrong field.")
    errors: list[FieldError] | None = Field(None, description="All wrong fields, at most 20; for a batch those of each job.")
    parts: dict[str, PartHealth] | None = Field(None, description="Only in /health/ready.")


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
