"""What a worker shows to Prometheus of itself, on a port of its own (PIPELINE_WORKER_METRICS_PORT): how long stages take, its slots,
whether its event loop turns and its leases are renewed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any
from wsgiref.simple_server import WSGIServer

import structlog
from billiard.process import current_process
from celery import bootsteps
from celery.worker import state
from celery.worker.components import Pool

from pipeline_jobs.operation.metrics import Gauge, exposition
from pipeline_jobs.operation.metrics_server import metrics_server
from pipeline_jobs.operation.process_metrics import artifact_disk, build_info, clock, work_disk
from pipeline_jobs.operation.shared_counts import Histogram, Row, SharedCounts, histogram

logger = structlog.get_logger(__name__)

#: Upper bounds in seconds.
BOUNDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
#: Children that can count: a child has a number, which the next one takes over when it ends. And the bytes of each: some hundred stages.
CHILDREN, CHILD_BYTES = 256, 1 << 18
_LABELS = ("pipeline", "stage", "outcome")


class OwnMetrics:
    """The metrics of one worker. Made before its pool forks."""

    def __init__(self, worker: Any) -> None:
        self._worker, self._cell = worker, worker.app.cell
        self.stages = SharedCounts(CHILDREN, CHILD_BYTES)
        settings = self._cell.settings
        self._turned = time.monotonic()
        self._server: WSGIServer | None = None
        try:
            self._server = metrics_server(settings.metrics_host, settings.worker_metrics_port, self.text)
        except OSError as error:
            # A worker that stops keeps its port until its last job has ended: no reason for the next one to take no jobs.
            where = f"{settings.metrics_host}:{settings.worker_metrics_port}"
            logger.warning(
                "PIPELINE_WORKER_METRICS_PORT: this worker shows no metrics, it cannot listen there", where=where, error=str(error)
            )

    def start(self) -> None:
        if self._server is not None:
            threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def stop(self) -> None:
        """A worker that stops is scraped until its last job has ended: the thread ends with the process."""

    def turned(self) -> None:
        """Note that the event loop turns."""
        self._turned = time.monotonic()

    def text(self) -> bytes:
        took = "How long stages ran, by how they ended: ok or error."
        stages = histogram(self.stages.totals(), "stages", "pipeline_stage_duration_seconds", took, _LABELS, BOUNDS)
        return exposition([stages], self._gauges())

    def _gauges(self) -> Iterator[Gauge]:
        app, cell = self._worker.app, self._cell
        yield build_info(app.worker_class.name)
        yield "pipeline_worker_running", "Jobs and other tasks that this worker runs.", {}, len(state.active_requests)
        loop = "Time since this worker's event loop last turned: it does once a second, unless it is stuck."
        yield "pipeline_worker_loop_age_seconds", loop, {}, time.monotonic() - self._turned
        if app.keeper:
            yield "pipeline_worker_slots", "Jobs that this worker takes at once; 0: it is paused, or stops.", {}, app.keeper.slots()
            renewed = "Time since this worker's slots and leases were last renewed in the store."
            yield "pipeline_worker_lease_age_seconds", renewed, {}, app.keeper.renewed_seconds()
        yield from work_disk(cell.settings)
        yield from artifact_disk(cell.artifacts)
        yield from clock(cell.store)


def count_stages(app: Any) -> None:
    """In a child: what its stages take is counted in the memory that its worker shows."""
    number = getattr(current_process(), "index", None)
    if app.own_metrics is None or number is None:
        return
    if number >= CHILDREN:
        logger.warning("this child's stages are in no metrics: there are too many children", child=number)
        return
    row: Row = app.own_metrics.stages.row(number)

    def took(pipeline: str, stage: str, outcome: str, seconds: float) -> None:
        Histogram(row, "stages", (pipeline, stage, outcome), BOUNDS).observe(seconds)

    app.cell.executor.stage_took = took


class OwnMetricsStep(bootsteps.StartStopStep):
    """Starts `OwnMetrics` in each worker that has a port for it."""

    requires = (Pool,)

    def include_if(self, worker: Any) -> bool:
        return getattr(worker.app, "cell", None) is not None and worker.app.cell.settings.worker_metrics_port is not None

    def create(self, worker: Any) -> OwnMetrics:
        worker.app.own_metrics = own = OwnMetrics(worker)
        return own

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        hub.call_repeatedly(1.0, worker.app.own_metrics.turned)
