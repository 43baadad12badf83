"""The worker's heartbeat, from its main process: announces slots, renews leases, learns what must stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import structlog
from celery import bootsteps
from celery.worker import state
from celery.worker.components import Pool

from pipeline_jobs.cell import Cell
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.jobs.moved import Moved
from pipeline_jobs.jobs.pipeline_limits import declare_max_concurrent_jobs
from pipeline_jobs.worker import cores
from pipeline_jobs.worker.hints import JOB_TASK, takes_jobs
from pipeline_jobs.worker.prefork import TaskPool
from pipeline_jobs.worker.request import JobRequest, LostRun
from pipeline_jobs.worker.seats import Seats
from pipeline_jobs.worker.watching import WatchStep

logger = structlog.get_logger(__name__)

#: How long a worker may take to end after its last job had to be gone, in seconds.
HANG_SECONDS = 20.0


class LeaseKeeper:
    """Announces slots and renews leases every `announce_seconds`, in a daemon thread.

    A thread, because neither a busy event loop nor kombu's reconnecting (no timer fires meanwhile) may starve it; daemon, because
    leases must be renewed until the last job of a worker that shuts down has ended.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._cell: Cell = worker.app.cell
        self._interval: float = self._cell.settings.announce_seconds
        self._grace: float = self._cell.settings.cancel_grace_seconds
        self._lease: float = self._cell.settings.lease_seconds
        self._shutdown_grace: float = self._cell.settings.shutdown_grace_seconds
        #: When the leases were last known to be good, and when this worker was told to stop (monotonic seconds).
        self._renewed = time.monotonic()
        self._told_to_stop: float | None = None
        #: Since when a beat waits for its answer, over all that fail; None: the last one had it (the last of all comes before the end).
        self._asked: float | None = None
        self._leaving = False
        self._declared = False
        self._wake = threading.Event()
        self._counted = 0
        #: When a job that must stop is killed: (id, fence) -> monotonic seconds.
        self._deadlines: dict[tuple[str, int], float] = {}
        #: Runs that were ended because the store was away; and what is to be said of lost runs when it is back.
        self._gave_up: set[tuple[str, int]] = set()
        self._owed: deque[LostRun] = deque()
        self._threads = [
            threading.Thread(target=loop, name=name, daemon=True) for name, loop in (("lease-keeper", self._loop), ("guard", self._guard))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def leave(self) -> None:
        """No new jobs for this worker, from now on; those that run keep their leases."""
        self._leaving = True
        self.look()

    def look(self) -> None:
        """Whether this worker takes jobs may have changed: let its children know, and then the store."""
        self._let_children_know()
        self._wake.set()

    def _let_children_know(self) -> None:
        app = self._worker.app
        if app.seats is not None:
            app.seats.stop_all(self.slots() == 0)
            # Others hear of it by this worker's heartbeats.
            app.clock.adjust(app.seats.clock(app.clock.value))

    def count(self) -> None:
        """Let Celery count, as if they had had messages, the jobs that children were handed since the last call. In the event loop."""
        seats = self._worker.app.seats
        if seats is not None and (new := seats.handed_over() - self._counted):
            self._counted += new
            state.total_count[JOB_TASK] += new
            state.all_total_count[0] += new

    def hurry(self, job_id: str, seconds: float) -> None:
        """Kill this job's process unless it stops within so many seconds."""
        for running in _running():
            if running.job_id == job_id:
                due, key = time.monotonic() + seconds, running.key
                self._deadlines[key] = min(due, self._deadlines.get(key, due))
        self._wake.set()

    def renewed_seconds(self) -> float:
        """How long ago the store last had this worker's slots and leases."""
        return time.monotonic() - self._renewed

    def gave_up(self, job_id: str, fence: int) -> bool:
        """Whether this worker ended the run itself because it could not renew its lease: not the job's fault, so no crash."""
        return (job_id, fence) in self._gave_up

    def owe(self, lost: LostRun) -> None:
        """The store is away: say this when it is back."""
        self._owed.append(lost)

    def slots(self) -> int:
        """How many jobs this worker takes: its autoscale maximum, or its pool's size."""
        if self._leaving or _stopping() or self._paused():
            return 0
        if not takes_jobs(self._worker.app):
            return 0
        scaler = self._worker.autoscaler
        return int(scaler.max_concurrency if scaler else self._worker.pool.num_processes)

    def _paused(self) -> str:
        """Why this worker's machine cannot run jobs; empty: it can."""
        fitness = self._worker.app.fitness
        return fitness.reason if fitness else ""

    def _loop(self) -> None:
        last = False
        while not last:
            # Once it leaves, it goes on until the last job has ended, and then says so once more.
            last = self._leaving and not _running()
            try:
                self._beat()
            except StoreUnavailable as error:
                logger.warning("the store is unavailable: leases are not renewed", seldom=True, error=str(error))
                self._give_up_what_is_lost()
            except Exception:
                # Without a beat every job of this worker would be taken away: log and go on.
                logger.exception("the lease keeper failed, will try again")
            self._wake.wait(self._interval)
            self._wake.clear()

    def _beat(self) -> None:
        self._asked = self._asked or time.monotonic()
        if not self._declared:
            self._worker.app.watch.until_announced()
            # Before the first slots: no more jobs, of a pipeline and in all, than it says may be dispatched to them.
            self._cell.declare_pipelines()
            if self.slots():
                declare_max_concurrent_jobs(self._cell.store, self._cell.settings)
            self._declared = True
        self._let_children_know()
        app, all_running = self._worker.app, _running()
        keys = [running.key for running in all_running]
        # Before Celery comes to stop this step: live without slots, it would be told of as drained.
        leaving = self._leaving or _stopping()
        replies = self._cell.store.announce(
            app.worker_id,
            self.slots(),
            keys,
            leaving=leaving,
            paused=self._paused(),
            kind=app.worker_class,
            warning=app.warning,
            pool=app.serves,
        )
        now = self._renewed = time.monotonic()
        self._asked = None
        self._say_what_is_owed()
        if _stopping():
            self._hand_back(now, [running for running, reply in zip(all_running, replies, strict=True) if reply == "ok"])
        deadlines: dict[tuple[str, int], float] = {}
        for running, key, reply in zip(all_running, keys, replies, strict=True):
            if reply == "ok":
                continue
            due = deadlines[key] = self._deadlines.get(key, now + self._grace)
            if now >= due:
                self._kill(running, reply)
        self._deadlines = deadlines

    def _hand_back(self, now: float, those: list[Running]) -> None:
        """The worker was told to stop: what still runs after the grace goes back to the queue, and no crash is counted.

        The run then finds that it has no say any more and stops itself; if it does not, it is killed like a cancelled one.
        """
        self._told_to_stop = self._told_to_stop or now
        if now - self._told_to_stop < self._shutdown_grace:
            return
        for running in those:
            became = self._cell.store.requeue(*running.key, "handback")
            logger.info("job handed back", **running.request.log_fields, became=became)
            if became is not None:
                self._cell.say(Moved(running.job_id, became.value, ran=True))

    def _guard(self) -> None:
        """In a thread of its own: a beat whose store is stalled comes back after half a minute."""
        while self._threads[0].is_alive() or _stopping():
            time.sleep(min(self._interval, 1.0))
            self._end_if_hung()

    def _end_if_hung(self) -> None:
        """A worker that was told to stop and has handed its jobs back must end.

        After SIGKILLs of children during a reconnect Celery's pool can be left with the number of a closed pipe in its event loop; its
        main thread then blocks in a read for ever (`docs/reliability.md`). With the store away nothing can be handed back: it waits for
        that as long as for its jobs, the grace, and no longer, as whoever told it to stop kills it soon.
        """
        if not _stopping():
            # In a process that has one worker after another (Celery's test workers), the next one was not told.
            self._told_to_stop = None
            return
        now = time.monotonic()
        self._told_to_stop = self._told_to_stop or now
        away = self._asked is not None and now - self._asked >= max(self._shutdown_grace, 3 * self._interval)
        if now - self._told_to_stop >= self._shutdown_grace + (0.0 if away else self._grace + HANG_SECONDS):
            logger.error("this worker did not stop in time and is killed", store_away=away)
            os.kill(os.getpid(), signal.SIGKILL)

    def _give_up_what_is_lost(self) -> None:
        """No renewal for a whole lease: others may have these jobs by now. Their writes would be refused; save the work."""
        if time.monotonic() - self._renewed >= self._lease:
            for running in _running():
                self._gave_up.add(running.key)
                self._kill(running, "lease ended")

    def _say_what_is_owed(self) -> None:
        while self._owed:
            moved = self._owed[0].give_back(self._worker.app)
            self._owed.popleft()
            for one in moved:
                if one.became != "hint":
                    self._cell.say(Moved(one.job_id, one.became, ran=True))
        if not _running():
            self._gave_up.clear()

    def _kill(self, running: Running, reply: str) -> None:
        """The stage did not stop by itself. Looked up again right before: the child may have gone on to another job."""
        request = running.request
        if not running.stays(self._worker.app.seats):
            # It is ending its job by itself, or has ended it.
            return
        # A pool without processes runs in this one (Celery's test workers).
        if request in state.active_requests and request.worker_pid and request.worker_pid != os.getpid():
            # Nothing between the look and the kill: while a line is logged, the event loop could give the child its next job.
            try:
                os.kill(request.worker_pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            logger.warning("job did not stop, killed its process", **request.log_fields, reply=reply, pid=request.worker_pid)


def _stopping() -> bool:
    """A warm or cold shutdown has begun. Celery's flags are None or False, else the exit code (which may be 0)."""
    return any(flag is not None and flag is not False for flag in (state.should_stop, state.should_terminate))


def _running() -> list[Running]:
    """The jobs that this worker's children have accepted, and those that they went on to."""
    while True:
        try:
            return [Running.of(request) for request in tuple(state.active_requests) if isinstance(request, JobRequest)]
        except RuntimeError:
            # The event loop's thread changed the set meanwhile.
            continue


@dataclass(frozen=True, slots=True)
class Running:
    """A job that a child of this worker runs, and the request by which the child came to it or to one before it."""

    request: JobRequest
    job_id: str
    fence: int

    @property
    def key(self) -> tuple[str, int]:
        return self.job_id, self.fence

    @classmethod
    def of(cls, request: JobRequest) -> Running:
        held = request.held()
        return cls(request, held.job_id, held.fence) if held else cls(request, request.id, request.fence)

    def stays(self, seats: Seats | None) -> bool:
        """From now on its child takes no other job before this one has ended. False: it has another one, or asks for one."""
        if seats is None or not self.request.worker_pid:
            return True
        held = seats.stop(self.request.worker_pid)
        return held is None or ((held.job_id, held.fence) == self.key and not held.asking)


class LeaseKeeperStep(bootsteps.StartStopStep):
    """Starts `LeaseKeeper` in each worker that takes jobs."""

    requires = (Pool, WatchStep)

    def include_if(self, worker: Any) -> bool:
        return takes_jobs(worker.app)

    def create(self, worker: Any) -> LeaseKeeper:
        if worker.app.cell.settings.finish_claims and worker.use_eventloop and issubclass(worker.pool_cls, TaskPool):
            worker.app.seats = Seats()
            # Its children send them: each job's own, whether or not a message brought it.
            worker.app.tasks[JOB_TASK].send_events = False
        cores.share_out(worker.max_concurrency or worker.concurrency)
        worker.app.keeper = keeper = LeaseKeeper(worker)
        return keeper

    def stop(self, worker: Any) -> None:
        self.obj.leave()

    terminate = stop

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        # Celery looks for dead children every 5 s; a job whose process died should not wait that long.
        hub.call_repeatedly(1.0, worker.pool.maintain_pool)
        # Heartbeats tell how many jobs there were.
        hub.call_repeatedly(1.0, self.obj.count)
