"""Models of what requests bring: bodies, parameters, paths. Shape only; what depends on the pipeline is `client`'s to check."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from pipeline_jobs.events.log import MAX_PAGE, feed_place
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import ANY_ID, BATCH_ID, PRIORITY_MAX, PRIORITY_MIN, NewJob, unix_milliseconds
from pipeline_jobs.jobs.client import MAX_ATTEMPTS, MAX_DEPENDENCIES, MAX_SECONDS, MAX_TAG, MAX_TAGS, MAX_URL
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import DEFAULT_TENANT, DEFAULT_WORKSPACE, NAME
from pipeline_jobs.web.http.validation import check_json

DEFAULT_LIMIT, MAX_LIMIT = 25, 100
#: Longest Idempotency-Key, in characters.
MAX_KEY = 255

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)
_CANCELED = "canceled"

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
JobId = Annotated[str, Field(pattern=f"^{ANY_ID.pattern}$")]
BatchId = Annotated[str, Field(pattern=f"^{BATCH_ID.pattern}$", examples=["batch_1704326400_abc12345"])]
#: No control characters.
Word = Annotated[str, Field(min_length=1, max_length=MAX_TAG, pattern=r"^[^\x00-\x1f\x7f]+$")]


def _milliseconds(text: object) -> int:
    if not isinstance(text, str) or not _RFC3339.fullmatch(text):
        raise ValueError("must be an RFC 3339 date-time such as 2025-01-03T12:00:00Z (write a + in a URL as %2B)")
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError("there is no such date or time") from None
    return unix_milliseconds(moment)


def _status(word: str) -> str:
    word = JobStatus.CANCELLED.value if word == _CANCELED else word
    if word not in list(JobStatus):
        raise ValueError(f"must be one of: {', '.join(JobStatus)}")
    return word


def _limit(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text, re.ASCII) or not 1 <= int(text) <= MAX_LIMIT:
        raise ValueError(f"must be an integer, 1..{MAX_LIMIT}")
    return int(text)


def _without_null(schema: dict[str, Any]) -> None:
    for described in schema["properties"].values():
        if "anyOf" in described:
            described.update(described.pop("anyOf")[0])
            described.pop("default", None)


def _days(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text, re.ASCII) or not 1 <= int(text) <= 400:
        raise ValueError("must be an integer, 1..400")
    return int(text)


def _after(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text, re.ASCII):
        raise ValueError("must be an integer, 0 or above")
    return int(text)


def _event_limit(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text, re.ASCII) or not 1 <= int(text) <= MAX_PAGE:
        raise ValueError(f"must be an integer, 1..{MAX_PAGE}")
    return int(text)


def _feed_place(text: str) -> str:
    try:
        return feed_place(text)
    except InvalidInput as error:
        raise ValueError(error.message) from None


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


Days = Annotated[int, BeforeValidator(_days), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 400, "default": 7})]
Flag = Annotated[bool, BeforeValidator(_flag), WithJsonSchema({"type": "boolean", "default": False})]
After = Annotated[int, BeforeValidator(_after), WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 10**15 - 1, "default": 0})]
EventLimit = Annotated[
    int, BeforeValidator(_event_limit), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 100})
]
FeedPlace = Annotated[
    str, BeforeValidator(_feed_place), WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,15}-[0-9]{1,15}$", "examples": ["0-0"]})
]
Moment = Annotated[int, BeforeValidator(_milliseconds), WithJsonSchema({"type": "string", "format": "date-time"})]
StatusWord = Annotated[
    JobStatus, BeforeValidator(_status), WithJsonSchema({"type": "string", "enum": [*(status.value for status in JobStatus), _CANCELED]})
]
Limit = Annotated[
    int, BeforeValidator(_limit), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT})
]


class WebhookRequest(BaseModel):
    """Who is to be told of a job's end."""

    model_config = ConfigDict(strict=True, extra="forbid")

    url: str = Field(
        max_length=MAX_URL, description="https, a public address, no user name or password.", examples=["https://hooks.example/x"]
    )
    events: list[Literal["job.completed", "job.failed", "job.cancelled"]] = Field(
        default_factory=list, max_length=20, description="The events to send. Absent or empty: every end."
    )


class JobFields(BaseModel):
    """What to run and how, for whomever."""

    model_config = ConfigDict(strict=True, extra="forbid")

    url: str | None = Field(
        None,
        max_length=MAX_URL,
        description="The media to process: an http or https URL without a user name or password, or the `upload://` address of a "
        "complete upload of this tenant and workspace. Required by pipelines with `needs_url`.",
    )
    quality: str | None = Field(
        None, max_length=64, description="One of the pipeline's `qualities`, for example `1080p`. Absent: the pipeline's default."
    )
    pipeline: Name = Field("media", description="The pipeline to run: a name from `GET /pipeline/pipelines`.")
    params: dict[str, Any] = Field(
        default_factory=dict, description="Parameters of the pipeline; `GET /pipeline/pipelines` has their JSON schema."
    )
    priority: int = Field(0, ge=PRIORITY_MIN, le=PRIORITY_MAX, description="Jobs with a higher priority start sooner within a workspace.")
    max_attempts: int | None = Field(
        None,
        ge=1,
        le=MAX_ATTEMPTS,
        description="Maximum number of attempts if a stage fails with a retryable error. Absent: the pipeline's own maximum.",
    )
    deadline_seconds: float | None = Field(
        None,
        gt=0,
        le=MAX_SECONDS,
        allow_inf_nan=False,
        description="If the job has not ended after this many seconds, it fails with the code `deadline_exceeded`.",
    )
    ttl_seconds: float | None = Field(
        None,
        gt=0,
        le=MAX_SECONDS,
        allow_inf_nan=False,
        description="If the job has not started after this many seconds, it fails with the code `expired`.",
    )
    run_at: Moment | None = Field(
        None, description="RFC 3339 date-time before which the job does not start. Absent or in the past: it starts as soon as possible."
    )
    depends_on: Annotated[list[JobId], AfterValidator(lambda ids: list(dict.fromkeys(ids)))] = Field(
        default_factory=list,
        max_length=MAX_DEPENDENCIES,
        description="Jobs of the tenant that must end before this job starts (`reason` is `dependency` until then).",
    )
    on_dependency_failure: Literal["fail", "cancel", "run"] = Field(
        "fail", description="What happens if one of them fails or is cancelled: this job fails, is cancelled, or runs anyway."
    )
    tags: Annotated[list[Word], AfterValidator(lambda tags: list(dict.fromkeys(tags)))] = Field(
        default_factory=list, max_length=MAX_TAGS, description="Tags for filtering; duplicates are removed."
    )
    metadata: dict[str, Any] = Field(default_factory=dict, description="Your own data, returned unchanged. At most 16 KB of JSON.")

    webhook: WebhookRequest | None = Field(
        None, description="A URL that the job is sent to when it ends, signed with the tenant's webhook secret (Standard Webhooks)."
    )

    def to_new_job(self) -> NewJob:
        """Of the default tenant and workspace, unless it says more.

        :raises InvalidInput: `params` or `metadata` hold a value that no store keeps (names the path)."""
        check_json(self.params, "params")
        check_json(self.metadata, "metadata")
        return NewJob(
            url=self.url,
            quality=self.quality,
            pipeline=self.pipeline,
            params=self.params,
            tenant_id=getattr(self, "tenant_id", DEFAULT_TENANT),
            workspace_id=getattr(self, "workspace_id", DEFAULT_WORKSPACE),
            priority=self.priority,
            max_attempts=self.max_attempts,
            deadline_seconds=self.deadline_seconds,
            ttl_seconds=self.ttl_seconds,
            run_at=self.run_at,
            depends_on=tuple(self.depends_on),
            on_dependency_failure=self.on_dependency_failure,
            tags=tuple(self.tags),
            metadata=self.metadata,
            webhook=self.webhook.model_dump() if self.webhook else None,
        )


class JobRequest(JobFields):
    """A job to be made."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"url": "https://youtube.com/watch?v=xtFiJ8AVdW0", "quality": "1080p", "tenant_id": "acme", "workspace_id": "main"}
            ]
        },
    )

    tenant_id: Name = Field(DEFAULT_TENANT, description="The tenant of the job.")
    workspace_id: Name = Field(DEFAULT_WORKSPACE, description="The workspace of the tenant.")


class RunRequest(JobRequest):
    """A job to be made and waited for."""

    timeout: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Maximum time to wait, in seconds. Default and maximum: PIPELINE_RUN_TIMEOUT_SECONDS (60). 0: do not wait.",
    )


class Parameters(BaseModel):
    """Parameters or headers, all optional. None means absent, and is nothing that a client could send."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_without_null)


class ListRequest(Parameters):
    """The filters of a list. An unknown one is refused."""

    tenant_id: Name | None = Field(None, description="Jobs of this tenant.")
    workspace_id: Name | None = Field(None, description="Jobs of workspaces with this name.")
    status: list[StatusWord] = Field(
        default_factory=list,
        description="Jobs with one of these: `status=queued,running` or `status=queued&status=running`. `canceled` means `cancelled`.",
    )
    pipeline: Name | None = Field(None, description="Jobs of this pipeline.")
    tag: Word | None = Field(None, description="Jobs with this tag.")
    batch_id: BatchId | None = Field(None, description="Jobs of this batch.")
    created_after: Moment | None = Field(None, description="RFC 3339 date-time.")
    created_before: Moment | None = Field(None, description="RFC 3339 date-time.")
    limit: Limit = Field(DEFAULT_LIMIT, description="Maximum number of jobs on the page.")
    cursor: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(None, description="`next_cursor` of the previous page.")

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

    priority: int | None = Field(None, ge=PRIORITY_MIN, le=PRIORITY_MAX, description="Higher priorities start sooner in a workspace.")
    run_at: Moment | None = Field(None, description="The job does not start before this time. In the past: it starts as soon as possible.")


class WaitHeaders(Parameters):
    """Headers of a request that may wait."""

    prefer: str | None = Field(
        None, alias="Prefer", description="`wait=10`: answer when the job has ended, or after 10 s.", examples=["wait=10"]
    )


class IdempotencyHeaders(Parameters):
    """Headers of a request that makes something."""

    idempotency_key: Annotated[str, Field(min_length=1, max_length=MAX_KEY)] | None = Field(
        None,
        alias="Idempotency-Key",
        description="A unique key for this request, valid for 24 hours in your tenant. Requests with the same key create one job. A "
        "repeated request gets that job (`Idempotent-Replayed: true`), a different request with the same key gets 422.",
    )


class ScheduleHeaders(Parameters):
    """Headers of a request that makes a schedule."""

    idempotency_key: Annotated[str, Field(min_length=1, max_length=MAX_KEY)] | None = Field(
        None,
        alias="Idempotency-Key",
        description="A unique key for this request, valid for 24 hours in your tenant. Requests with the same key create one schedule. "
        "A repeated request gets that schedule (`Idempotent-Replayed: true`), a different one with the same key gets 422.",
    )


class CreateHeaders(WaitHeaders, IdempotencyHeaders):
    """Headers of a request that makes a job."""


class RunHeaders(Parameters):
    """Headers of a request that runs and waits."""

    idempotency_key: Annotated[str, Field(min_length=1, max_length=MAX_KEY)] | None = Field(
        None,
        alias="Idempotency-Key",
        description="A unique key for this request, valid for 24 hours. Requests with the same key run one job. Until it has ended, a "
        "repeated request gets 409; afterwards it gets the result (`Idempotent-Replayed: true`).",
    )


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


class StreamRequest(Parameters):
    """What every stream takes."""

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


class RangeHeaders(Parameters):
    """Headers of a request for a file."""

    range: str | None = Field(None, alias="Range", description="One range of bytes.", examples=["bytes=0-1023"])


class JobPath(BaseModel):
    """Which job."""

    job_id: str = Field(description="`job_{unix seconds}_{8 hex}`; the Celery task id too.", examples=["job_1704326400_abc12345"])


class ArtifactPath(BaseModel):
    """Which file."""

    path: str = Field(description="`{tenant}/{workspace}/{job}/{fence}/{name}`, as in the link of the job's result.")
