"""Models of what requests bring: bodies, parameters, paths. Shape only; what depends on the pipeline is `client`'s to check."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from pipeline_jobs.events.log import MAX_PAGE, feed_place
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import ANY_ID, BATCH_ID, PRIORITY_MAX, PRIORITY_MIN, NewJob, unix_milliseconds
from pipeline_jobs.jobs.client import MAX_ATTEMPTS, MAX_DEPENDENCIES, MAX_SECONDS, MAX_TAG, MAX_TAGS
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import DEFAULT_TENANT, DEFAULT_WORKSPACE, NAME
from pipeline_jobs.urls import MAX_URL
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

    tenant_id: Name = Field(DEFAULT_TENANT, description="Whose job it is.")
    workspace_id: Name = Field(DEFAULT_WORKSPACE, description="The tenant's workspace.")


class RunRequest(JobRequest):
    """A job to be made and waited for."""

    timeout: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Longest to wait, in seconds. Default and cap: PIPELINE_RUN_TIMEOUT_SECONDS (60). 0: do not wait.",
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
        description="Jobs in any of these states: `status=queued,running` or `status=queued&status=running`. `canceled` is `cancelled`.",
    )
    pipeline: Name | None = Field(None, description="Jobs of this pipeline.")
    tag: Word | None = Field(None, description="Jobs with this tag.")
    batch_id: BatchId | None = Field(None, description="Jobs of this batch.")
    created_after: Moment | None = Field(None, description="RFC 3339 date-time.")
    created_before: Moment | None = Field(None, description="RFC 3339 date-time.")
    limit: Limit = Field(DEFAULT_LIMIT, description="Most jobs on the page.")
    cursor: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(None, description="`next_cursor` of the page before.")

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
        description="A key of yours for this request, good for 24 hours in your tenant: however often it is sent, it makes one job. The "
        "repetition is answered with that job (`Idempotent-Replayed: true`), another request with the same key 422.",
    )


class ScheduleHeaders(Parameters):
    """Headers of a request that makes a schedule."""

    idempotency_key: Annotated[str, Field(min_length=1, max_length=MAX_KEY)] | None = Field(
        None,
        alias="Idempotency-Key",
        description="A key of yours for this request, good for 24 hours in your tenant: however often it is sent, it makes one schedule. "
        "The repetition is answered with that schedule (`Idempotent-Replayed: true`), another request with the same key 422.",
    )


class CreateHeaders(WaitHeaders, IdempotencyHeaders):
    """Headers of a request that makes a job."""


class RunHeaders(Parameters):
    """Headers of a request that runs and waits."""

    idempotency_key: Annotated[str, Field(min_length=1, max_length=MAX_KEY)] | None = Field(
        None,
        alias="Idempotency-Key",
        description="A key of yours for this request, good for 24 hours: however often it is sent, it runs one job. While that runs, a "
        "repetition is answered 409; afterwards with its result (`Idempotent-Replayed: true`).",
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


class RangeHeaders(Parameters):
    """Headers of a request for a file."""

    range: str | None = Field(None, alias="Range", description="One range of bytes.", examples=["bytes=0-1023"])


class JobPath(BaseModel):
    """Which job."""

    job_id: str = Field(description="`job_{unix seconds}_{8 hex}`; the Celery task id too.", examples=["job_1704326400_abc12345"])


class ArtifactPath(BaseModel):
    """Which file."""

    path: str = Field(description="`{tenant}/{workspace}/{job}/{fence}/{name}`, as in the link of the job's result.")
