"""Each process of Celery announces itself: workers of every queue, and beat."""

from __future__ import annotations

import atexit
import socket
from typing import Any

from celery import bootsteps
from celery.signals import beat_embedded_init, beat_init

from pipeline_jobs.operation.watch import Watch
from pipeline_jobs.worker.hints import MAINTENANCE_QUEUE, takes_jobs


def watch_of(app: Any, kind: str, node: str, name: str = "") -> Watch:
    cell = app.cell
    return Watch(cell.store, cell.settings, cell.broker, kind=kind, node=node, name=name)


def kind_of(app: Any) -> str:
    """What a worker is, by its queues."""
    queues = app.amqp.queues.consume_from
    return "jobs" if takes_jobs(app) else "maintenance" if MAINTENANCE_QUEUE in queues else "worker"


class WatchStep(bootsteps.StartStopStep):
    """Starts `Watch` in each worker. Other steps require it, so that it stops last: what announces slots is known for a process."""

    def include_if(self, worker: Any) -> bool:
        return getattr(worker.app, "cell", None) is not None

    def create(self, worker: Any) -> Watch:
        worker.app.watch = watch = watch_of(worker.app, kind_of(worker.app), worker.hostname, worker.app.worker_id)
        return watch

    def stop(self, worker: Any) -> None:
        self.obj.leave()

    terminate = stop


def beat_started(sender: Any, **_: Any) -> None:
    """`beat_init`."""
    if getattr(sender.app, "cell", None) is not None:
        watch = watch_of(sender.app, "beat", f"beat@{socket.gethostname()}")
        watch.start()
        atexit.register(watch.leave)


def install() -> None:
    """Connect; connecting twice is one connection."""
    for signal in (beat_init, beat_embedded_init):
        signal.connect(beat_started, dispatch_uid="pipeline-jobs-beat-init")
