"""`/pipeline/jobs`: models of requests and answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipeline_jobs.addresses import MAX_URL
from pipeline_jobs.job import ACCEPTED, FORMER, PRIORITY_MAX, PRIORITY_MIN, NewJob, check_former
from pipeline_jobs.jobs.client import MAX_ATTEMPTS, MAX_DEPENDENCIES, MAX_RETAIN, MAX_SECONDS, MAX_TAGS
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import DEFAULT_TENANT, DEFAULT_WORKSPACE
from pipeline_jobs.web.http.validation import check_json
from pipeline_jobs.web.middleware import note_deprecated
from pipeline_jobs.web.schemas.fields import BatchId, Body, IdempotencyHeaders, JobId, Moment, Name, Parameters, StatusWord, Word
from pipeline_jobs.web.schemas.pages import PageRequest, page_of

Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]


class WebhookRequest(Body):
    """The webhook of a job."""

    url: str = Field(
        max_length=MAX_URL,
        description="An https URL with a public address, without a user name or password.",
        examples=["https://hooks.example/x"],
    )
    events: list[Literal["job.completed", "job.failed", "job.cancelled", "job.waiting"]] = Field(
        default_factory=list, max_length=20, description="The events to send. Absent or empty: all, every end among them."
    )


class JobFields(Body):
    """The job to run, without its tenant and workspace."""

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
        default_factory=dict, description="Parameters of the pipeline: schema `params.{pipeline}`; `GET /pipeline/pipelines` has it, too."
    )
    priority: int = Field(
        0, ge=PRIORITY_MIN, le=PRIORITY_MAX, description="A job with a higher priority starts sooner than others of its workspace."
    )
    max_attempts: int | None = Field(
        None,
        ge=1,
        le=MAX_ATTEMPTS,
        description="Maximum number of attempts if a stage fails with a retryable error. Absent: the pipeline's own maximum.",
    )
    deadline_seconds: Seconds | None = Field(
        None,
        description="If the job has not ended after this many seconds, it fails with the code `deadline_exceeded`.",
    )
    retain_seconds: Annotated[float, Field(gt=0, le=MAX_RETAIN, allow_inf_nan=False)] | None = Field(
        None,
        description="How long its files stay after its end, and at least as long as its record. Absent: PIPELINE_ARTIFACT_TTL_SECONDS.",
    )
    start_within_seconds: Seconds | None = Field(
        None,
        description="If the job has not started after this many seconds, it fails with the code `expired`.",
    )
    # Not pydantic's own `deprecated`: that warns whoever reads the field.
    ttl_seconds: Seconds | None = Field(
        None, description="The former name of `start_within_seconds`.", json_schema_extra={"deprecated": True}
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

    reuse: bool = Field(
        True,
        description="The outputs of its stages are shared between the jobs of the workspace: a stage that was given the same in an earlier "
        "one is not run again. false: all stages run, and no job but this one is given what they give.",
    )
    webhook: WebhookRequest | None = Field(
        None, description="A URL that the job is sent to when it ends, signed with the tenant's webhook secret (Standard Webhooks)."
    )

    def to_new_job(self) -> NewJob:
        """Of the default tenant and workspace, unless it says more.

        :raises InvalidInput: `params` or `metadata` hold a value that no store keeps (names the path)."""
        check_json(self.params, "params")
        check_json(self.metadata, "metadata")
        own = vars(self)
        given = {name: own[name] for name in self.model_fields_set if name in ACCEPTED and own[name] is not None}
        # The types are the schema's already, but for what JSON has no word for.
        for name in given.keys() & _LISTS:
            given[name] = tuple(given[name])
        for former, name in FORMER.items():
            if own[former] is not None:
                check_former(former, given.get(name, own[former]), own[former])
                given[name] = own[former]
                note_deprecated()
        if self.webhook is not None:
            given["webhook"] = self.webhook.model_dump()
        return NewJob(**given)


#: Arrays, which a job has as tuples.
_LISTS = {name for name, kind in ACCEPTED.items() if kind.startswith("tuple")}


class JobRequest(JobFields):
    """A job to create."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"url": "https://youtube.com/watch?v=xtFiJ8AVdW0", "quality": "1080p", "tenant_id": "acme", "workspace_id": "main"}
            ]
        },
    )

    tenant_id: Name = Field(DEFAULT_TENANT, description="The tenant of the job.")
    workspace_id: Name = Field(DEFAULT_WORKSPACE, description="The workspace of the tenant.")


class Filters(BaseModel):
    """What a list of jobs, or a cancel of many, is narrowed to."""

    tenant_id: Name | None = Field(None, description="Jobs of this tenant.")
    workspace_id: Name | None = Field(None, description="Jobs of workspaces with this name.")
    pipeline: Name | None = Field(None, description="Jobs of this pipeline.")
    tag: Word | None = Field(None, description="Jobs with this tag.")
    batch_id: BatchId | None = Field(None, description="Jobs of this batch.")
    error_code: Word | None = Field(None, description="Jobs whose error has this code.", examples=["source_not_found"])
    q: Word | None = Field(
        None,
        description="Jobs with this text in their id, address, tags, metadata, error, batch or title. Letters A to Z match in either case.",
    )
    created_after: Moment | None = Field(None, description="RFC 3339 date-time.")
    created_before: Moment | None = Field(None, description="RFC 3339 date-time.")

    def narrowed(self, statuses: Iterable[str], **page: Any) -> JobQuery:
        """The query of these filters. :param statuses: words; doubled ones count once."""
        filters = {name: getattr(self, name) for name in Filters.model_fields}
        return JobQuery(**filters, statuses=tuple(map(JobStatus, dict.fromkeys(statuses))), **page)


class ListRequest(Filters, PageRequest):
    """The filters of a list. An unknown one is refused."""

    status: list[StatusWord] = Field(
        default_factory=list,
        description="Jobs with any of these statuses: `status=queued,running` or `status=queued&status=running`. `canceled` is accepted "
        "for `cancelled`.",
    )

    include: list[Literal["result", "history"]] = Field(
        default_factory=list,
        description="`result`: with the results that have at most 16 KB of JSON. `history`: also jobs whose records are gone, as the "
        "history has them.",
    )

    def to_query(self) -> JobQuery:
        return self.narrowed(self.status, limit=self.limit, cursor=self.cursor)


class ChangeRequest(Body):
    """Changes to a queued job. Fields that are absent do not change."""

    priority: int | None = Field(
        None, ge=PRIORITY_MIN, le=PRIORITY_MAX, description="A job with a higher priority starts sooner than others of its workspace."
    )
    run_at: Moment | None = Field(None, description="The job does not start before this time. In the past: it starts as soon as possible.")


class JobPath(BaseModel):
    """Which job."""

    job_id: str = Field(description="`job_{unix seconds}_{8 hex}`; the Celery task id too.", examples=["job_1704326400_abc12345"])


class GetRequest(Parameters):
    """Where a job is looked for."""

    include: list[Literal["history"]] = Field(
        default_factory=list, description="`history`: also among the jobs whose records are gone, as the history has them."
    )


class WaitHeaders(Parameters):
    """Headers of a request that may wait."""

    prefer: str | None = Field(
        None, alias="Prefer", description="`wait=10`: answer when the job has ended, or after 10 s.", examples=["wait=10"]
    )


class CreateHeaders(WaitHeaders, IdempotencyHeaders):
    """Headers of a request that creates a job."""


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
    """The result of a pipeline."""

    success: bool = Field(description="False if the job failed or was cancelled.")
    data: dict[str, Any] = Field(description="The pipeline's result; for `media`: transcript, summary, drive_url, ...")
    error: str | None = Field(None, description="The error, if `success` is false.")
    cached: bool = Field(False, description="True: some stages did not run, because another job had given their output. Absent: all ran.")


class ResultRef(BaseModel):
    """Where a result is that is too large for a list or a webhook."""

    url: str = Field(description="A link to the file; its content is `result`.")
    bytes: int = Field(description="Its size.")
    preview: dict[str, Any] = Field(description="Some of its `data`: the first fields that are short, and the beginning of texts.")


class ErrorDetail(BaseModel):
    """Why a job failed, for programs."""

    code: str = Field(examples=["source_not_found"], description="What went wrong, for programs (docs/api.md lists the codes).")
    message: str = Field(description="What went wrong, for people.")
    stage: str | None = Field(description="The stage that failed.")
    retryable: bool = Field(description="Whether the same job may succeed if it is run again.")


class Urls(BaseModel):
    """Links of a job: absolute if PIPELINE_PUBLIC_URL is set, otherwise paths."""

    self: str = Field(description="The job.")
    cancel: str = Field(description="Where a POST cancels it.")


class JobParts(BaseModel):
    """The parts that a job waits for."""

    total: int = Field(description="How many there are.")
    done: int = Field(description="How many have ended.")
    running: int = Field(description="How many run.")
    queued: int = Field(description="How many wait for a slot. The others are opened one by one as these end (`window`).")
    reason: str | None = Field(description="Why those wait: a word as the job's `reason`. null: none waits.")
    pool: str = Field(description="The pool whose workers run them.")


class Queue(BaseModel):
    """Why a job waits."""

    position: int | None = Field(description="Number of jobs of its tenant that start before it, plus 1. null: it cannot start yet.")
    reason: str = Field(description="The same as the job's `reason`.")
    limit: float | int | None = Field(
        description="The limit that is reached: slots of the tenant, of the pipeline or of all workers, or a rate per second. "
        "With the reason `parts`: how many parts there are."
    )
    current: int | None = Field(description="How many of them are in use; of parts: how many have ended.")
    eta_seconds: float | None = Field(description="Estimated time until the job starts, in seconds; null: unknown.")
    pool: str = Field("default", description="The pool whose workers run its next stage. Absent: `default`.")
    parts: JobParts | None = Field(None, description="With the reason `parts`: how far they are. Absent: it waits for none.")


class SignalWord(BaseModel):
    """The first word on a signal, which counts."""

    payload: Any = Field(description="What came with it; null if none came in time.")
    by: str = Field(description="Who sent it: `key:{id}`, `link`, ...; `timeout`: none came in time.")
    at: str = Field(description="When it came.")


class JobWebhook(BaseModel):
    """The webhook of a job."""

    url: str = Field(description="The address that the job is sent to when it ends.")
    events: list[str] = Field(description="Types of events to send; empty: all.")


class Job(BaseModel):
    """One request of a tenant. Times are RFC 3339 in UTC."""

    job_id: str = Field(examples=["job_1704326400_abc12345"], description="`job_{unix seconds}_{8 hex}`; the Celery task id too.")
    status: JobStatus = Field(description="`queued`, `running`, and at the end `completed`, `failed` or `cancelled`.")
    reason: str | None = Field(
        description="Why a queued job waits: fair_share, no_worker, no_worker_for_pool, dispatched, retry, signal, ..."
    )
    url: str | None = Field(description="The media to process; null: its pipeline needs none.")
    quality: str | None = Field(description="One of the pipeline's `qualities`; null: the pipeline has none.")
    pipeline: str = Field(description="The pipeline that is run.")
    params: dict[str, Any] = Field(description="Parameters of the pipeline.")
    tenant_id: str = Field(description="The tenant that it belongs to.")
    workspace_id: str = Field(description="The workspace that it belongs to.")
    priority: int = Field(description="A job with a higher priority starts sooner than others of its workspace.")
    attempt: int = Field(description="The number of the attempt; 0 until a worker first starts the job.")
    max_attempts: int = Field(description="Maximum number of attempts if a stage fails with a retryable error.")
    stage: str | None = Field(description="The stage that is running.")
    progress: float = Field(ge=0, le=100, description="Progress in per cent. It never decreases within an attempt.")
    message: str | None = Field(description="What the stage says of itself.")
    created_at: str = Field(examples=["2025-01-03T12:00:00.000Z"], description="When it was accepted.")
    started_at: str | None = Field(description="Its first start; null: it has not started.")
    attempt_started_at: str | None = Field(description="The start of its last run: another than the first one when it was tried again.")
    completed_at: str | None = Field(description="When it ended, in whatever way; null: it has not.")
    expires_at: str | None = Field(description="When a job that has ended may be deleted.")
    artifacts_expire_at: str | None = Field(description="When its files may be deleted, with or after its record; null: it has none.")
    drive_url: str | None = Field(description="Where the copy of its film is in Google Drive; null: there is none (yet).")
    run_at: str | None = Field(description="The job does not start before this time.")
    queue: Queue | None = Field(description="Why a queued job waits and for how long approximately. Only in the answer about a single job.")
    awaits: str | None = Field(description="The signal that the job waits for; null: it waits for none.")
    awaits_since: str | None = Field(description="Since when it waits for that.")
    awaits_until: str | None = Field(description="When that wait is over; null: it waits for any time.")
    signals: dict[str, SignalWord] = Field(description="The signals that came, by name.")
    deadline_seconds: float | None = Field(description="As it was asked for.")
    retain_seconds: float | None = Field(description="As it was asked for.")
    start_within_seconds: float | None = Field(description="As it was asked for.")
    ttl_seconds: float | None = Field(
        description="The same: the former name of `start_within_seconds`.", json_schema_extra={"deprecated": True}
    )
    deadline_at: str | None = Field(description="The job fails if it has not ended by this time (`deadline_seconds`).")
    result: StepResult | None = Field(
        None, description="The result of a completed job. Absent from lists without `include=result`; null there and in webhooks if large."
    )
    result_ref: ResultRef | None = Field(description="Of a completed job whose result has more than 16 KB of JSON.")
    error: str | None = Field(description="The error of a failed job.")
    error_detail: ErrorDetail | None = Field(description="The error of a failed job, for programs.")
    cancel_requested: bool = Field(description="True if the job will end as cancelled.")
    retry_of: str | None = Field(description="The job that this one is a retry of.")
    request_id: str | None = Field(description="The `X-Request-Id` of the request that made the job. null: no request did, but a schedule.")
    batch_id: str | None = Field(description="The batch of the job.")
    name: str | None = Field(description="The name of the job in its workflow, which is its batch.")
    depends_on: list[str] = Field(description="Jobs that must end before this job starts.")
    on_dependency_failure: Literal["fail", "cancel", "run"] | None = Field(
        description="What happens if one of them does not complete; null: it depends on no job."
    )
    tags: list[str] = Field(description="Tags for filtering.")
    metadata: dict[str, Any] = Field(description="The client's own data, unchanged.")
    reuse: bool = Field(description="As it was asked for.")
    webhook: JobWebhook | None = Field(description="Where the job is sent when it ends; null: nowhere, but to the tenant's endpoints.")
    urls: Urls = Field(description="Links.")


JobList = page_of("JobList", "jobs", Job, "One page of jobs, newest first.", "Number of jobs on this page.")


class Removal(BaseModel):
    """The result of DELETE."""

    job_id: str = Field(description="The job.")
    status: Literal["cancelled", "deleted"] = Field(
        description="`cancelled`: the job had not ended and is cancelled; its record is kept. `deleted`: it had ended; its record is "
        "deleted."
    )
