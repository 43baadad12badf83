"""What the HTTP face needs from the rest, as protocols. `wsgi.py` brings the real ones, unit tests bring fakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from pipeline_jobs.access.api_keys import ApiKey, Role
from pipeline_jobs.access.audit import Row
from pipeline_jobs.events.hub import Follower
from pipeline_jobs.events.log import FeedPage, LogPage
from pipeline_jobs.events.tokens import StreamTokens
from pipeline_jobs.files.uploads import Checksum, Upload
from pipeline_jobs.job import Job, NewJob, StepResult
from pipeline_jobs.jobs.batches import Batch, BatchQuery, Made, NewBatch
from pipeline_jobs.jobs.bulk import Cancelled
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.jobs.pipeline_limits import PipelineLimits
from pipeline_jobs.operation.erase import Erased
from pipeline_jobs.operation.overview import Now
from pipeline_jobs.operation.usage import Day
from pipeline_jobs.pipelines import Registry, registry
from pipeline_jobs.rates import Sender
from pipeline_jobs.schedules.schedule import CatchUp, Outcome, Overlap, Schedule
from pipeline_jobs.schedules.scheduler import NewSchedule, Planned
from pipeline_jobs.store.idempotency import Accepted
from pipeline_jobs.store.pages import Page
from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.webhooks.endpoints import Endpoint, TenantSecret
from pipeline_jobs.webhooks.ledger import Delivery
from pipeline_jobs.webhooks.signing import Draw


class Client(Protocol):
    """The way in: `pipeline_jobs.jobs.client`."""

    def accept(self, new: NewJob, *, idempotency_key: str | None = None, sender: Sender | None = None) -> Accepted:
        """The job, durably accepted.


        :raises InvalidInput: names the field; `UnknownPipeline` is one.
        :raises StoreUnavailable: nothing was accepted.
        """

    def retry(
        self, job_id: str, *, from_stage: str | None = None, idempotency_key: str | None = None, sender: Sender | None = None
    ) -> Accepted:
        """A new job that runs an ended one again.

        :raises UnknownJob: there is none.
        :raises JobNotEnded: it has not ended.
        :raises InvalidInput: there is no such stage.
        """

    def change(self, job_id: str, *, priority: int | None = None, run_at: int | None = None) -> Job:
        """Change a waiting job.

        :raises UnknownJob: there is none.
        :raises JobNotWaiting: it waits no more.
        """

    def list(self, query: JobQuery) -> Page[Job]:
        """One page, newest first.

        :raises InvalidInput: a filter or the cursor is wrong.
        :raises StoreUnavailable: try again later.
        """


class Batches(Protocol):
    """Many jobs as one: `pipeline_jobs.jobs.batches`. Every method raises `StoreUnavailable` when the store cannot be asked."""

    def create(self, new: NewBatch, *, partial: bool = False, idempotency_key: str | None = None, sender: Sender | None = None) -> Made:
        """The batch, durably accepted.

        :raises InvalidInput: names the field; `InvalidItems`: each wrong job.
        """

    def get(self, batch_id: str) -> Batch:
        """:raises UnknownBatch: there is none."""

    def list(self, query: BatchQuery) -> Page[Batch]:
        """One page, newest first.

        :raises InvalidInput: a filter or the cursor is wrong.
        """

    def cancel(self, batch_id: str) -> Cancelled:
        """Ask for the end of all its jobs.

        :raises UnknownBatch: there is none.
        """

    def cancel_matching(self, query: JobQuery, *, dry_run: bool) -> Cancelled:
        """Ask for the end of the live jobs of a list.

        :raises InvalidInput: a filter or the cursor is wrong.
        """


class JobHandle(Protocol):
    """Celery's AsyncResult of a job. Every method raises `StoreUnavailable` when the store cannot be asked."""

    def record(self) -> Job:
        """:raises UnknownJob: there is none."""

    def revoke(self) -> Job:
        """Cancel. The record after it: `cancelled`, or `running` with `cancel_requested`, or unchanged if it had ended.

        :raises UnknownJob: there is none.
        """

    def forget(self) -> None:
        """Delete an ended job with its artifacts.

        :raises JobNotEnded: cancel it first.
        :raises UnknownJob: there is none.
        """

    def until_ended(self, timeout: float) -> Job:
        """The record when the job has ended, or as it is after `timeout` seconds.

        :raises UnknownJob: there is none (any more).
        """


class Artifacts(Protocol):
    """The artifact store. Paths are relative to it: `{tenant}/{workspace}/{job}/{fence}/{name}`."""

    def verify(self, path: str, signature: str) -> bool:
        """True if we signed this path."""

    def open(self, path: str) -> BinaryIO:
        """:raises FileNotFoundError: there is no such file."""

    def size(self, path: str) -> int:
        """In bytes.

        :raises FileNotFoundError: there is no such file.
        """


class ApiKeys(Protocol):
    """The API keys: `pipeline_jobs.access.api_keys.KeyStore`. Every method raises `StoreUnavailable` when the store cannot be asked."""

    def create(
        self, tenant_id: str, role: Role, *, actor: str, name: str = "", workspace_id: str | None = None, expires_at: int | None = None
    ) -> tuple[ApiKey, str]:
        """A new key and its text.

        :raises InvalidInput: names the field.
        """

    def get(self, key_id: str) -> ApiKey | None:
        """The key, good or not."""

    def list(self, tenant_id: str | None = None) -> list[ApiKey]:
        """A tenant's keys, newest first."""

    def revoke(self, tenant_id: str, key_id: str, *, actor: str) -> ApiKey | None:
        """End a key; None: the tenant has none with this id."""

    def erase(self, tenant_id: str) -> int:
        """Remove a tenant's keys, records and all. :return: how many there were."""

    def touch(self, key_id: str, now_ms: int) -> None:
        """Note that it was used."""

    def required(self) -> bool:
        """A key was made once."""


class AuditLog(Protocol):
    """`pipeline_jobs.access.audit`, over the store. Both raise `StoreUnavailable`."""

    def record(self, actor: str, action: str, target: str, detail: Mapping[str, Any] | None = None) -> None:
        """Write a row. `actor` is `caller().actor`."""

    def page(self, cursor: str | None, limit: int) -> Page[Row]:
        """Rows, newest first, and the cursor of the next page.

        :raises InvalidInput: the cursor is not one of ours.
        """


class Tenants(Protocol):
    """What there is to say of a tenant besides its jobs. Every method raises `StoreUnavailable` when the store cannot be asked."""

    def limits(self, tenant_id: str) -> TenantLimits:
        """Its own limits; of `*` the defaults."""

    def set_limits(self, tenant_id: str, limits: TenantLimits) -> TenantLimits:
        """Put these in the place of those it had."""

    def usage(self, tenant_id: str, days: int) -> list[Day]:
        """The last so many days, today first."""

    def erase(self, tenant_id: str, *, dry_run: bool) -> Erased:
        """Erase it, or count what would go."""


class Uploads(Protocol):
    """`pipeline_jobs.files.uploads.Uploads`. Every method raises `StoreUnavailable` when the store cannot be asked."""

    @property
    def max_bytes(self) -> int:
        """Of the largest upload."""

    def create(self, tenant_id: str, workspace_id: str, length: int, metadata: Mapping[str, str] | None = None) -> Upload:
        """Begin one.

        :raises UploadTooLarge: `StorageFull`, `TooManyUploads` too.
        """

    def get(self, upload_id: str) -> Upload:
        """:raises UnknownUpload:"""

    def page(self, tenant_id: str, workspace_id: str | None = None, *, cursor: str | None = None, limit: int = 25) -> Page[Upload]:
        """A tenant's, newest first.

        :raises InvalidInput: the cursor is not one of ours.
        """

    def write(self, upload: Upload, offset: int, read: Callable[[int], bytes], checksum: Checksum | None = None) -> Upload:
        """Append what `read` gives.

        :raises UploadConflict: and `UploadLocked`, `UploadTooLarge`, `ChecksumMismatch`, `UnknownUpload`, `Interrupted`.
        """

    def delete(self, upload_id: str) -> None:
        """Remove it.

        :raises UploadInUse: a live job needs it. :raises UnknownUpload:
        """


class Overview(Protocol):
    """`pipeline_jobs.operation.overview`, over the store. Both raise `StoreUnavailable`."""

    def now(self, tenant_id: str | None) -> Now:
        """What waits and runs, of a tenant or (None) of all."""

    def tenants(self, most: int) -> list[str]:
        """Tenants that ever had a job, the busiest first."""


class Endpoints(Protocol):
    """`pipeline_jobs.webhooks.endpoints`. Every method raises `StoreUnavailable` when the store cannot be asked, and `UnknownEndpoint`."""

    def create(self, tenant_id: str, url: str, events: Sequence[str] = (), description: str = "") -> tuple[Endpoint, str]:
        """A new endpoint and its secret.

        :raises InvalidInput: names the field.
        """

    def get(self, endpoint_id: str) -> Endpoint: ...

    def list(self, tenant_id: str | None, cursor: str | None, limit: int) -> Page[Endpoint]:
        """A tenant's, or all, newest first.

        :raises InvalidInput: the cursor is not one of ours.
        """

    def update(self, endpoint_id: str, **changes: Any) -> Endpoint:
        """Change what is not None.

        :raises InvalidInput: names the field.
        """

    def delete(self, endpoint_id: str) -> None: ...

    def rotate(self, endpoint_id: str) -> tuple[Endpoint, str]:
        """The endpoint and its new secret."""

    def test(self, endpoint_id: str) -> str:
        """The id of the delivery.

        :raises EndpointDisabled:
        """

    def tenant_secret(self, tenant_id: str, *, rotate: bool = False) -> TenantSecret:
        """What signs the webhooks of a tenant's jobs."""


class Ledger(Protocol):
    """`pipeline_jobs.webhooks.ledger`. Every method raises `StoreUnavailable` when the store cannot be asked."""

    def get(self, delivery_id: str) -> Delivery:
        """:raises UnknownDelivery: there is none."""

    def of_subject(self, subject: str) -> Sequence[Delivery]:
        """Those that tell of a job, oldest first."""

    def list(self, tenant_id: str, status: str | None, cursor: str | None, limit: int) -> Page[Delivery]:
        """A tenant's, newest first.

        :raises InvalidInput: the cursor is not one of ours.
        """

    def redeliver(self, delivery_id: str) -> Delivery:
        """Send it now. :raises UnknownDelivery:"""


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Endpoints, secrets and deliveries."""

    endpoints: Endpoints
    ledger: Ledger
    #: The text of a secret.
    reveal: Callable[[Draw], str]


class PipelineCaps(Protocol):
    """`pipeline_jobs.jobs.pipeline_limits`, over the store. Both raise `StoreUnavailable`."""

    def of(self, pipeline: str) -> PipelineLimits:
        """What holds, and how much of it is taken."""

    def set(self, pipeline: str, max_concurrent: int | None) -> PipelineLimits:
        """Set the cap; None: what the pipeline declares."""


class Schedules(Protocol):
    """Schedules: `pipeline_jobs.schedules.scheduler`. Every method raises `StoreUnavailable` when the store cannot be asked; all that are
    given an id raise `UnknownSchedule` when there is none of it."""

    def create(self, new: NewSchedule, *, idempotency_key: str | None = None, sender: Sender | None = None) -> Planned:
        """:raises InvalidInput: names the field; `TooManySchedules` is one."""

    def get(self, schedule_id: str) -> Schedule:
        """The schedule."""

    def list(
        self, *, tenant_id: str | None = None, workspace_id: str | None = None, cursor: str | None = None, limit: int = 25
    ) -> Page[Schedule]:
        """One page, newest first, and the cursor of the next.

        :raises InvalidInput: the cursor is not one of ours.
        """

    def log(self, schedule_id: str, limit: int = 20) -> Sequence[Outcome]:
        """What became of its last slots, newest first."""

    def upcoming(self, schedule: Schedule, n: int) -> Sequence[int]:
        """Its next slots, in Unix milliseconds."""

    def change(
        self,
        schedule_id: str,
        *,
        cron: str | None = None,
        timezone: str | None = None,
        name: str | None = None,
        overlap: Overlap | None = None,
        catch_up: CatchUp | None = None,
        job: NewJob | None = None,
    ) -> Schedule:
        """:raises InvalidInput: names the field."""

    def pause(self, schedule_id: str) -> Schedule:
        """Fire nothing until it is resumed."""

    def resume(self, schedule_id: str) -> Schedule:
        """Go on with the first slot from now on."""

    def delete(self, schedule_id: str) -> None:
        """Its jobs go on."""

    def run_now(self, schedule_id: str, *, idempotency_key: str | None = None, sender: Sender | None = None) -> Accepted:
        """Make its job now.

        :raises TryLater: a limit is in the way.
        """


class Events(Protocol):
    """The event logs: `events.hub.Hub`. Every method but `stop_when` raises `StoreUnavailable` when the store cannot be asked."""

    def page(self, job_id: str, after: int, limit: int) -> LogPage:
        """Events of a job. :raises UnknownJob:"""

    def feed(self, tenant_id: str, after: str, limit: int, workspace_id: str | None = None) -> FeedPage:
        """Events of a tenant."""

    def feed_end(self, tenant_id: str) -> str:
        """Where only what is still to come follows."""

    def follow(self, job_id: str, tenant_id: str, after: int = 0, is_gone: Callable[[], bool] = ...) -> Follower:
        """Follow a job."""

    def follow_feed(self, tenant_id: str, after: str, workspace_id: str | None = None, is_gone: Callable[[], bool] = ...) -> Follower:
        """Follow a tenant."""

    def stop_when(self, is_stopping: Callable[[], bool]) -> None:
        """End all streams as soon as this is true."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything the HTTP face stands on."""

    client: Client
    batches: Batches
    #: `results(job_id)` gives the handle; it asks the store nothing yet.
    results: Callable[[str], JobHandle]
    #: Runs a pipeline in this process (the queue is off). Raises `InvalidInput`, or `StageError` when a stage failed.
    run_in_process: Callable[[NewJob], StepResult]
    artifacts: Artifacts
    #: The Prometheus text.
    metrics: Callable[[], bytes]
    #: `{"store": {"ok": true, "reason": null}, "broker": ..., "workers": ..., "beat": ...}`.
    readiness: Callable[[], Mapping[str, Mapping[str, Any]]]
    keys: ApiKeys
    audit: AuditLog
    tenants: Tenants
    uploads: Uploads
    schedules: Schedules
    overview: Overview
    #: The key that signs the page's sessions.
    secret: Callable[[], str]
    webhooks: Webhooks
    pipeline_limits: PipelineCaps
    events: Events
    stream_tokens: StreamTokens
    pipelines: Registry = registry
