"""The job record: frozen, with `evolve` for the next one, and to and from the flat mapping that the store keeps."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline_jobs.exceptions import InvalidInput, PipelineJobsError, StageError
from pipeline_jobs.states import TERMINAL, JobStatus, celery_state
from pipeline_jobs.tenants import DEFAULT_TENANT, DEFAULT_WORKSPACE

#: Version of the record's layout. A worker refuses a record with a higher one.
SCHEMA = 1

#: `job_{unix seconds}_{8 hex}`; it is the Celery task id too.
JOB_ID = re.compile(r"job_[0-9]{1,12}_[0-9a-f]{8}")
#: `batch_{unix seconds}_{8 hex}`.
BATCH_ID = re.compile(r"batch_[0-9]{1,12}_[0-9a-f]{8}")
#: What may stand as the id of a job that was made from a bare Celery message (usually a UUID).
ANY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

PRIORITY_MIN, PRIORITY_MAX = -50, 50

#: Dates that a client may send are from the epoch to this, 9999-12-31T23:59:59.999Z (Unix milliseconds): RFC 3339 has no later ones.
MAX_MOMENT = 253_402_300_799_999
#: 0001-01-01T00:00:00.000Z: nothing earlier can be written.
_MIN_MOMENT = -62_135_596_800_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_job_id(now: float | None = None) -> str:
    """A fresh id. 32 random bits a second collide at scale: submit refuses a taken id and the client draws again."""
    return f"job_{int(time.time() if now is None else now)}_{secrets.token_hex(4)}"


def new_batch_id(now: float | None = None) -> str:
    return f"batch_{int(time.time() if now is None else now)}_{secrets.token_hex(4)}"


def rfc3339(milliseconds: int | None) -> str | None:
    """Unix milliseconds as RFC 3339 in UTC with `Z` and millisecond digits; None stays None.

    A moment outside the years 1 to 9999 is shown as the nearest one inside: a record that has it (none can be made any more) is shown.
    """
    if milliseconds is None:
        return None
    # Not `fromtimestamp`: a float of seconds has no exact milliseconds in distant years, and rounds up out of the year 9999.
    moment = _EPOCH + timedelta(milliseconds=min(max(milliseconds, _MIN_MOMENT), MAX_MOMENT))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_milliseconds(moment: datetime) -> int:
    """A moment with a time zone as Unix milliseconds, rounded down.

    :raises ValueError: in UTC it is not of the years 1970 to 9999, whatever its own zone says.
    """
    # Exact, where a float of seconds is not: 9999-12-31T23:59:59.9999999Z would be of the year 10000.
    milliseconds = (moment - _EPOCH) // timedelta(milliseconds=1)
    if not 0 <= milliseconds <= MAX_MOMENT:
        raise ValueError("must be from 1970-01-01T00:00:00Z to 9999-12-31T23:59:59.999Z, in UTC")
    return milliseconds


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a pipeline gives back, in the brief's shape: `{"success", "data", "error"}`."""

    success: bool
    data: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """`{"success": true, "data": {...}}`, or `{"success": false, "data": {...}, "error": "..."}`."""
        body: dict[str, Any] = {"success": self.success, "data": dict(self.data)}
        if self.error is not None:
            body["error"] = self.error
        return body


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """Why a job failed, for programs."""

    code: str
    message: str
    stage: str | None = None
    retryable: bool = False

    @classmethod
    def of(cls, error: PipelineJobsError, stage: str | None = None) -> ErrorDetail:
        return cls(error.code, error.message, stage, isinstance(error, StageError) and error.retryable)

    def to_dict(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "stage": self.stage, "retryable": self.retryable}


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a client asks for; `client.submit` makes a `Job` of it."""

    url: str | None = None
    quality: str | None = None
    pipeline: str = "media"
    params: Mapping[str, Any] = field(default_factory=dict)
    tenant_id: str = DEFAULT_TENANT
    workspace_id: str = DEFAULT_WORKSPACE
    priority: int = 0
    max_attempts: int | None = None
    #: Fail the job, wherever it is, when it has not ended so many seconds from now.
    deadline_seconds: float | None = None
    #: Fail the job when it has not started so many seconds from now.
    ttl_seconds: float | None = None
    #: Do not start before (Unix milliseconds).
    run_at: int | None = None
    #: Jobs of the tenant that must have ended before this one may start.
    depends_on: tuple[str, ...] = ()
    #: When one of them does not complete: `fail`, `cancel` or `run`.
    on_dependency_failure: str = "fail"
    #: The only workspace whose jobs it may depend on; None: any of the tenant.
    depends_within: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: To be told of its end: `{"url": ..., "events": [...]}`, no event for all.
    webhook: Mapping[str, Any] | None = None


# Without slots: an instance then is the dict of what it was given (`Job.of`), and the 38 fields need not be set one by one for each.
@dataclass(frozen=True)
class Job:
    """One request of a tenant, as the store has it. Times are Unix milliseconds by the server's clock."""

    job_id: str
    status: JobStatus
    pipeline: str
    tenant_id: str
    workspace_id: str
    created_at: int
    url: str | None = None
    quality: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    #: -50..50, higher is sooner, inside its tenant only.
    priority: int = 0
    #: Why it waits, while queued (`states.Reason`).
    reason: str | None = None
    #: The token every write of a run must show: +1 at each dispatch.
    fence: int = 0
    #: +1 at the first claim and after a stage error; limited by `max_attempts`.
    attempt: int = 0
    max_attempts: int = 1
    #: How often a worker died with it. `settings.max_crashes` ends it.
    crashes: int = 0
    #: How often a worker gave it back on purpose (deploys). No limit.
    handbacks: int = 0
    stage: str | None = None
    #: 0-100, never falls within an attempt.
    progress: float = 0.0
    message: str | None = None
    started_at: int | None = None
    completed_at: int | None = None
    #: When TTL cleanup may remove the record (ended jobs only).
    expires_at: int | None = None
    #: When it is failed if it has not ended.
    deadline_at: int | None = None
    #: It was asked not to start before.
    run_at: int | None = None
    #: While it waits, as the API shows it: `{position, reason, limit, current, eta_seconds}`. Not stored: `client.describe` asks for it.
    queue: Mapping[str, Any] | None = None
    #: `StepResult.to_dict()` of a completed job.
    result: Any = None
    error: str | None = None
    error_detail: Mapping[str, Any] | None = None
    cancel_requested: bool = False
    retry_of: str | None = None
    batch_id: str | None = None
    #: Ids of jobs of its tenant that must have ended before it may start.
    depends_on: tuple[str, ...] = ()
    #: What becomes of it when one of them does not complete: `fail` (None is that too), `cancel`, or `run` all the same.
    on_dependency_failure: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: `{"url": ..., "events": [...]}`: who is to be told of its end.
    webhook: Mapping[str, Any] | None = None
    #: Node name of the worker that holds or held it.
    worker: str | None = None
    #: Where its artifacts are, relative to the artifact store; None until `finish` stored it.
    artifacts: str | None = None
    artifact_bytes: int = 0
    #: What its stages gave, for a retry, and what of it lies in the store of artifacts (`outputs.written`).
    outputs: str | None = None
    blobs: str | None = None
    #: Strictly increasing over all jobs of a store (microseconds, made unique): list order and cursor.
    order: int = 0
    schema: int = SCHEMA

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL

    @property
    def celery_state(self) -> str:
        """Celery's word for its state (PENDING, RECEIVED, RETRY, STARTED, PROGRESS, SUCCESS, FAILURE, REVOKED)."""
        return celery_state(
            self.status, reason=self.reason, progress=self.progress, requeued=bool(self.crashes or self.handbacks or self.attempt)
        )

    def evolve(self, **changes: Any) -> Job:
        """A copy with these fields changed."""
        if not changes.keys() <= _NAMES:
            raise TypeError(f"a job has no {', '.join(sorted(changes.keys() - _NAMES))}")
        job = object.__new__(Job)
        vars(job).update(vars(self))
        vars(job).update(changes)
        return job

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Job:
        """`Job(**values)`, in a tenth of the time: every request and every run makes several."""
        if not values.keys() <= _NAMES:
            raise TypeError(f"a job has no {', '.join(sorted(values.keys() - _NAMES))}")
        job = object.__new__(cls)
        vars(job).update(params={}, metadata={})
        vars(job).update(values)
        return job

    def to_mapping(self) -> dict[str, str]:
        """The flat mapping for the store: absent means None or the default."""
        flat: dict[str, str] = {}
        # What it was not given is its default, and not in its dict.
        for name, value in vars(self).items():
            if value is None or name == "queue":
                continue
            if name in _JSON:
                if value or name == "result":
                    flat[name] = dumps(value)
            elif value != _DEFAULTS[name]:
                flat[name] = "1" if value is True else str(value)
        return flat

    @classmethod
    def from_mapping(cls, flat: Mapping[str, str]) -> Job:
        """The record from what `HGETALL` gave (decoded). Unknown fields of the store's own are left alone.

        :raises KeyError: a required field is missing (not a job record). :raises TypeError, ValueError: one cannot be read.
        """
        values: dict[str, Any] = {
            "job_id": flat["job_id"],
            "status": JobStatus(flat["status"]),
            "pipeline": flat["pipeline"],
            "tenant_id": flat["tenant_id"],
            "workspace_id": flat["workspace_id"],
            "created_at": int(flat["created_at"]),
        }
        for name, text in flat.items():
            if (kind := _KINDS.get(name)) is not None:
                values[name] = kind(text)
        return cls.of(values)

    def to_dict(self) -> dict[str, Any]:
        """The body that the HTTP API shows (`docs/api.md`): the brief's keys and ours."""
        return {
            "job_id": self.job_id,
            "status": self.status.value,
            "reason": self.reason,
            "url": self.url,
            "quality": self.quality,
            "pipeline": self.pipeline,
            "params": dict(self.params),
            "tenant_id": self.tenant_id,
            "workspace_id": self.workspace_id,
            "priority": self.priority,
            "attempt": self.attempt,
            "max_attempts": self.max_attempts,
            "stage": self.stage,
            "progress": self.progress,
            "message": self.message,
            "created_at": rfc3339(self.created_at),
            "started_at": rfc3339(self.started_at),
            "completed_at": rfc3339(self.completed_at),
            "expires_at": rfc3339(self.expires_at),
            "deadline_at": rfc3339(self.deadline_at),
            "run_at": rfc3339(self.run_at),
            "queue": dict(self.queue) if self.queue else None,
            "result": self.result,
            "error": self.error,
            "error_detail": dict(self.error_detail) if self.error_detail else None,
            "cancel_requested": self.cancel_requested,
            "retry_of": self.retry_of,
            "batch_id": self.batch_id,
            "depends_on": list(self.depends_on),
            "on_dependency_failure": (self.on_dependency_failure or "fail") if self.depends_on else None,
            "tags": list(self.tags),
            "metadata": dict(self.metadata),
            "webhook": dict(self.webhook) if self.webhook else None,
        }

    def to_body(self, public_url: str) -> dict[str, Any]:
        """`to_dict` with links, as GET answers it and webhooks carry it.

        :param public_url: address of the API without a trailing slash; empty: links are paths.
        """
        link = f"{public_url}/pipeline/jobs/{self.job_id}"
        return {**self.to_dict(), "urls": {"self": link, "cancel": link + "/cancel"}}


def dumps(value: Any) -> str:
    """Compact JSON, UTF-8 left as it is.

    :raises InvalidInput: the value is not JSON (NaN, a set, ...).
    """
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"not a JSON value: {error}") from None


#: Made once: `json.dumps` makes one a call.
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_JSON = frozenset({"params", "metadata", "tags", "depends_on", "result", "error_detail", "webhook"})
_STRINGS = frozenset(
    {
        "url", "quality", "reason", "stage", "message", "error", "retry_of", "batch_id", "on_dependency_failure", "worker", "artifacts",
        "outputs", "blobs",
    }
)  # fmt: skip
_INTEGERS = frozenset(
    {
        "priority", "fence", "attempt", "max_attempts", "crashes", "handbacks", "started_at",
        "completed_at", "expires_at", "deadline_at", "run_at", "artifact_bytes", "order", "schema",
    }
)  # fmt: skip


def _tuple(text: str) -> tuple[Any, ...]:
    return tuple(json.loads(text))


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError("not a JSON object")
    return value


#: How the text of a field that may be absent is read.
_KINDS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(_STRINGS, lambda text: text or None),
    **dict.fromkeys(_INTEGERS, int),
    **dict.fromkeys(_JSON, json.loads),
    **dict.fromkeys(("params", "metadata", "error_detail", "webhook"), _object),
    "tags": _tuple,
    "depends_on": _tuple,
    "progress": float,
    "cancel_requested": lambda text: text == "1",
}
#: Every field, and its default.
_DEFAULTS = {f.name: f.default for f in fields(Job)}
_NAMES = frozenset(_DEFAULTS)
