"""The events of jobs and tenants, as pages and as streams."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from pipeline_jobs.events.event_types import EventType
from pipeline_jobs.events.log import MAX_PAGE, feed_place
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.schemas.fields import Name, Parameters, integer

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
    """What every stream takes."""

    token: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        None, description="In the place of a key: a token of `POST /pipeline/events/token` for this stream."
    )


class SocketRequest(StreamRequest):
    """Where a WebSocket begins."""

    after: After = Field(0, description="Only events with a higher number.")


class EventsRequest(SocketRequest):
    """Which events of a job."""

    limit: EventLimit = Field(100, description="Most events on a page. A stream has no pages.")


class FeedRequest(StreamRequest):
    """Which events of a tenant."""

    tenant_id: Name | None = Field(None, description="Whose. Needed by keys of all tenants only.")
    workspace_id: Name | None = Field(None, description="Only of jobs of this workspace.")
    after: FeedPlace | None = Field(None, description="Only what came after this id of the feed; `0-0`: everything that is kept.")
    limit: EventLimit = Field(100, description="Most events on a page. A stream has no pages.")


class EventHeaders(Parameters):
    """Headers of a request for a stream."""

    last_event_id: str | None = Field(
        None,
        alias="Last-Event-ID",
        description="What a browser sends when it comes back: the `id` of the last event it has. Wins over `after`.",
    )


class TokenRequest(BaseModel):
    """Which stream a token should open."""

    model_config = ConfigDict(strict=True, extra="forbid")

    job_id: str | None = Field(None, description="The events of this job. Absent: the feed of the tenant.")
    tenant_id: Name | None = Field(None, description="Whose feed; only keys of all tenants must say.")


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
