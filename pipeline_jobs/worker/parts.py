"""What the tasks, the backend, the control commands and the bootsteps of one app share: `app.jobs`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.uploads import Uploads
from pipeline_jobs.job import JOB_ID, Job
from pipeline_jobs.jobs import pipeline_limits
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.jobs.executor import Executor
from pipeline_jobs.operation.canary import Canary
from pipeline_jobs.operation.maintenance import Purge, Reconcile, Rescue
from pipeline_jobs.schedules.fire import Fire
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.store import Rescued
from pipeline_jobs.webhooks.parts import Webhooks
from pipeline_jobs.worker.hints import JOB_TASK

if TYPE_CHECKING:
    from pipeline_jobs.worker.lease import LeaseKeeper

logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class Jobs:
    """The parts of this process."""

    app: Celery
    settings: Settings
    client: Client
    executor: Executor
    purge: Purge
    rescue: Rescue
    reconcile: Reconcile
    canary: Canary
    uploads: Uploads
    fire: Fire
    webhooks: Webhooks
    #: The artifact store, made when first asked for.
    artifacts: Callable[[], ArtifactStore]
    #: Node name and incarnation of the worker this process belongs to; pool children inherit it by fork.
    worker_id: str = "none"
    #: In a worker's main process: who renews the leases.
    keeper: LeaseKeeper | None = field(default=None)

    def is_job(self, task_id: str) -> bool:
        """Whether an id is a job's: by its form, or because there is a record (adopted messages bring ids of their own)."""
        if JOB_ID.fullmatch(task_id):
            return True
        store = self.client.store
        return bool(store.client.exists(store.keys("job", task_id)))

    def declare_pipelines(self) -> None:
        """Make known how many jobs of each pipeline may run at once. :raises StoreUnavailable:"""
        pipeline_limits.declare(self.client.store, self.client.registry.all())

    def say_revoked(self, job: Job) -> None:
        """Tell Flower and `celery events` that a job ended as cancelled where no worker would tell them."""
        kwargs = {"tenant": job.tenant_id, "workspace": job.workspace_id, "pipeline": job.pipeline}
        self._say("task-revoked", job.job_id, terminated=False, signum=None, expired=False, name=JOB_TASK, args="()", kwargs=repr(kwargs))

    def say_cancelled(self, job_id: str) -> None:
        """The same of a job that they know already."""
        self._say("task-revoked", job_id, terminated=False, signum=None, expired=False)

    def say_rescued(self, rescued: Rescued) -> None:
        """Tell them what became of a dead worker's job."""
        if rescued.became == "cancelled":
            self._say("task-revoked", rescued.job_id, terminated=True, signum=None, expired=False)
        elif rescued.became == "failed":
            self._say("task-failed", rescued.job_id, exception="WorkerLost", traceback="")
        elif rescued.became == "queued":
            self._say("task-retried", rescued.job_id, exception="WorkerLost", traceback="")

    def _say(self, event: str, job_id: str, **fields: object) -> None:
        try:
            with self.app.events.default_dispatcher() as dispatcher:
                dispatcher.send(event, uuid=job_id, **fields)
        except self._broker_errors() as error:
            # The record is the truth; a watcher that missed an event is put right by the next one.
            logger.warning("event not sent", event_type=event, job_id=job_id, error=str(error))

    def _broker_errors(self) -> tuple[type[Exception], ...]:
        # A connection that breaks in the middle raises its library's own errors, not kombu's.
        connection = self.app.connection_for_write()
        return (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors)
