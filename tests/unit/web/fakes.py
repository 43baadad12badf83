"""The ports of the HTTP face, in memory. Rules of submission are the real client's; only the store is missing."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

from pydantic import BaseModel, ConfigDict, Field

from pipeline_jobs.access.api_keys import ApiKey, Role, check_scope, digest
from pipeline_jobs.access.audit import Row
from pipeline_jobs.events.tokens import StreamTokens
from pipeline_jobs.exceptions import (
    ChecksumMismatch,
    InvalidInput,
    InvalidItems,
    JobGone,
    JobNotEnded,
    JobNotWaiting,
    KeyReused,
    UnknownBatch,
    UnknownJob,
    UnknownUpload,
    UploadConflict,
    UploadInUse,
    UploadTooLarge,
)
from pipeline_jobs.files.uploads import Checksum, Interrupted, Upload
from pipeline_jobs.job import Job, NewJob, StepResult
from pipeline_jobs.jobs.batches import Batch, BatchQuery, Made, NewBatch, WrongJob
from pipeline_jobs.jobs.bulk import Cancelled
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.jobs.pipeline_limits import PipelineLimits
from pipeline_jobs.operation.erase import Erased
from pipeline_jobs.operation.overview import Now
from pipeline_jobs.operation.usage import Day
from pipeline_jobs.pipelines import Pipeline, Registry, Stage
from pipeline_jobs.rates import Rate, Sender
from pipeline_jobs.schedules.schedule import Outcome, Schedule
from pipeline_jobs.schedules.schedule_store import Fired, ScheduleStore
from pipeline_jobs.schedules.scheduler import Scheduler
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.cursors import read_cursor, write_cursor
from pipeline_jobs.store.idempotency import Accepted
from pipeline_jobs.store.pages import Page
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.web.ports import Events, Parts, Webhooks

from .fake_events import FakeEvents
from .fake_webhooks import FakeEndpoints, FakeLedger

SIGNATURE = "good-signature"
#: 2025-01-03T12:00:00Z, the brief's own moment.
NOON = 1_735_905_600_000


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    weight: float = Field(1.0, gt=0)


class SleepParams(BaseModel):
    model_config = ConfigDict(extra="forbid")
    seconds: float = Field(0.0, ge=0, le=3600)
    steps: int = Field(10, ge=1, le=1000)
    parts: list[Part] = []


def nothing(context: Any) -> None:
    """A stage."""


def make_registry() -> Registry:
    registry = Registry()
    registry.register(
        Pipeline("media", (Stage("fetch", nothing, 2), Stage("publish", nothing)), qualities=("720p", "1080p"), description="A film.")
    )
    registry.register(Pipeline("sleep", (Stage("sleep", nothing),), params=SleepParams, needs_url=False))
    return registry


class FakeJobs:
    """Client and results in one: every job by its id."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self.rules = Client(cast(Store, SimpleNamespace(made_before=self.made_before)), registry, settings)
        self.jobs: dict[str, Job] = {}
        #: Raised by every operation on the store, when set.
        self.failure: Exception | None = None
        #: Called when a request begins to wait for a job; stands for what the worker does meanwhile.
        self.while_waiting: Callable[[str], object] = lambda job_id: None
        self.waits: list[float] = []
        self.queries: list[JobQuery] = []
        #: What a submit says it was held against.
        self.rates: list[Rate] = []
        #: Who submitted, in order.
        self.senders: list[Sender | None] = []
        self.made_by_key: dict[tuple[str, str, str], tuple[NewJob, str]] = {}

    def made_before(self, job_id: str) -> Accepted:
        if job_id not in self.jobs:
            raise JobGone
        return Accepted(self.jobs[job_id], replayed=True)

    def accept(self, new: NewJob, *, idempotency_key: str | None = None, sender: Sender | None = None) -> Accepted:
        job = self.rules.prepare(new)
        self.ask()
        self.senders.append(sender)
        if idempotency_key is not None:
            name = (new.tenant_id, sender.scope if sender else "", idempotency_key)
            if name in self.made_by_key:
                made, job_id = self.made_by_key[name]
                if made != new:
                    raise KeyReused
                return self.made_before(job_id)
            self.made_by_key[name] = (new, f"job_1735905600_{len(self.jobs) + 1:08x}")
        order = len(self.jobs) + 1
        made = self.put(job.evolve(job_id=f"job_1735905600_{order:08x}", created_at=NOON + order * 1000, order=order))
        return Accepted(made, tuple(self.rates) if sender is not None else ())

    def retry(
        self, job_id: str, *, from_stage: str | None = None, idempotency_key: str | None = None, sender: Sender | None = None
    ) -> Accepted:
        old = self.results(job_id).record()
        if not old.ended:
            raise JobNotEnded
        if from_stage not in (None, "fetch", "publish", "sleep"):
            raise InvalidInput("from_stage must be one of: fetch, publish", field="from_stage")
        new = NewJob(
            url=old.url, pipeline=old.pipeline, tenant_id=old.tenant_id, workspace_id=old.workspace_id, priority=len(from_stage or "")
        )
        made = self.accept(new, idempotency_key=None if idempotency_key is None else f"retry {idempotency_key}")
        return replace(made, job=self.put(made.job.evolve(retry_of=job_id)))

    def list(self, query: JobQuery) -> Page[Job]:
        self.ask()
        self.queries.append(query)
        if query.cursor is not None and not query.cursor.isdecimal():
            raise InvalidInput("cursor is not one that a list gave", field="cursor")
        before = int(query.cursor) if query.cursor else 2**62
        found = [job for job in sorted(self.jobs.values(), key=lambda job: -job.order) if job.order < before and _matches(job, query)]
        page = found[: query.limit]
        return Page(tuple(page), str(page[-1].order) if len(found) > len(page) else None)

    def results(self, job_id: str) -> FakeHandle:
        return FakeHandle(self, job_id)

    def ask(self) -> None:
        if self.failure is not None:
            raise self.failure

    def wait(self, job_id: str, timeout: float) -> None:
        """A request waits for a job."""
        self.waits.append(timeout)
        self.while_waiting(job_id)

    def put(self, job: Job) -> Job:
        self.jobs[job.job_id] = job
        return job

    def change(self, job_id: str, **changes: Any) -> Job:
        """Set any fields; of a client's `change` (priority, run_at) None means as it is."""
        if set(changes) == {"priority", "run_at"}:
            self.ask()
            if self.jobs[job_id].status is not JobStatus.QUEUED:
                raise JobNotWaiting
            changes = {name: value for name, value in changes.items() if value is not None}
        return self.put(self.jobs[job_id].evolve(**changes))

    def start(self, job_id: str) -> Job:
        return self.change(job_id, status=JobStatus.RUNNING, reason=None, attempt=1, started_at=NOON, stage="fetch", progress=5.0)

    def complete(self, job_id: str, **data: Any) -> Job:
        result = StepResult(True, data).to_dict()
        return self.change(job_id, status=JobStatus.COMPLETED, result=result, progress=100.0, completed_at=NOON, reason=None, stage=None)


def _matches(job: Job, query: JobQuery) -> bool:
    return (
        query.tenant_id in (None, job.tenant_id)
        and query.workspace_id in (None, job.workspace_id)
        and query.within in (None, job.workspace_id)
        and query.batch_id in (None, job.batch_id)
        and (not query.statuses or job.status in query.statuses)
        and query.pipeline in (None, job.pipeline)
        and (query.tag is None or query.tag in job.tags)
        and (query.created_after is None or job.created_at > query.created_after)
        and (query.created_before is None or job.created_at < query.created_before)
    )


@dataclass
class FakeHandle:
    jobs: FakeJobs
    job_id: str

    def record(self) -> Job:
        self.jobs.ask()
        try:
            return self.jobs.jobs[self.job_id]
        except KeyError:
            raise UnknownJob from None

    def revoke(self) -> Job:
        job = self.record()
        if job.ended:
            return job
        if job.status is JobStatus.RUNNING:
            return self.jobs.change(self.job_id, cancel_requested=True)
        return self.jobs.change(self.job_id, status=JobStatus.CANCELLED, cancel_requested=True, completed_at=NOON, reason=None)

    def forget(self) -> None:
        if not self.record().ended:
            raise JobNotEnded
        del self.jobs.jobs[self.job_id]

    def until_ended(self, timeout: float) -> Job:
        self.record()
        self.jobs.wait(self.job_id, timeout)
        return self.record()


@dataclass
class FakeBatches:
    """Batches over the fake jobs."""

    jobs: FakeJobs
    batches: dict[str, Batch] = field(default_factory=dict)
    made_by_key: dict[tuple[str, str], tuple[NewBatch, Made]] = field(default_factory=dict)

    def create(self, new: NewBatch, *, partial: bool = False, idempotency_key: str | None = None, sender: Sender | None = None) -> Made:
        self.jobs.ask()
        if idempotency_key is not None and (known := self.made_by_key.get((new.tenant_id, idempotency_key))):
            if known[0] != new:
                raise KeyReused
            return replace(known[1], replayed=True)
        errors = [
            {**error, "field": f"jobs.{number}.{error['field']}"} for number, job in enumerate(new.jobs) for error in self._wrong(job)
        ]
        good = [job for job in new.jobs if isinstance(job, NewJob) and not self._wrong(job)]
        if errors and not (partial and good):
            raise InvalidItems(errors)
        batch_id = f"batch_1735905600_{len(self.batches) + 1:08x}"
        ids: list[str | None] = []
        for job in new.jobs:
            if isinstance(job, WrongJob) or self._wrong(job):
                ids.append(None)
            else:
                made = self.jobs.accept(replace(job, tenant_id=new.tenant_id, workspace_id=new.workspace_id)).job
                ids.append(self.jobs.put(made.evolve(batch_id=batch_id)).job_id)
        counts = {**dict.fromkeys(JobStatus, 0), JobStatus.QUEUED: len(good)}
        order = len(self.batches) + 1
        self.batches[batch_id] = Batch(batch_id, new.tenant_id, new.workspace_id, NOON, len(good), counts, None, new.metadata, order)
        result = Made(self.batches[batch_id], tuple(ids), tuple(errors))
        if idempotency_key is not None:
            self.made_by_key[new.tenant_id, idempotency_key] = (new, result)
        return result

    def get(self, batch_id: str) -> Batch:
        self.jobs.ask()
        try:
            return self.batches[batch_id]
        except KeyError:
            raise UnknownBatch from None

    def list(self, query: BatchQuery) -> Page[Batch]:
        self.jobs.ask()
        if query.workspace_id is not None and query.tenant_id is None:
            raise InvalidInput("workspace_id needs tenant_id", field="workspace_id")
        before = read_cursor(query.cursor)
        found = [
            batch
            for batch in sorted(self.batches.values(), key=lambda batch: -batch.order)
            if (before is None or batch.order < before)
            and query.tenant_id in (None, batch.tenant_id)
            and query.workspace_id in (None, batch.workspace_id)
        ]
        page = found[: query.limit]
        return Page(tuple(page), write_cursor(page[-1].order) if len(found) > len(page) else None)

    def cancel(self, batch_id: str) -> Cancelled:
        self.get(batch_id)
        return self.cancel_matching(JobQuery(batch_id=batch_id), dry_run=False)

    def cancel_matching(self, query: JobQuery, *, dry_run: bool) -> Cancelled:
        self.jobs.ask()
        read_cursor(query.cursor)
        found = [job for job in self.jobs.jobs.values() if not job.ended and _matches(job, query)]
        stopping = sum(job.status is JobStatus.RUNNING for job in found)
        for job in [] if dry_run else found:
            self.jobs.results(job.job_id).revoke()
        return Cancelled(len(found), len(found) - stopping, stopping, None)

    def _wrong(self, job: NewJob | WrongJob) -> tuple[Mapping[str, str], ...]:
        if isinstance(job, WrongJob):
            return job.errors
        try:
            self.jobs.rules.prepare(job)
        except InvalidInput as error:
            return ({"field": error.field or "", "message": error.message, "code": error.code},)
        return ()


@dataclass
class FakeArtifacts:
    files: dict[str, bytes] = field(default_factory=dict)
    opened: list[io.BytesIO] = field(default_factory=list)

    def verify(self, path: str, signature: str) -> bool:
        return signature == SIGNATURE

    def open(self, path: str) -> BinaryIO:
        file = io.BytesIO(self._bytes(path))
        self.opened.append(file)
        return file

    def size(self, path: str) -> int:
        return len(self._bytes(path))

    def _bytes(self, path: str) -> bytes:
        try:
            return self.files[path]
        except KeyError:
            raise FileNotFoundError(path) from None


@dataclass
class FakeKeys:
    """API keys by id. Their moments are `NOON`; whether one is good is told by the real clock."""

    keys: dict[str, ApiKey] = field(default_factory=dict)
    #: Raised by every method, when set.
    failure: Exception | None = None
    #: What was asked of the store, in order.
    asked: list[str] = field(default_factory=list)
    touched: list[str] = field(default_factory=list)

    def create(
        self, tenant_id: str, role: Role, *, actor: str, name: str = "", workspace_id: str | None = None, expires_at: int | None = None
    ) -> tuple[ApiKey, str]:
        self._ask("create")
        check_scope(tenant_id, workspace_id, role)
        key_id, secret = f"{len(self.keys) + 1:016x}", f"{len(self.keys) + 1:0>43}"
        key = ApiKey(key_id, name, tenant_id, workspace_id, role, NOON, expires_at, hash=digest(secret))
        self.keys[key_id] = key
        return key, f"pjk_{key_id}_{secret}"

    def get(self, key_id: str) -> ApiKey | None:
        self._ask("get")
        return self.keys.get(key_id)

    def list(self, tenant_id: str | None = None) -> list[ApiKey]:
        self._ask("list")
        return [key for key in reversed(self.keys.values()) if tenant_id in (None, key.tenant_id)]

    def revoke(self, tenant_id: str, key_id: str, *, actor: str) -> ApiKey | None:
        self._ask("revoke")
        key = self.keys.get(key_id)
        if key is None or key.tenant_id != tenant_id:
            return None
        self.keys[key_id] = replace(key, revoked_at=key.revoked_at or NOON)
        return self.keys[key_id]

    def erase(self, tenant_id: str) -> int:
        self._ask("erase")
        gone = [key_id for key_id, key in self.keys.items() if key.tenant_id == tenant_id]
        for key_id in gone:
            del self.keys[key_id]
        return len(gone)

    def touch(self, key_id: str, now_ms: int) -> None:
        self.touched.append(key_id)
        self._ask("touch")

    def required(self) -> bool:
        self._ask("required")
        return bool(self.keys)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.failure is not None:
            raise self.failure


@dataclass
class FakeAudit:
    rows: list[Row] = field(default_factory=list)

    def record(self, actor: str, action: str, target: str, detail: Mapping[str, Any] | None = None) -> None:
        self.rows.insert(0, Row(f"{NOON + len(self.rows)}-0", actor, action, target, detail or {}))

    def page(self, cursor: str | None, limit: int) -> Page[Row]:
        if cursor is not None and not cursor.isdecimal():
            raise InvalidInput("cursor is not one that a list gave", field="cursor")
        start = int(cursor or 0)
        following = start + limit
        return Page(tuple(self.rows[start:following]), str(following) if len(self.rows) > following else None)


@dataclass
class FakeTenants:
    kept: dict[str, TenantLimits] = field(default_factory=dict)
    erased: list[str] = field(default_factory=list)

    def limits(self, tenant_id: str) -> TenantLimits:
        return self.kept.get(tenant_id, TenantLimits())

    def set_limits(self, tenant_id: str, limits: TenantLimits) -> TenantLimits:
        self.kept[tenant_id] = limits
        return limits

    def usage(self, tenant_id: str, days: int) -> list[Day]:
        return [Day(f"2025-01-{day:02d}", 2, 1, 1, 0, 1.5, 0.1, 0.2) for day in range(min(days, 28), 0, -1)]

    def erase(self, tenant_id: str, *, dry_run: bool) -> Erased:
        if not dry_run:
            self.erased.append(tenant_id)
        return Erased(3, 0, 7, done=not dry_run)


class FakeScheduleStore(ScheduleStore):
    """Schedules by their id; the clock stands at `NOON`."""

    def __init__(self, jobs: FakeJobs) -> None:
        self.jobs = jobs
        self.found: dict[str, Schedule] = {}
        self.lines: dict[str, list[Outcome]] = {}
        #: By tenant and key: the fingerprint of the request, and what it made.
        self.made_by_key: dict[tuple[str, str], tuple[str, str]] = {}

    def now(self) -> int:
        self.jobs.ask()
        return NOON

    def put(
        self, schedule: Schedule, *, before: str = "", most: int = 0, keep_next: bool = False, idempotency: tuple[str, str] | None = None
    ) -> tuple[str, str]:
        if (made := self._made_before(schedule.tenant_id, idempotency)) is not None:
            return "same", made
        if not before and sum(one.tenant_id == schedule.tenant_id for one in self.found.values()) >= most:
            return "full", ""
        known = self.found.get(schedule.schedule_id, schedule.evolve(created_at=NOON, order=len(self.found) + 1))
        following = known.next_run_at if keep_next else schedule.next_run_at
        self.found[schedule.schedule_id] = schedule.evolve(
            created_at=known.created_at, order=known.order, updated_at=NOON, next_run_at=following
        )
        self._remember(schedule.tenant_id, idempotency, schedule.schedule_id)
        return "ok", schedule.schedule_id

    def get(self, schedule_id: str) -> Schedule | None:
        self.jobs.ask()
        return self.found.get(schedule_id)

    def log(self, schedule_id: str, limit: int) -> list[Outcome]:
        return self.lines.get(schedule_id, [])[:limit]

    def page(self, tenant_id: str | None, workspace_id: str | None, cursor: str | None, limit: int) -> Page[Schedule]:
        self.jobs.ask()
        below = read_cursor(cursor)
        newest = sorted(self.found.values(), key=lambda one: -one.order)
        mine = [one for one in newest if tenant_id in (None, one.tenant_id) and workspace_id in (None, one.workspace_id)]
        left = [one for one in mine if below is None or one.order < below]
        return Page(tuple(left[:limit]), write_cursor(left[limit - 1].order) if len(left) > limit else None)

    def remove(self, schedule_id: str) -> bool:
        self.jobs.ask()
        return self.found.pop(schedule_id, None) is not None

    def fire(
        self,
        schedule: Schedule,
        slot: int | None,
        job: Job | None,
        nonce: str,
        *,
        idempotency: tuple[str, str] | None = None,
        sender: Sender | None = None,
        **options: Any,
    ) -> Fired:
        assert job is not None
        self.jobs.ask()
        self.jobs.senders.append(sender)
        if (known := self._made_before(schedule.tenant_id, idempotency)) is not None:
            return Fired("refused", refusal=SimpleNamespace(became="same", id=known))
        self._remember(schedule.tenant_id, idempotency, job.job_id)
        made = self.jobs.put(job.evolve(order=len(self.jobs.jobs) + 1))
        self.lines.setdefault(schedule.schedule_id, []).insert(0, Outcome("manual", NOON, NOON, NOON, 1, made.job_id))
        return Fired("fired", job=made, rates=tuple(self.jobs.rates) if sender is not None else ())

    def _made_before(self, tenant_id: str, idempotency: tuple[str, str] | None) -> str | None:
        if idempotency is None or (known := self.made_by_key.get((tenant_id, idempotency[0]))) is None:
            return None
        if known[0] != idempotency[1]:
            raise KeyReused
        return known[1]

    def _remember(self, tenant_id: str, idempotency: tuple[str, str] | None, made: str) -> None:
        if idempotency is not None:
            self.made_by_key[tenant_id, idempotency[0]] = (idempotency[1], made)


class OpenGuard:
    """Jobs are taken."""

    def __init__(self, jobs: FakeJobs) -> None:
        self._jobs = jobs

    def check(self) -> bool:
        self._jobs.ask()
        return False


def make_scheduler(jobs: FakeJobs) -> Scheduler:
    """The real one's rules over a store in memory."""
    jobs.rules.guard = cast(Any, OpenGuard(jobs))
    return Scheduler(jobs.rules, FakeScheduleStore(jobs))


def in_memory_webhooks() -> Webhooks:
    endpoints = FakeEndpoints()
    return Webhooks(endpoints, FakeLedger(endpoints), lambda draw: f"whsec_{draw.nonce}")


@dataclass
class FakeUploads:
    """Uploads in memory. Who writes when is the real one's business."""

    kept: dict[str, Upload] = field(default_factory=dict)
    data: dict[str, bytes] = field(default_factory=dict)
    max_bytes: int = 10_000_000
    #: Raised by every method, when set.
    failure: Exception | None = None
    used: set[str] = field(default_factory=set)

    def create(self, tenant_id: str, workspace_id: str, length: int, metadata: Mapping[str, str] | None = None) -> Upload:
        self._ask()
        if length > self.max_bytes:
            raise UploadTooLarge("Upload-Length: too large")
        upload_id = f"{len(self.kept) + 1:024x}"
        done = None if length else NOON
        self.kept[upload_id] = Upload(upload_id, tenant_id, workspace_id, length, 0, NOON, NOON + 1000, done, metadata or {})
        self.data[upload_id] = b""
        return self.kept[upload_id]

    def get(self, upload_id: str) -> Upload:
        self._ask()
        if upload_id not in self.kept:
            raise UnknownUpload
        return self.kept[upload_id]

    def page(self, tenant_id: str, workspace_id: str | None = None, *, cursor: str | None = None, limit: int = 25) -> Page[Upload]:
        self._ask()
        below = read_cursor(cursor)
        mine = [
            (order, upload)
            for order, upload in reversed(list(enumerate(self.kept.values(), 1)))
            if upload.tenant_id == tenant_id and workspace_id in (None, upload.workspace_id) and (below is None or order < below)
        ]
        following = write_cursor(mine[limit - 1][0]) if len(mine) > limit else None
        return Page(tuple(upload for _, upload in mine[:limit]), following)

    def write(self, upload: Upload, offset: int, read: Callable[[int], bytes], checksum: Checksum | None = None) -> Upload:
        upload = self.get(upload.upload_id)
        if offset != upload.offset:
            raise UploadConflict(upload.offset)
        data, interrupted = b"", None
        try:
            while piece := read(1000):
                data += piece
        except Interrupted as error:
            interrupted = error
        if offset + len(data) > upload.length:
            raise UploadTooLarge("more came than was promised")
        if checksum is not None and (interrupted or hashlib.new(checksum.algorithm, data).digest() != checksum.digest):
            raise interrupted or ChecksumMismatch
        self.data[upload.upload_id] += data
        done = NOON if offset + len(data) == upload.length else None
        self.kept[upload.upload_id] = replace(upload, offset=offset + len(data), completed_at=done)
        if interrupted is not None:
            raise interrupted
        return self.kept[upload.upload_id]

    def delete(self, upload_id: str) -> None:
        self.get(upload_id)
        if upload_id in self.used:
            raise UploadInUse
        del self.kept[upload_id]

    def _ask(self) -> None:
        if self.failure is not None:
            raise self.failure


@dataclass
class FakePipelineCaps:
    kept: dict[str, int | None] = field(default_factory=dict)

    def of(self, pipeline: str) -> PipelineLimits:
        return PipelineLimits(self.kept.get(pipeline), 4, 1)

    def set(self, pipeline: str, max_concurrent: int | None) -> PipelineLimits:
        self.kept[pipeline] = max_concurrent
        return self.of(pipeline)


@dataclass
class FakeOverview:
    jobs: FakeJobs
    slots: int = 4

    def now(self, tenant_id: str | None) -> Now:
        self.jobs.ask()
        mine = [job for job in self.jobs.jobs.values() if tenant_id in (None, job.tenant_id)]
        queued = [job for job in mine if job.status is JobStatus.QUEUED]
        return Now(len(queued), sum(job.status is JobStatus.RUNNING for job in mine), self.slots, 1.0 if queued else None)

    def tenants(self, most: int) -> list[str]:
        return sorted({job.tenant_id for job in self.jobs.jobs.values()})[:most]


@dataclass
class World:
    """Everything behind the app under test."""

    jobs: FakeJobs
    batches: FakeBatches
    artifacts: FakeArtifacts = field(default_factory=FakeArtifacts)
    readiness: dict[str, Mapping[str, Any]] = field(
        default_factory=lambda: {name: {"ok": True, "reason": None} for name in ("store", "broker", "workers", "beat")}
    )
    keys: FakeKeys = field(default_factory=FakeKeys)
    audit: FakeAudit = field(default_factory=FakeAudit)
    tenants: FakeTenants = field(default_factory=FakeTenants)
    uploads: FakeUploads = field(default_factory=FakeUploads)
    schedules: Scheduler = field(init=False)
    webhooks: Webhooks = field(default_factory=in_memory_webhooks)
    pipeline_caps: FakePipelineCaps = field(default_factory=FakePipelineCaps)
    events: FakeEvents = field(init=False)
    #: What an in-process run does.
    in_process: Callable[[NewJob], StepResult] = lambda new: StepResult(True, {"url": new.url})

    def __post_init__(self) -> None:
        self.schedules = make_scheduler(self.jobs)
        self.events = FakeEvents(self.jobs.jobs, while_waiting=self.jobs.wait)

    @classmethod
    def make(cls, settings: Settings) -> World:
        jobs = FakeJobs(make_registry(), settings)
        return cls(jobs, FakeBatches(jobs))

    def parts(self) -> Parts:
        return Parts(
            client=self.jobs,
            batches=self.batches,
            results=self.jobs.results,
            run_in_process=lambda new: self.in_process(new),
            artifacts=self.artifacts,
            metrics=self._metrics,
            readiness=lambda: self.readiness,
            keys=self.keys,
            audit=self.audit,
            tenants=self.tenants,
            uploads=self.uploads,
            schedules=self.schedules,
            overview=FakeOverview(self.jobs),
            secret=lambda: "test-secret",
            webhooks=self.webhooks,
            pipeline_limits=self.pipeline_caps,
            events=cast(Events, self.events),
            stream_tokens=StreamTokens(lambda: "secret"),
            pipelines=make_registry(),
        )

    def _metrics(self) -> bytes:
        self.jobs.ask()
        return b"pipeline_jobs_queued 0.0\n"
