"""The job record: frozen, with `evolve` for the next one, and to and from the flat mapping that the store keeps."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from operator import attrgetter
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


#: Unix milliseconds; shown as RFC 3339.
Moment = int

# What is said of a field, besides its type. By default it is stored under its own name, shown, and (of `NewJob`) accepted from clients.
_HIDDEN = {"shown": False}
_ASKED_FOR = {"stored": None}
_OURS = {"accepted": False}
#: It says when or after what a job starts: neither a retry nor the template of a schedule has it.
_STARTS = {"starts": True}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of a job and stays in its record as it was asked. Every way in takes each of these fields."""

    url: str | None = None
    quality: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    #: -50..50, higher is sooner, inside its tenant only.
    priority: int = 0
    #: Fail the job, wherever it is, when it has not ended so many seconds after it was accepted.
    deadline_seconds: float | None = None
    #: Fail the job when it has not started so many seconds after it was accepted.
    ttl_seconds: float | None = None
    #: Do not start before.
    run_at: Moment | None = field(default=None, metadata=_STARTS)
    #: Ids of jobs of its tenant that must have ended before it may start.
    depends_on: tuple[str, ...] = field(default=(), metadata=_STARTS)
    #: What becomes of it when one of them does not complete: `fail`, `cancel`, or `run` all the same.
    on_dependency_failure: str = field(default="fail", metadata=_STARTS)
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: `{"url": ..., "events": [...]}`: who is to be told of its end; no event for all.
    webhook: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class NewJob(Asked):
    """What a client asks for; `client.submit` makes a `Job` of it."""

    pipeline: str = "media"
    tenant_id: str = DEFAULT_TENANT
    workspace_id: str = DEFAULT_WORKSPACE
    #: None: the pipeline's own limit.
    max_attempts: int | None = None
    #: The only workspace whose jobs it may depend on; None: any of the tenant.
    depends_within: str | None = field(default=None, metadata=_OURS)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> NewJob:
        """From the fields by name as JSON has them: an array is a tuple, null is the default.

        :raises InvalidInput: there is no such field.
        """
        for name in values:
            if name not in ACCEPTED:
                raise InvalidInput(f"unknown field {name!r}", field=name)
        given: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
        given.update({name: tuple(value) for name, value in given.items() if isinstance(value, list)})
        return cls(**given)


#: The fields of a new job that clients may give, and their types.
ACCEPTED: Mapping[str, str] = {f.name: str(f.type) for f in fields(NewJob) if f.metadata.get("accepted", True)}
#: Those of them that say when or after what it starts.
STARTS = frozenset(f.name for f in fields(NewJob) if f.metadata.get("starts"))


# Without slots: an instance then is the dict of what it was given (`Job.of`), and the fields need not be set one by one for each.
@dataclass(frozen=True)
class Job(Asked):
    """One request of a tenant, as the store has it. Times are Unix milliseconds by the server's clock."""

    job_id: str
    status: JobStatus
    pipeline: str
    tenant_id: str
    workspace_id: str
    created_at: Moment
    #: Why it waits, while queued (`states.Reason`).
    reason: str | None = None
    #: The token every write of a run must show: +1 at each dispatch.
    fence: int = field(default=0, metadata=_HIDDEN)
    #: +1 at the first claim and after a stage error; limited by `max_attempts`.
    attempt: int = 0
    max_attempts: int = 1
    #: How often a worker died with it. `settings.max_crashes` ends it.
    crashes: int = field(default=0, metadata=_HIDDEN)
    #: How often a worker gave it back on purpose (deploys). No limit.
    handbacks: int = field(default=0, metadata=_HIDDEN)
    stage: str | None = None
    #: 0-100, never falls within an attempt.
    progress: float = 0.0
    message: str | None = None
    #: Its first start. The record has it under another name: workers of the release before write every start into `started_at`.
    started_at: Moment | None = field(default=None, metadata={"stored": "first_started_at"})
    #: The start of its last run.
    attempt_started_at: Moment | None = field(default=None, metadata={"stored": "started_at"})
    completed_at: Moment | None = None
    #: When TTL cleanup may remove the record (ended jobs only).
    expires_at: Moment | None = None
    #: When it is failed if it has not ended.
    deadline_at: Moment | None = None
    #: While it waits, as the API shows it: `{position, reason, limit, current, eta_seconds}`. Not stored: `client.describe` asks for it.
    queue: Mapping[str, Any] | None = field(default=None, metadata=_ASKED_FOR)
    #: `StepResult.to_dict()` of a completed job.
    result: Any = None
    error: str | None = None
    error_detail: Mapping[str, Any] | None = None
    cancel_requested: bool = False
    retry_of: str | None = None
    batch_id: str | None = None
    #: Node name of the worker that holds or held it.
    worker: str | None = field(default=None, metadata=_HIDDEN)
    #: Where its artifacts are, relative to the artifact store; None until `finish` stored it.
    artifacts: str | None = field(default=None, metadata=_HIDDEN)
    artifact_bytes: int = field(default=0, metadata=_HIDDEN)
    #: What its stages gave, for a retry, and what of it lies in the store of artifacts (`outputs.written`).
    outputs: str | None = field(default=None, metadata=_HIDDEN)
    blobs: str | None = field(default=None, metadata=_HIDDEN)
    #: Strictly increasing over all jobs of a store (microseconds, made unique): list order and cursor.
    order: int = field(default=0, metadata=_HIDDEN)
    schema: int = field(default=SCHEMA, metadata=_HIDDEN)

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
        own = vars(job)
        for name, make in _FACTORIES:
            own[name] = make()
        own.update(values)
        return job

    def to_mapping(self) -> dict[str, str]:
        """The flat mapping for the store: absent means None or the default."""
        flat: dict[str, str] = {}
        # What it was not given is its default, and not in its dict.
        for name, value in vars(self).items():
            if value is not None and value != _DEFAULTS[name] and (stored := _STORED[name]):
                flat[stored] = _WRITES[name](value)
        return flat

    @classmethod
    def from_mapping(cls, flat: Mapping[str, str]) -> Job:
        """The record from what `HGETALL` gave (decoded). Unknown fields of the store's own are left alone.

        :raises KeyError: a required field is missing (not a job record). :raises TypeError, ValueError: one cannot be read.
        """
        if missing := _REQUIRED - flat.keys():
            raise KeyError(min(missing))
        values: dict[str, Any] = {}
        for stored, text in flat.items():
            if (known := _READS.get(stored)) is not None:
                name, read = known
                values[name] = read(text)
        # Started by a worker of the release before, which kept the last start only.
        if "attempt_started_at" in values and "started_at" not in values:
            values["started_at"] = values["attempt_started_at"]
        return cls.of(values)

    def asked_again(self) -> NewJob:
        """The request for another job like it: all that was asked, but when or after what to start."""
        values: dict[str, Any] = {name: getattr(self, name) for name in ACCEPTED if name not in STARTS}
        if self.deadline_at and self.deadline_seconds is None:
            # Accepted by the release before, which kept the moment only.
            values["deadline_seconds"] = (self.deadline_at - self.created_at) / 1000
        return NewJob(**values)

    def to_dict(self) -> dict[str, Any]:
        """The body that the HTTP API shows (`docs/api.md`): the brief's keys and ours."""
        values = zip(_SHOWN, _shown(self), strict=True)
        body = {name: value if value is None or show is None else show(value) for (name, show), value in values}
        if not self.depends_on:
            body["on_dependency_failure"] = None
        return body

    def to_body(self, public_url: str) -> dict[str, Any]:
        """`to_dict` with links, as GET answers it and webhooks carry it.

        :param public_url: address of the API without a trailing slash; empty: links are paths.
        """
        link = f"{public_url}/pipeline/jobs/{self.job_id}"
        return {**self.to_dict(), "urls": {"self": link, "cancel": link + "/cancel"}}


def default_of(one: Field[Any]) -> Any:
    """The default of a dataclass's field; MISSING: it has none."""
    return one.default if one.default_factory is MISSING else one.default_factory()


def differing(one: Any) -> dict[str, Any]:
    """Of a dataclass's instance the fields that are not their default."""
    return {f.name: value for f in fields(one) if (value := getattr(one, f.name)) != default_of(f)}


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


def _tuple(text: str) -> tuple[Any, ...]:
    return tuple(json.loads(text))


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError("not a JSON object")
    return value


def _maybe(text: str) -> str | None:
    return text or None


def _flag(text: str) -> bool:
    return text == "1"


def _value(status: JobStatus) -> str:
    return status.value


def _filled(value: Mapping[str, Any]) -> dict[str, Any] | None:
    return dict(value) if value else None


#: By the type of a field: how it is written into the record, how read from there, and how it is shown (None: as it is).
_TYPES: dict[str, tuple[Callable[[Any], str], Callable[[str], Any], Callable[[Any], Any] | None]] = {
    "JobStatus": (str, JobStatus, _value),
    "str": (str, str, None),
    "str | None": (str, _maybe, None),
    "int": (str, int, None),
    "float": (str, float, None),
    "float | None": (str, float, None),
    "bool": (lambda value: "1" if value else "", _flag, None),
    "Moment": (str, int, rfc3339),
    "Moment | None": (str, int, rfc3339),
    "tuple[str, ...]": (dumps, _tuple, list),
    "Mapping[str, Any]": (dumps, _object, dict),
    "Mapping[str, Any] | None": (dumps, _object, _filled),
    "Any": (dumps, json.loads, None),
}
#: Those that the class itself declares come first in what is shown: id and state, then what was asked.
_FIELDS = sorted(fields(Job), key=lambda f: f.name not in Job.__annotations__)
_NAMES = frozenset(f.name for f in _FIELDS)
_FACTORIES: tuple[tuple[str, Callable[[], Any]], ...] = tuple(
    (f.name, f.default_factory) for f in _FIELDS if f.default_factory is not MISSING
)
_DEFAULTS = {f.name: default_of(f) for f in _FIELDS}
_STORED: dict[str, str | None] = {f.name: f.metadata.get("stored", f.name) for f in _FIELDS}
_WRITES = {f.name: _TYPES[str(f.type)][0] for f in _FIELDS}
_READS = {stored: (f.name, _TYPES[str(f.type)][1]) for f in _FIELDS if (stored := _STORED[f.name])}
_REQUIRED = frozenset(f.name for f in _FIELDS if _DEFAULTS[f.name] is MISSING)
_SHOWN = tuple((f.name, _TYPES[str(f.type)][2]) for f in _FIELDS if f.metadata.get("shown", True))
_shown = attrgetter(*(name for name, _ in _SHOWN))


def stored_text(name: str, value: Any) -> str:
    """The text of a field in the record."""
    return _WRITES[name](value)
