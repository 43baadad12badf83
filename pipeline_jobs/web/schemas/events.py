"""The events of jobs and tenants, as pages and as streams."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from pipeline_jobs.events.event_types import EventType
from pipeline_jobs.events.log import MAX_PAGE, feed_place
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.schemas.fields import Body, Name, Parameters, integer

After = Annotated[int, *integer(0, 10**15 - 1, 0)]
EventLimit = Annotated[int, *integer(1, MAX_PAGE, 100)]


def _feed_place(text: str) -> str:
    try:
        return feed_place(text)
    except InvalidInput as error:
        raise ValueError(error.message) from None


FeedPlace = Annotated[
    str, BeforeValidator(_feed_place), WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,15}-[0-9]{1,15}$", "examples": ["0-0"]})
]


class StreamRequest(Parameters):
    """Parameters of every stream."""

    token: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        None, description="Instead of a key: a token from `POST /pipeline/events/token` for this stream."
    )


class SocketRequest(StreamRequest):
    """Where a WebSocket begins."""

    after: After = Field(0, description="Only events with a higher number.")


class EventsRequest(SocketRequest):
    """Which events of a job."""

    limit: EventLimit = Field(100, description="Maximum number of events on a page. A stream has no pages.")


class FeedRequest(StreamRequest):
    """Which events of a tenant."""

    tenant_id: Name | None = Field(None, description="The tenant. Required only with a key for all tenants.")
    workspace_id: Name | None = Field(None, description="Only events of jobs of this workspace.")
    after: FeedPlace | None = Field(None, description="Only events after this id of the feed; `0-0`: all events that are kept.")
    limit: EventLimit = Field(100, description="Maximum number of events on a page. A stream has no pages.")


class EventHeaders(Parameters):
    """Headers of a request for a stream."""

    last_event_id: str | None = Field(
        None,
        alias="Last-Event-ID",
        description="Sent by a browser that reconnects: the `id` of the last event that it has. Takes precedence over `after`.",
    )


class TokenRequest(Body):
    """Which stream a token should open."""

    job_id: str | None = Field(None, description="The job whose events are followed. Absent: the feed of the tenant.")
    tenant_id: Name | None = Field(None, description="The tenant of the feed; required only with a key for all tenants.")


class EventData(BaseModel):
    """The job at the time of the event."""

    status: JobStatus = Field(description="The status of the job.")
    attempt: int = Field(description="The number of the attempt; 0 until a worker first starts the job.")
    stage: str | None = Field(description="The stage that is running; null: none is.")
    progress: float = Field(ge=0, le=100, description="Progress in per cent.")
    message: str | None = Field(None, description="The message of the stage. In most types of events.")
    reason: Literal["retry", "crash", "handback", "fault", "hop", "parts"] | None = Field(None, description="In job.requeued: the reason.")
    changes: dict[str, Any] | None = Field(None, description="In job.updated: the new `priority` and `run_at`.")
    error: str | None = Field(None, description="In job.failed: the error.")
    error_code: str | None = Field(None, description="In job.failed: the code of the error.")


class BatchEventCounts(BaseModel):
    """Jobs of the batch by how they ended."""

    completed: int = Field(description="Jobs that completed.")
    failed: int = Field(description="Jobs that failed.")
    cancelled: int = Field(description="Jobs that were cancelled.")


class BatchEventData(BaseModel):
    """The batch at the time of batch.completed."""

    total: int = Field(description="Number of jobs in the batch.")
    counts: BatchEventCounts = Field(description="Its jobs by how they ended.")


class Event(BaseModel):
    """Something that happened to a job (or that a batch has ended): the same envelope over SSE, WebSocket, webhooks and here."""

    id: str = Field(description="`{job_id}.{seq}`: the same wherever the event is delivered.", examples=["job_1704326400_abc12345.3"])
    seq: int = Field(ge=1, description="The number of the event within the job, from 1 without gaps.")
    type: EventType = Field(description="What happened.")
    job_id: str | None = Field(description="null in batch.completed.")
    batch_id: str | None = Field(None, description="Only in batch.completed.")
    tenant_id: str = Field(description="The tenant of the job.")
    workspace_id: str = Field(description="The workspace of the job.")
    created_at: str = Field(examples=["2025-01-03T12:00:00.000Z"], description="When it happened.")
    data: EventData | BatchEventData = Field(description="More about it.")


class EventPage(BaseModel):
    """One page of a job's events, oldest first."""

    events: list[Event] = Field(description="The events.")
    count: int = Field(description="Number of events on this page.")
    next_after: int | None = Field(description="The `after` of the next page; null: there are no more events now.")
    reached: int = Field(description="The `after` to continue with later.")
    complete: bool = Field(description="True if the job has ended and this page has its last event.")


class FeedPage(BaseModel):
    """One page of a tenant's events, in the order in which they happened."""

    events: list[Event] = Field(description="The events.")
    count: int = Field(description="Number of events on this page.")
    next_after: str | None = Field(description="The `after` of the next page; null: there are no more events now.")
    reached: str = Field(description="The `after` to continue with later.", examples=["1704326400000-0"])


class WorkflowPage(FeedPage):
    """One page of a workflow's events, in the order in which they happened."""

    complete: bool = Field(description="True if the workflow has ended and this page has its last event.")


class StreamToken(BaseModel):
    """A token that opens one stream."""

    token: str = Field(description="For `?token=` of the stream.")
    expires_at: str = Field(description="When the token expires. A stream that is open then continues.")
