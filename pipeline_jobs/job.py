"""The job record: frozen, with `evolve` for the next one, and to and from the flat mapping that the store keeps."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from pipeline_jobs.exceptions import InvalidInput, PipelineJobsError, StageError
from pipeline_jobs.records import HIDDEN, NOT_STORED, Layout, Moment, given_only
from pipeline_jobs.records import MAX_MOMENT as MAX_MOMENT  # whoever has a job asks here for these
from pipeline_jobs.records import default_of as default_of
from pipeline_jobs.records import differing as differing
from pipeline_jobs.records import dumps as dumps
from pipeline_jobs.records import rfc3339 as rfc3339
from pipeline_jobs.records import unicode as unicode
from pipeline_jobs.records import unix_milliseconds as unix_milliseconds
from pipeline_jobs.runlog.secret_params import revealed
from pipeline_jobs.states import TERMINAL, JobStatus
from pipeline_jobs.tenants import DEFAULT_TENANT, DEFAULT_WORKSPACE

#: Version of the record's layout. A worker refuses a record with a higher one. The scripts give 2 to a job that a worker which does not say
#: what it knows may not know (`lua/lib/classes.lua`): such workers have 1; and 3 to one that was parked, which workers of 2 would not park
#: again. A record that says none may be of either.
SCHEMA = 5
#: Of jobs that go from pool to pool, and of those that run in parts and their parts: workers that know less refuse them.
FOR_POOLS, FOR_PARTS = 4, 5

#: `job_{unix seconds}_{8 hex}`; it is the Celery task id too.
JOB_ID = re.compile(r"job_[0-9]{1,12}_[0-9a-f]{8}")
#: `batch_{unix seconds}_{8 hex}`.
BATCH_ID = re.compile(r"batch_[0-9]{1,12}_[0-9a-f]{8}")
#: What may stand as the id of a job that was made from a bare Celery message (usually a UUID).
ANY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: Of a part of a job: the job's, the fence of the run that split it, and its number. No job can have such an id.
PART_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}~[0-9]{1,20}\.[0-9]{1,5}")

PRIORITY_MIN, PRIORITY_MAX = -50, 50


def new_job_id(cell: int = 0, now: float | None = None) -> str:
    """A fresh id. 28 random bits a second collide at scale: submit refuses a taken id and the client draws again.

    :param cell: number of the installation, 0..15: the first of the eight hex digits, so that an id says where its job is.
    """
    return f"job_{int(time.time() if now is None else now)}_{cell:x}{os.urandom(4).hex()[1:]}"


def new_batch_id(now: float | None = None) -> str:
    return f"batch_{int(time.time() if now is None else now)}_{os.urandom(4).hex()}"


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a pipeline gives back, in the brief's shape: `{"success", "data", "error"}`."""

    success: bool
    data: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    #: Some of its stages did not run: other jobs had given their output.
    cached: bool = False

    def to_dict(self) -> dict[str, Any]:
        """`{"success": true, "data": {...}}`, or `{"success": false, "data": {...}, "error": "..."}`."""
        body: dict[str, Any] = {"success": self.success, "data": dict(self.data)}
        if self.error is not None:
            body["error"] = self.error
        return {**body, "cached": True} if self.cached else body


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """Why a job failed, for programs."""

    code: str
    message: str
    stage: str | None = None
    retryable: bool = False

    @classmethod
    def of(cls, error: PipelineJobsError, stage: str | None = None) -> ErrorDetail:
        return cls(error.code, unicode(error.message), stage, isinstance(error, StageError) and error.retryable)

    def to_dict(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "stage": self.stage, "retryable": self.retryable}


def reference_of(job_id: str, result: Any) -> str | None:
    """The path of the file in which a job's result lies (`jobs/results.py`); None: `result` is the result itself.

    Only the job's own: what a task that is no job gave may look alike.
    """
    path = result.get("result_ref") if result is not None and isinstance(result, Mapping) else None
    return path if isinstance(path, str) and path.split("/")[2:3] == [job_id] else None


def read_signal(text: str) -> dict[str, Any]:
    """The first word on a signal, as `Job.signals` has it, from what the store has (`lua/lib/signals.lua`)."""
    found: dict[str, Any] = json.loads(text)
    return {**found, "at": rfc3339(found["at"])}


#: Names of fields that clients may still use: what each is called now. What is kept has the former name for one release more.
FORMER = {"ttl_seconds": "start_within_seconds"}
_FORMER_OF = {name: former for former, name in FORMER.items()}


def by_former_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as the release before calls them, in their order."""
    return {_FORMER_OF.get(name, name): value for name, value in values.items()}


# What is said of a field, besides its type. By default it is stored under its own name, shown, and (of `NewJob`) accepted from clients.
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
    #: Keep its files so many seconds after its end; never shorter than its record.
    retain_seconds: float | None = None
    #: Fail the job when it has not started so many seconds after it was accepted.
    start_within_seconds: float | None = field(default=None, metadata={"stored": "ttl_seconds"})
    #: Do not start before.
    run_at: Moment | None = field(default=None, metadata=_STARTS)
    #: Ids of jobs of its tenant that must have ended before it may start.
    depends_on: tuple[str, ...] = field(default=(), metadata=_STARTS)
    #: What becomes of it when one of them does not complete: `fail`, `cancel`, or `run` all the same.
    on_dependency_failure: str = field(default="fail", metadata=_STARTS)
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: Its stages may be given what other jobs were given by them, and give it to others (docs/reuse.md).
    reuse: bool = True
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
    #: Longest that its run may take, if that is less than its pipeline and its tenant allow (Celery's `time_limit`).
    max_run_seconds: float | None = field(default=None, metadata=_OURS)

    if not TYPE_CHECKING:
        __init__ = given_only("params", "metadata")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> NewJob:
        """From the fields by name as JSON has them: an array is a tuple, null is the default.

        :raises InvalidInput: there is no such field, or its value is of another type.
        """
        given: dict[str, Any] = {}
        for called, value in values.items():
            name = FORMER.get(called, called)
            if name not in ACCEPTED:
                raise InvalidInput(f"unknown field {name!r}", field=name)
            if value is not None:
                check_former(called, given.get(name, value), value)
                given[name] = _taken(name, value)
        return cls(**given)


#: The fields of a new job that clients may give, and their types.
ACCEPTED: Mapping[str, str] = {f.name: str(f.type) for f in fields(NewJob) if f.metadata.get("accepted", True)}
#: Those of them that say when or after what it starts.
STARTS = frozenset(f.name for f in fields(NewJob) if f.metadata.get("starts"))
#: What a field may be given as, by its type, and the words for it.
_GIVEN: Mapping[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("str", "str | None"), ((str,), "a string")),
    **dict.fromkeys(("int", "int | None", "Moment | None"), ((int,), "an integer")),
    "bool": ((bool,), "a boolean"),
    "float | None": ((int, float), "a number"),
    "tuple[str, ...]": ((list, tuple), "a list of strings"),
    **dict.fromkeys(("Mapping[str, Any]", "Mapping[str, Any] | None"), ((dict, Mapping), "an object")),
}
_TAKEN = {name: _GIVEN[kind] for name, kind in ACCEPTED.items()}


def check_former(called: str, one: Any, other: Any) -> None:
    """:raises InvalidInput: a field has two values, by its two names."""
    if one != other:
        raise InvalidInput(f"{called}: this field has a second name and another value by that", field=called)


def _taken(name: str, value: Any) -> Any:
    types, words = _TAKEN[name]
    items: Any = value if isinstance(value, list | tuple) else ()
    # True is an integer to Python, and to nobody else.
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types) or not all(isinstance(item, str) for item in items):
        raise InvalidInput(f"{name} must be {words}", field=name)
    return tuple(value) if isinstance(value, list) else value


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
    fence: int = field(default=0, metadata=HIDDEN)
    #: What pydantic hides of its `params`, which have asterisks there (`secret_params.dumped`).
    secret_params: tuple[Mapping[str, Any], ...] = field(default=(), metadata=HIDDEN)
    max_run_seconds: float | None = field(default=None, metadata=HIDDEN)
    #: +1 at the first claim and after a stage error; limited by `max_attempts`.
    attempt: int = 0
    max_attempts: int = 1
    #: How often a worker died with it. `settings.max_crashes` ends it, unless another job may have killed the worker.
    crashes: int = field(default=0, metadata=HIDDEN)
    #: How often a worker gave it back on purpose (deploys). No limit.
    handbacks: int = field(default=0, metadata=HIDDEN)
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
    #: The signal that it waits for, since when, and until when (None: for any time).
    awaits: str | None = None
    awaits_since: Moment | None = None
    awaits_until: Moment | None = None
    #: The first word on each signal by its name, `{"payload": ..., "by": who, "at": RFC 3339}`; `by` is `timeout` where none came in time.
    #: The store has them one by one (`lua/lib/signals.lua`).
    signals: Mapping[str, Any] = field(default_factory=dict)
    #: While it waits, as the API shows it: `{position, reason, limit, current, eta_seconds}`. Not stored: `client.describe` asks for it.
    queue: Mapping[str, Any] | None = field(default=None, metadata=NOT_STORED)
    #: `StepResult.to_dict()` of a completed job, or the reference to it (`jobs/results.py`).
    result: Any = None
    error: str | None = None
    error_detail: Mapping[str, Any] | None = None
    cancel_requested: bool = False
    retry_of: str | None = None
    #: Of the request that made it, and its place in a trace (`correlation`).
    request_id: str | None = None
    traceparent: str | None = field(default=None, metadata=HIDDEN)
    batch_id: str | None = None
    #: What it is called in its workflow.
    name: str | None = None
    #: Of the retry of a job that depended on others: those, whose results it may read, too.
    parents: tuple[str, ...] = field(default=(), metadata=HIDDEN)
    #: Where it waits or runs (`pools`); None: in `default`.
    pool: str | None = field(default=None, metadata=HIDDEN)
    #: Node name of the worker that holds or held it.
    worker: str | None = field(default=None, metadata=HIDDEN)
    #: Where its artifacts are, relative to the artifact store; None until `finish` stored it.
    artifacts: str | None = field(default=None, metadata=HIDDEN)
    artifact_bytes: int = field(default=0, metadata=HIDDEN)
    #: When they may be removed; the record may go before.
    artifacts_expire_at: Moment | None = None
    #: Where the copy of its film is in Google Drive, from the moment that it is there.
    drive_url: str | None = None
    #: What its stages gave, for a retry, and what of it lies in the store of artifacts (`outputs.written`).
    outputs: str | None = field(default=None, metadata=HIDDEN)
    blobs: str | None = field(default=None, metadata=HIDDEN)
    #: The stages that did not run because another job had given their output, comma separated; and from which stage on none may be.
    cached: str | None = field(default=None, metadata=HIDDEN)
    fresh_from: str | None = field(default=None, metadata=HIDDEN)
    #: Of a part of a job: that job. It is no job then, and only who runs it sees it.
    part_of: str | None = field(default=None, metadata=HIDDEN)
    #: Of a part, as it is claimed: `{"stage", "number", "of"}`; None: its split is over.
    part: Mapping[str, Any] | None = field(default=None, metadata=HIDDEN)
    #: Of a job whose parts have ended or run: the fence of the run that split it, and the stage (`lua/lib/parts.lua`).
    split: str | None = field(default=None, metadata=HIDDEN)
    #: Number of the last line of its log that was written.
    log_lines: int = field(default=0, metadata=HIDDEN)
    #: Strictly increasing over all jobs of a store (microseconds, made unique): list order and cursor.
    order: int = field(default=0, metadata=HIDDEN)
    schema: int = field(default=1, metadata=HIDDEN)

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL

    def evolve(self, **changes: Any) -> Job:
        """A copy with these fields changed."""
        if not changes.keys() <= _LAYOUT.names:
            raise TypeError(f"a job has no {', '.join(sorted(changes.keys() - _LAYOUT.names))}")
        job = object.__new__(Job)
        vars(job).update(vars(self))
        vars(job).update(changes)
        return job

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Job:
        """`Job(**values)`, in a tenth of the time: every request and every run makes several."""
        if not values.keys() <= _LAYOUT.names:
            raise TypeError(f"a job has no {', '.join(sorted(values.keys() - _LAYOUT.names))}")
        job = object.__new__(cls)
        own = vars(job)
        own.update(values)
        for name, make in _LAYOUT.factories:
            if name not in own:
                own[name] = make()
        return job

    def to_mapping(self) -> dict[str, str]:
        """The flat mapping for the store: absent means None or the default, which is not in its dict."""
        return _LAYOUT.write(vars(self))

    def accepted_mapping(self) -> dict[str, str]:
        """The same of a new job, without what the script that accepts it writes itself."""
        return _LAYOUT.write(vars(self), _ACCEPTED)

    @classmethod
    def from_mapping(cls, flat: Mapping[str, str]) -> Job:
        """The record from what `HGETALL` gave (decoded). Unknown fields of the store's own are left alone.

        :raises KeyError: a required field is missing (not a job record). :raises TypeError, ValueError: one cannot be read.
        """
        values = _LAYOUT.read(flat)
        # Started by a worker of the release before, which kept the last start only.
        if "attempt_started_at" in values and "started_at" not in values:
            values["started_at"] = values["attempt_started_at"]
        if "signalled" in flat:
            values["signals"] = {name: read_signal(flat[f"signal:{name}"]) for name in flat["signalled"].split(",")}
        return cls.of(values)

    def asked_again(self) -> NewJob:
        """The request for another job like it: all that was asked, but when or after what to start."""
        values: dict[str, Any] = {name: getattr(self, name) for name in ACCEPTED if name not in STARTS}
        values["params"] = revealed(self.params, self.secret_params)
        if self.deadline_at and self.deadline_seconds is None:
            # Accepted by the release before, which kept the moment only.
            values["deadline_seconds"] = (self.deadline_at - self.created_at) / 1000
        return NewJob(**values)

    @property
    def result_ref(self) -> str | None:
        """Path of the file with its result; None: the record has it."""
        return reference_of(self.job_id, self.result)

    def to_dict(self, link: Callable[[str], str] = str) -> dict[str, Any]:
        """The body that the HTTP API shows (`docs/api.md`): the brief's keys and ours. A result that lies in a file is a `result_ref`.

        :param link: makes the address of a file of its path.
        """
        body = _LAYOUT.show(self)
        body |= {"result_ref": None, **{former: body[name] for former, name in FORMER.items()}}
        if (path := self.result_ref) is not None:
            kept, body["result"] = self.result, None
            body["result_ref"] = {"url": link(path), "bytes": kept["result_bytes"], "preview": kept["data"]}
        if not self.depends_on:
            body["on_dependency_failure"] = None
        return body

    def to_body(self, public_url: str, link: Callable[[str], str] = str) -> dict[str, Any]:
        """`to_dict` with links, as GET answers it and webhooks carry it.

        :param public_url: address of the API without a trailing slash; empty: links are paths.
        """
        own = f"{public_url}/pipeline/jobs/{self.job_id}"
        return {**self.to_dict(link), "urls": {"self": own, "cancel": own + "/cancel"}}


_LAYOUT = Layout(Job, JobStatus)
_SCRIPTS_OWN = frozenset({"job_id", "status", "created_at", "order", "reason", "fence", "progress", "deadline_at"})
_ACCEPTED = {name: how for name, how in _LAYOUT.writes.items() if name not in _SCRIPTS_OWN}


def stored_field(name: str, value: Any) -> tuple[str, str]:
    """A field in the record: its name there, and its text."""
    stored, _, write = _LAYOUT.writes[name]
    return stored, write(value)
