"""Job workers look for dead workers, too: a rescue waits neither for beat nor for the maintenance worker to reconnect."""

from __future__ import annotations

import random
import threading
from typing import Any

import structlog
from celery import bootsteps
from celery.worker.components import Pool

from pipeline_jobs.cell import Cell
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.worker.hints import takes_jobs

logger = structlog.get_logger(__name__)


class Rescuer:
    """`Rescue.look` about every `rescue_seconds`, in a daemon thread of its own.

    Not in the lease keeper's: to tell Flower of a rescue it may have to wait for the broker. Several at once do no harm: each job is moved
    by one script.
    """

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="rescuer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _loop(self) -> None:
        interval = self._cell.settings.rescue_seconds
        # Not all workers at the same moment.
        while not self._stop.wait(interval * random.uniform(0.8, 1.2)):  # noqa: S311 - a pause, no secret  # nosec B311
            try:
                self._cell.rescue.look()
            except StoreUnavailable as error:
                logger.warning("the store is unavailable: no rescue", seldom=True, error=str(error))
            except Exception:
                logger.exception("the rescuer failed, will try again")


class RescuerStep(bootsteps.StartStopStep):
    """Starts `Rescuer` in each worker that takes jobs."""

    requires = (Pool,)

    def include_if(self, worker: Any) -> bool:
        return takes_jobs(worker.app)

    def create(self, worker: Any) -> Rescuer:
        return Rescuer(worker.app.cell)
