"""In a pool child: runs the job of a message, and then each job that the finish of the one before has handed over.

Each of them is traced by Celery as if it had had a message: a request of its own on the stack, its signals, its line in the log, its end
told to the backend. What comes after one of them is this file's: its task events, and whether the child goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from billiard import current_process
from billiard.compat import mem_rss
from billiard.einfo import ExceptionInfo
from celery import Celery
from celery.app import trace as tracing
from celery.app.trace import TraceInfo, trace_ok_t
from celery.exceptions import Ignore, Reject, Retry
from celery.states import IGNORED
from celery.utils.saferepr import saferepr
from celery.utils.serialization import get_pickled_exception

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.worker.child_events import ChildEvents
from pipeline_jobs.worker.hints import FENCE_HEADER, JOB_TASK, RequestTemplate
from pipeline_jobs.worker.request import (
    DRAWN_HEADER,
    EVENTS_HEADER,
    JobCancelledSignal,
    JobGivenUpSignal,
    JobRequeuedSignal,
    LostRun,
)
from pipeline_jobs.worker.result import JobFailed
from pipeline_jobs.worker.seats import SEATS, ChildSeat, Seats

logger = structlog.get_logger(__name__)

#: After so many jobs, or seconds, the child goes back to its pool, so that what the worker's other queues have is served.
MOST_JOBS, MOST_SECONDS = 100, 0.5

#: `celery.app.trace.build_tracer` makes it: id, args, kwargs, request.
Trace = Callable[[str, Any, Any, dict[str, Any]], trace_ok_t]


class JobLoop:
    """The loop of one child: the jobs that it runs, one after the other, by one message."""

    def __init__(self, app: Celery, seats: Seats, number: int | None, hostname: str) -> None:
        self._app = app
        self.seat = ChildSeat(seats, number, self._may_go_on)
        self.events = ChildEvents(app, hostname, seats)
        self._requests = RequestTemplate(app, hostname)
        #: What billiard limits a child by, counted in messages there: jobs, and KiB of memory (None: it does not).
        self.most_jobs: int | None = None
        self.most_kib: int | None = None
        self._jobs, self._left, self._until = 0, 0, 0.0

    def worn(self) -> bool:
        """The child has had as many jobs, or as much memory, as a child may: it ends, and another one comes."""
        return bool((self.most_jobs and self._jobs >= self.most_jobs) or (self.most_kib and mem_rss() > self.most_kib))

    def _may_go_on(self) -> bool:
        return self._left > 0 and time.monotonic() < self._until and not self.worn()

    def run(self, trace: Trace, job_id: str, args: Any, kwargs: Any, request: dict[str, Any]) -> trace_ok_t:
        """In the place of the task's own trace, which is the first argument.

        :return: how the last run ended, for the worker's main process: as a success, unless it has to give something back.
        """
        self.seat.sit_down()
        self._left, self._until = MOST_JOBS, time.monotonic() + MOST_SECONDS
        self.events.enabled = request.get(EVENTS_HEADER) is True
        ended = self._one(trace, job_id, args, kwargs, request)
        while ended.info is None and (job := self.seat.begin()):
            ended = self._one(trace, job.job_id, [], {}, self._requests.of(job))
        return ended

    def _one(self, trace: Trace, job_id: str, args: Any, kwargs: Any, request: dict[str, Any]) -> trace_ok_t:
        self._jobs, self._left = self._jobs + 1, self._left - 1
        retries = given if type(given := request.get("retries")) is int else 0
        self.events.send(
            "task-received", job_id, name=JOB_TASK, args=request.get("argsrepr"), kwargs=request.get("kwargsrepr"),
            root_id=request.get("root_id"), parent_id=request.get("parent_id"), retries=retries, eta=None, expires=None,
        )  # fmt: skip
        self.events.send("task-started", job_id)
        fence = int(request.get(DRAWN_HEADER) or request.get(FENCE_HEADER) or 0)
        try:
            ended = trace(job_id, args, kwargs, request)
        except Exception as fault:
            # Nothing of a pipeline's: Celery's own code, or a signal's receiver, had no memory left.
            self.events.send("task-retried", job_id, exception=str(fault), traceback="")
            return self._given_up(job_id, fence, fault)
        self._say_end(job_id, ended)
        error = ended.info.retval if ended.info else None
        if isinstance(error, JobGivenUpSignal) or not isinstance(error, JobFailed | Ignore | Reject | Retry | None):
            return self._given_up(job_id, fence, error)
        if self.seat.held.asking and not self._give_back(job_id, fence):
            return self._given_up(job_id, fence, StoreUnavailable())
        if self.seat.following is None:
            self.seat.has_none()
        return trace_ok_t(ended.retval, None, ended.runtime, ended.retstr)

    def _say_end(self, job_id: str, ended: trace_ok_t) -> None:
        if ended.info is None:
            self.events.send("task-succeeded", job_id, result=ended.retstr, runtime=ended.runtime)
            return
        error = ended.info.retval
        if isinstance(error, JobCancelledSignal):
            self.events.send("task-revoked", job_id, terminated=False, signum=None, expired=False)
        elif isinstance(error, JobFailed):
            shown = saferepr(get_pickled_exception(ended.retval.exception))
            self.events.send("task-failed", job_id, exception=shown, traceback=ended.retval.traceback)
        elif isinstance(error, JobRequeuedSignal | JobGivenUpSignal) or not isinstance(error, Ignore):
            self.events.send("task-retried", job_id, exception=str(error), traceback="")

    def _give_back(self, job_id: str, fence: int) -> bool:
        """A call has failed, and nobody has read what it was answered (a broker that is away, a record that cannot be read): what it
        may have been handed is run by nobody. :return: False: the store is away."""
        try:
            LostRun(job_id, fence, "fault", "", {}, self.seat.held.runs).give_back(self._app)
        except StoreUnavailable:
            return False
        return True

    def _given_up(self, job_id: str, fence: int, error: object) -> trace_ok_t:
        """The main process gives back what this child had, when the store is there again."""
        signal = JobGivenUpSignal(str(error), job_id, fence, self.seat.held.runs)
        return trace_ok_t(_raised(signal), TraceInfo(IGNORED, signal), 0.0, None)


def _raised(error: Exception) -> ExceptionInfo:
    """As the pool takes it to the main process."""
    try:
        raise error
    except JobGivenUpSignal:
        return ExceptionInfo()


def shown(value: Any, maxlen: int | None = None) -> str:
    """What Celery's log and events have of a result: of a job's nothing (`JobTask.resultrepr_maxsize`), which `saferepr` finds out by a
    look at each field."""
    return "{, ...}" if maxlen == 1 and type(value) is dict and value else saferepr(value, maxlen)


def install(app: Any, seats: Seats | None, hostname: str) -> None:
    """Give a child that has just begun its loop."""
    number = getattr(current_process(), "index", None)
    if seats is None or number is None:
        return
    if number >= SEATS:
        logger.warning("this child is handed no next job: there are too many children", child=number)
        number = None
    app.job_loop = loop = JobLoop(app, seats, number, hostname)
    tracing.saferepr = shown
    task = app.tasks[JOB_TASK]
    task.__trace__ = partial(loop.run, task.__trace__)
