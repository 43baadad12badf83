"""A worker whose machine cannot run jobs takes none: it would hand back, quicker than the others work, one job after the other."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import structlog
from celery import bootsteps
from celery.worker.components import Pool
from celery.worker.control import inspect_command

from pipeline_jobs.jobs.faults import fault_of
from pipeline_jobs.settings import Settings
from pipeline_jobs.worker.hints import job_queues, takes_jobs

logger = structlog.get_logger(__name__)

#: Between two looks at this machine, in seconds.
LOOK_SECONDS = 10.0


class Fitness:
    """Probes the disk of the working folder, and pauses the worker while that fails.

    Never by a count of failed jobs, which say nothing of a machine: tenants make those. In a daemon thread of its own: to write to a disk
    that hangs must hold up neither the leases nor the event loop.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        settings: Settings = worker.app.cell.settings
        self._folder: Path = settings.work_dir
        self._reserve = settings.disk_reserve
        #: Why this worker is paused; empty: it is not. `LeaseKeeper` announces it, with no slots.
        self.reason = ""
        #: Queues that it left because of that.
        self._left: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="fitness", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def look(self) -> None:
        """Probe now, and pause or go on accordingly."""
        reason = fault_of(self._folder, self._reserve) or ""
        if bool(reason) != bool(self.reason):
            logger.error("this worker is paused", reason=reason) if reason else logger.warning("this worker takes jobs again")
        # Before the event loop is told, which may be quicker. Told at each look: what it is told while it connects again is lost.
        self.reason = reason
        self._worker.consumer.call_soon(self._consume)

    def _loop(self) -> None:
        while True:
            try:
                self.look()
            except Exception:
                # The next look may go well; until then it stays as it is.
                logger.exception("the check of this worker's machine failed, will try again")
            if self._stop.wait(LOOK_SECONDS):
                return

    def _consume(self) -> None:
        """In the event loop: take hints or leave them. A slot that is not announced is not enough, as all workers take from one queue.

        A queue that an operator told this worker to leave (`cancel_consumer`) stays left when the worker goes on.
        """
        consumer, app = self._worker.consumer, self._worker.app
        if self.reason:
            for queue in {*job_queues(app)} & {*app.amqp.queues.consume_from}:
                self._left.add(queue)
                consumer.cancel_task_queue(queue)
        else:
            for queue in sorted(self._left):
                consumer.add_task_queue(queue)
                self._left.discard(queue)


@inspect_command()
def paused(state: Any, **kwargs: Any) -> dict[str, str | None]:
    """Why a job worker takes no jobs now (`paused`), or null."""
    fitness = state.app.fitness
    return {"paused": fitness.reason or None if fitness else None}


class FitnessStep(bootsteps.StartStopStep):
    """Starts `Fitness` in each worker that takes jobs, before the first slots are announced."""

    requires = (Pool,)

    def include_if(self, worker: Any) -> bool:
        return takes_jobs(worker.app)

    def create(self, worker: Any) -> Fitness:
        worker.app.fitness = fitness = Fitness(worker)
        return fitness
