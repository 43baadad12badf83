"""Celery's prefork pool with fixes for bugs around a child that dies as the broker's connection is lost (two), and around one that is given
a job as the worker is told to stop; and for children that take jobs without a message (`job_loop.py`): what Celery counts or times by
messages is counted and timed by jobs.

Written against Celery 5.7.0 and kombu 5.7.0: look again at every bump.
"""

from __future__ import annotations

import gc
import sys
import time
from functools import cache
from typing import Any

from billiard.pool import EX_RECYCLE, TERMINATE
from celery import current_app
from celery.concurrency.asynpool import AsynPool, ResultHandler, Worker
from celery.concurrency.prefork import TaskPool as CeleryTaskPool

from pipeline_jobs.worker.seats import Seats

#: A child that is just asking for its next job is looked at again after so long, in seconds.
AGAIN_SECONDS = 0.5


class JobResults(ResultHandler):
    """What the children of a pool tell."""

    def on_stop_not_started(self) -> None:
        """Listen to the children until they have ended.

        Celery listens as long as it knows of a job. Told to stop, it forgets those that it has given to a child and not heard of since; and
        a child that has done one waits, for half a minute, until somebody has read its result.
        """
        super().on_stop_not_started()
        while self._state != TERMINATE and (alive := {fd: one for fd, one in self.fileno_to_outq.items() if one._is_alive()}):
            for fd in list(alive):
                self._flush_outqueue(fd, alive.pop, self.fileno_to_outq, self.on_state_change)


class JobChild(Worker):
    """A child. It ends when it has had as many jobs, or as much memory, as a child may."""

    def after_fork(self) -> None:
        super().after_fork()
        if (loop := getattr(current_app, "job_loop", None)) is not None:
            loop.most_jobs, loop.most_kib = self.maxtasks, self.max_memory_per_child

    def _make_protected_receive(self, conn: Any) -> Any:
        receive = super()._make_protected_receive(conn)

        def unless_worn() -> Any:
            loop = getattr(current_app, "job_loop", None)
            if loop is not None and loop.worn():
                sys.exit(EX_RECYCLE)
            return receive()

        return unless_worn if conn is self.inq else receive


class JobPool(AsynPool):
    """The pool of a worker's children."""

    ResultHandler = JobResults
    Worker = JobChild

    def _create_worker_process(self, i: int) -> Any:
        _keep_what_is_loaded()
        return super()._create_worker_process(i)

    # -- Celery's own time limits: of each job, not of all that one message brought

    def _create_timelimit_handlers(self, hub: Any) -> None:
        self._hub = hub
        super()._create_timelimit_handlers(hub)

    def _on_soft_timeout(self, job: Any, soft: float, hard: float | None, hub: Any) -> None:
        if not self._has_more_time(job, soft, self._on_soft_timeout, job, soft, hard, hub):
            super()._on_soft_timeout(job, soft, hard, hub)

    def _on_hard_timeout(self, job: Any) -> None:
        result = self._cache.get(job)
        if result is None or not self._has_more_time(job, result._timeout, self._on_hard_timeout, job):
            super()._on_hard_timeout(job)

    def _has_more_time(self, job: Any, limit: float, again: Any, *args: Any) -> bool:
        """The child has gone on to another job since: its time is looked at when it is over. Else the child keeps the job that it has."""
        result, seats = self._cache.get(job), _seats()
        if result is None or seats is None:
            return False
        [pid] = result.worker_pids() or [None]
        held = seats.of(pid)
        left = 0.0 if held is None or not held.job_id else held.since + limit - time.monotonic()
        if left <= 0 and (held := seats.stop(pid)) is not None and held.asking:
            left = AGAIN_SECONDS
        if left > 0:
            self._tref_for_id[job] = self._hub.call_later(left, again, *args)
        return left > 0

    def on_partial_read(self, job: Any, proc: Any) -> None:
        """A child died with a message that it had not said to have taken.

        Celery gives that to another child, whose claim is refused if the dead one had made it: the lease would stay until its end. What
        the seat says was written before the child asked for anything.
        """
        seats = _seats()
        held = seats.of(proc.pid) if seats is not None and not job._accepted else None
        began = held is not None and bool(held.runs)
        if began:
            job._ack(None, time.time(), proc.pid, None)
        super().on_partial_read(job, proc)
        if began:
            self.on_job_process_lost(job, proc.pid, proc.exitcode)

    def destroy_queues(self, queues: Any, proc: Any) -> Any:
        """Close a dead child's pipes, and forget their numbers.

        Celery forgets the number of the pipe of tasks only. At the next reconnect it would listen on whatever has the number of the pipe of
        results by then (the broker's socket, the lease keeper's), read from it, blocking, and stand still for ever, or die of the nonsense
        it read.
        """
        for index, number in ((self._fileno_to_outq, proc.outqR_fd), (self._fileno_to_synq, proc.synqW_fd)):
            if index.get(number) is proc:
                del index[number]
        return super().destroy_queues(queues, proc)

    def _track_child_process(self, proc: Any, hub: Any) -> None:
        # A child whose end was seen and that is not yet cleaned up has None here. kombu makes a ValueError of it, which Celery does not
        # expect: the worker would end at its reconnect.
        if getattr(proc, "_sentinel_poll", proc) is not None:
            super()._track_child_process(proc, hub)


@cache
def _keep_what_is_loaded() -> None:
    """Celery looks for garbage before each fork. Of all that a worker has loaded that takes 0.1 s, in which it takes no message: a job for
    which a child is forked waits so much longer. The children, which share the memory, need not look at it either."""
    gc.collect()
    gc.freeze()


def _seats() -> Seats | None:
    return getattr(current_app, "seats", None)


class TaskPool(CeleryTaskPool):
    """`worker_pool`."""

    Pool = JobPool
