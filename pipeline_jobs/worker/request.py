"""How the worker's main process sees a job: what its end means for the record and for whoever watches the events."""

from __future__ import annotations

from typing import Any

from celery.exceptions import Ignore, Terminated, TimeLimitExceeded, WorkerLostError
from celery.utils.log import get_logger
from celery.worker.request import Request
from celery.worker.state import task_ready

from pipeline_jobs import failpoints
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.states import JobStatus
from pipeline_jobs.worker.hints import FENCE_HEADER

logger = get_logger(__name__)


class JobCancelledSignal(Ignore):
    """The run ended because the job was cancelled; the record says so already."""


class JobRequeuedSignal(Ignore):
    """The run ended and the job waits again; the record says so already."""


class JobRequest(Request):
    """The request of `run_job`."""

    def revoked(self) -> bool:
        """Never by this worker's memory: the claim asks the record, which no restart forgets."""
        # Celery makes a subclass with an `execute_using_pool` of its own; this is what it calls with the hint in hand.
        failpoints.reach("worker.after_pop")
        return False

    @property
    def fence(self) -> int | None:
        """The fence of the hint; None for a bare message (which the claim adopts with fence 1)."""
        fence = self.request_dict.get(FENCE_HEADER)
        return fence if isinstance(fence, int) else None

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """The run did not succeed. Events that Celery has no own word for here are sent by hand (see `docs/celery.md`)."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, JobCancelledSignal):
            return self._ended_as("task-revoked", terminated=False, signum=None, expired=False)
        if isinstance(error, JobRequeuedSignal):
            return self._ended_as("task-retried", exception=str(error), traceback="")
        if isinstance(error, (WorkerLostError, Terminated, TimeLimitExceeded, SystemExit, KeyboardInterrupt)):
            return self._worker_lost(error)
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

    def _worker_lost(self, error: BaseException) -> None:
        """The pool child died with the job. What the record becomes is the script's decision; the event tells it."""
        try:
            became = self.app.jobs.client.store.requeue(
                self.id,
                self.fence or 1,
                "crash",
                error=f"the worker process died: {error}"[:300],
                error_detail={
                    "code": "worker_lost",
                    "message": f"the worker process died: {error}"[:300],
                    "stage": None,
                    "retryable": True,
                    "host": self.hostname,
                },
            )
        except StoreUnavailable:
            # Rescue finds it when its lease ends.
            logger.warning("job %s lost its process and the store is away: it will be rescued", self.id)
            became = None
        if became is JobStatus.CANCELLED:
            self._ended_as("task-revoked", terminated=True, signum=None, expired=False)
        elif became is JobStatus.FAILED:
            self._ended_as("task-failed", exception=repr(error), traceback="")
        else:
            self._ended_as("task-retried", exception=repr(error), traceback="")

    def _ended_as(self, event: str, **fields: Any) -> None:
        task_ready(self)
        self.acknowledge()
        self.send_event(event, **fields)
