"""Celery's prefork pool with fixes for bugs around a child that dies as the broker's connection is lost (two), and around one that is given
a job as the worker is told to stop.

Written against Celery 5.7.0 and kombu 5.7.0: look again at every bump.
"""

from __future__ import annotations

from typing import Any

from billiard.pool import TERMINATE
from celery.concurrency.asynpool import AsynPool, ResultHandler
from celery.concurrency.prefork import TaskPool as CeleryTaskPool


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


class JobPool(AsynPool):
    """The pool of a worker's children."""

    ResultHandler = JobResults

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


class TaskPool(CeleryTaskPool):
    """`worker_pool`."""

    Pool = JobPool
