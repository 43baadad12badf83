"""How the worker's main process sees a job: what its end means for the record and for whoever watches the events."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import structlog
from celery.exceptions import Ignore, InvalidTaskError, Reject, Retry, Terminated, TimeLimitExceeded, WorkerLostError
from celery.worker.request import Request
from celery.worker.state import task_ready

from pipeline_jobs import failpoints
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.job import ANY_ID
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TENANT_HEADER
from pipeline_jobs.worker.hints import FENCE_HEADER, JOBS_QUEUE, MAINTENANCE_QUEUE
from pipeline_jobs.worker.result import JobFailed

logger = structlog.get_logger(__name__)

#: Header of a bare message, put there by the worker that takes it.
DRAWN_HEADER = "drawn_fence"
#: Fences are microseconds that a script's numbers hold exactly.
MAX_FENCE = 2**53


def draw_fence() -> int:
    """For a message that was never dispatched: of the size of the scripts' own (microseconds), so that it repeats none of its id."""
    return time.time_ns() // 1000


class JobCancelledSignal(Ignore):
    """The run ended because the job was cancelled; the record says so already."""


class JobRequeuedSignal(Ignore):
    """The run ended and the job waits again; the record says so already."""


class JobGivenUpSignal(Ignore):
    """The store was away for so long that the run gave up; the record does not say so yet."""


@dataclass(frozen=True, slots=True)
class LostRun:
    """A run whose process died, for `Store.requeue`."""

    job_id: str
    fence: int
    #: `crash`, `handback` where the worker itself ended it because the store was away, or `fault` where the run did.
    why: str
    error: str
    detail: dict[str, Any]


class TickRequest(Request):
    """The request of a tick of maintenance."""

    def acknowledge(self) -> None:
        """As of jobs. An acknowledgement after a lost connection, on a channel that is closed, is an AttributeError besides."""
        queue = self.app.amqp.queues.consume_from.get(MAINTENANCE_QUEUE)
        if queue is not None and queue.no_ack:
            self.acknowledged = True
        else:
            super().acknowledge()


class JobRequest(Request):
    """The request of `run_job`."""

    def revoked(self) -> bool:
        """Never by this worker's memory: the claim asks the record, which no restart forgets."""
        # Celery makes a subclass with an `execute_using_pool` of its own; this is what it calls with the hint in hand.
        failpoints.reach("worker.after_pop")
        return False

    def acknowledge(self) -> None:
        """Nothing to tell a broker that forgot the message when it gave it (`no_ack`): kombu would send two commands a job."""
        if self.app.amqp.queues[JOBS_QUEUE].no_ack:
            self.acknowledged = True
        else:
            super().acknowledge()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fence = self.request_dict.get(FENCE_HEADER)
        # Both go into scripts, from the lease keeper too, which would fail for all jobs of this worker.
        if not isinstance(self.id, str) or not ANY_ID.fullmatch(self.id):
            raise InvalidTaskError("the message has no id that a job can have")
        if fence is not None and (type(fence) is not int or not 0 < fence < MAX_FENCE):
            raise InvalidTaskError("the message has no fence that a dispatch can have")
        if fence is None:
            # Drawn here, because this process renews the lease of what its child adopts; it travels to the child with the message.
            self.request_dict[DRAWN_HEADER] = draw_fence()

    @property
    def fence(self) -> int:
        """The fence of the hint; that of a bare message is the one it is adopted with."""
        fence: int = self.request_dict.get(DRAWN_HEADER) or self.request_dict[FENCE_HEADER]
        return fence

    @property
    def log_fields(self) -> dict[str, Any]:
        """Whose job a line of this process is about, as far as a message says it."""
        tenant = self.request_dict.get(TENANT_HEADER)
        return {"job_id": self.id, **({"tenant": tenant} if isinstance(tenant, str) else {})}

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """The run did not succeed. Events that Celery has no own word for here are sent by hand (see `docs/celery.md`)."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, JobCancelledSignal):
            return self._ended_as("task-revoked", terminated=False, signum=None, expired=False)
        if isinstance(error, JobRequeuedSignal):
            return self._ended_as("task-retried", exception=str(error), traceback="")
        if isinstance(error, (WorkerLostError, Terminated, TimeLimitExceeded, SystemExit, KeyboardInterrupt)):
            return self._worker_lost(error)
        if isinstance(error, JobGivenUpSignal) or not isinstance(error, (JobFailed, Ignore, Reject, Retry)):
            # The store was away, or something failed that is no pipeline's: Celery's or ours. An ended job is not moved by it.
            return self._given_up(error)
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

    def _worker_lost(self, error: BaseException) -> None:
        """The pool child died with the job. What the record becomes is the script's decision; the event tells it."""
        app, fence = self.app, self.fence
        message = f"the worker process died: {error}"[:300]
        detail = {"code": "worker_lost", "message": message, "stage": None, "retryable": True, "host": self.hostname}
        why = "handback" if app.keeper and app.keeper.gave_up(self.id, fence) else "crash"
        lost = LostRun(self.id, fence, why, message, detail)
        became = None
        try:
            became = app.cell.store.requeue(lost.job_id, lost.fence, lost.why, error=lost.error, error_detail=lost.detail)
        except StoreUnavailable:
            logger.warning("a job lost its process while the store is unavailable: it will be requeued later", **self.log_fields)
            if app.keeper:
                app.keeper.owe(lost)
        if became is JobStatus.CANCELLED:
            self._ended_as("task-revoked", terminated=True, signum=None, expired=False)
        elif became is JobStatus.FAILED:
            self._ended_as("task-failed", exception=repr(error), traceback="")
        else:
            self._ended_as("task-retried", exception=repr(error), traceback="")

    def _given_up(self, error: BaseException) -> None:
        """Not the job's fault: it is handed back as soon as the store is there, before its lease ends and a crash is counted."""
        if self.app.keeper:
            self.app.keeper.owe(LostRun(self.id, self.fence, "fault", "", {}))
        self._ended_as("task-retried", exception=str(error), traceback="")

    def _ended_as(self, event: str, **fields: Any) -> None:
        task_ready(self)
        self.acknowledge()
        self.send_event(event, **fields)
