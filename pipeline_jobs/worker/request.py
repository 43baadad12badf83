"""How the worker's main process sees a job: what its end means for the record and for whoever watches the events."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from celery.exceptions import Ignore, InvalidTaskError, Reject, Retry, Terminated, TimeLimitExceeded, WorkerLostError
from celery.worker.request import Request
from celery.worker.state import task_ready

from pipeline_jobs import failpoints
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.job import ANY_ID, PART_ID
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.runs import Rescued
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import TENANT_HEADER
from pipeline_jobs.worker.hints import FENCE_HEADER, JOBS_QUEUE, MAINTENANCE_QUEUE
from pipeline_jobs.worker.result import JobFailed
from pipeline_jobs.worker.seats import Held, Seats

logger = structlog.get_logger(__name__)

#: Headers put there by the worker that takes the message: the fence of a bare one; whether the child is to send events of tasks.
DRAWN_HEADER = "drawn_fence"
EVENTS_HEADER = "sends_task_events"
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

    def __init__(self, text: str = "", job_id: str = "", fence: int = 0, runs: Sequence[str] = ()) -> None:
        """:param runs: the nonces of what the child may have; a child without a seat says neither them nor the job."""
        super().__init__(text, job_id, fence, runs)
        self.text, self.job_id, self.fence, self.runs = text, job_id, fence, runs

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class LostRun:
    """A run whose process died, for `Store.requeue`."""

    job_id: str
    fence: int
    #: `crash`, `handback` where the worker itself ended it because the store was away, or `fault` where the run did.
    why: str
    error: str
    detail: dict[str, Any]
    #: The nonces of what its process can have had, and the job is that of the hint which brought it; None: the job is all.
    runs: tuple[str, ...] | None = None

    def give_back(self, app: Any) -> list[Rescued]:
        """:return: the jobs that were moved. :raises StoreUnavailable:"""
        store: Store = app.cell.store
        told: dict[str, Any] = {"error": self.error, "error_detail": self.detail}
        if self.runs is not None:
            return store.process_lost(app.worker_id, self.job_id, self.fence, self.runs, self.why, **told)
        became = store.requeue(self.job_id, self.fence, self.why, **told)
        return [] if became is None else [Rescued(self.job_id, became.value)]


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
        eventer = self._eventer
        self.request_dict[EVENTS_HEADER] = bool(eventer and eventer.enabled and (not eventer.groups or "task" in eventer.groups))
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
        # A bare message makes a job of its id, and none of a part's.
        if not isinstance(self.id, str) or not (ANY_ID.fullmatch(self.id) or (fence is not None and PART_ID.fullmatch(self.id))):
            raise InvalidTaskError("the message has no id that a job can have")
        if fence is not None and (type(fence) is not int or not 0 < fence < MAX_FENCE):
            raise InvalidTaskError("the message has no fence that a dispatch can have")
        self.request_dict.pop(DRAWN_HEADER, None)
        if fence is None:
            # Drawn here, because this process renews the lease of what its child adopts; it travels to the child with the message.
            self.request_dict[DRAWN_HEADER] = draw_fence()

    @property
    def fence(self) -> int:
        """The fence of the hint; that of a bare message is the one it is adopted with."""
        fence: int = self.request_dict.get(DRAWN_HEADER) or self.request_dict[FENCE_HEADER]
        return fence

    def held(self) -> Held | None:
        """What the child of this request has; None: it has noted nothing, and runs what the message says if anything."""
        seats: Seats | None = self.app.seats
        held = seats.of(self.worker_pid) if seats is not None and self.worker_pid else None
        return held if held is not None and held.job_id else None

    def info(self, safe: bool = False) -> dict[str, Any]:
        """As `inspect active` shows it."""
        found: dict[str, Any] = super().info(safe=safe)
        if (held := self.held()) is None or held.job_id == self.id:
            return found
        kwargs = {"tenant": held.tenant_id, "workspace": held.workspace_id, "pipeline": held.pipeline}
        began = time.time() - (time.monotonic() - held.since)
        return {**found, "id": held.job_id, "args": "()" if safe else [], "kwargs": repr(kwargs) if safe else {}, "time_start": began}

    @property
    def log_fields(self) -> dict[str, Any]:
        """Whose job a line of this process is about, as far as a message says it."""
        if held := self.held():
            return {"job_id": held.job_id, "tenant": held.tenant_id}
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

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """One of Celery's own time limits. The hard one kills the child, and its end tells the rest."""
        if self.app.seats is None or soft:
            super().on_timeout(soft, timeout)
        else:
            logger.error("hard time limit exceeded", seconds=timeout, **self.log_fields)

    def _worker_lost(self, error: BaseException) -> None:
        """The pool child died with the job. What the record becomes is the script's decision; the event tells it."""
        app, seats = self.app, self.app.seats
        held = seats.of(self.worker_pid) if seats is not None else None
        job_id, fence = (held.job_id, held.fence) if held and held.job_id else (self.id, self.fence)
        message = f"the worker process died: {error}"[:300]
        detail = {"code": "worker_lost", "message": message, "stage": None, "retryable": True, "host": self.hostname}
        why = "handback" if app.keeper and app.keeper.gave_up(job_id, fence) else "crash"
        runs = None if seats is None else held.runs if held else ()
        lost, moved = LostRun(self.id, self.fence, why, message, detail, runs), [Rescued(job_id, "")]
        try:
            found = lost.give_back(app)
            # A child that had ended its job has said so, or its worker's watchers are put right by the record.
            moved = found if seats is not None else found or moved
        except StoreUnavailable:
            logger.warning("a job lost its process while the store is unavailable: it will be requeued later", **self.log_fields)
            if app.keeper:
                app.keeper.owe(lost)
        self._over()
        for one in moved:
            if one.became == JobStatus.CANCELLED:
                self._say("task-revoked", one.job_id, terminated=True, signum=None, expired=False)
            elif one.became == JobStatus.FAILED:
                self._say("task-failed", one.job_id, exception=repr(error), traceback="")
            else:
                self._say("task-retried", one.job_id, exception=repr(error), traceback="")

    def _given_up(self, error: BaseException) -> None:
        """Not the job's fault: it is handed back as soon as the store is there, before its lease ends and a crash is counted."""
        seats = self.app.seats
        if isinstance(error, JobGivenUpSignal) and error.job_id:
            # The child has told its events itself.
            lost = LostRun(error.job_id, error.fence, "fault", "", {}, tuple(error.runs))
        else:
            held = seats.of(self.worker_pid) if seats is not None else None
            lost = LostRun(self.id, self.fence, "fault", "", {}, None if seats is None else held.runs if held else ())
            self._say("task-retried", self.id, exception=str(error), traceback="")
        if self.app.keeper:
            self.app.keeper.owe(lost)
        self._over()

    def _ended_as(self, event: str, **fields: Any) -> None:
        self._over()
        self._say(event, self.id, **fields)

    def _over(self) -> None:
        task_ready(self)
        self.acknowledge()

    def _say(self, event: str, job_id: str, **fields: Any) -> None:
        """An event of a job, also where the task sends none because its children do (`LeaseKeeperStep`)."""
        if self._eventer and self._eventer.enabled:
            self._eventer.send(event, uuid=job_id, **fields)
