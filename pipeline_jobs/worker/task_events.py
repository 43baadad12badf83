"""Celery's events of jobs that were moved where no worker tells of it: for Flower and `celery events`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from pipeline_jobs.jobs.moved import Moved
from pipeline_jobs.worker.hints import JOB_TASK

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TaskEvents:
    """Sends them over an app's broker; the `say` of its cell."""

    app: Celery

    def __call__(self, moved: Moved) -> None:
        if moved.became == "cancelled":
            self._send("task-revoked", moved.job_id, terminated=moved.ran, signum=None, expired=False, **_about(moved))
        elif moved.became in ("failed", "queued"):
            event = "task-failed" if moved.became == "failed" else "task-retried"
            self._send(event, moved.job_id, exception="WorkerLost", traceback="")

    def _send(self, event: str, job_id: str, **fields: object) -> None:
        try:
            with self.app.events.default_dispatcher() as dispatcher:
                dispatcher.send(event, uuid=job_id, **fields)
        except self._broker_errors() as error:
            # The record is the truth; a watcher that missed an event is put right by the next one.
            logger.warning("event not sent", event_type=event, job_id=job_id, error=str(error))

    def _broker_errors(self) -> tuple[type[Exception], ...]:
        # A connection that breaks in the middle raises its library's own errors, not kombu's.
        connection = self.app.connection_for_write()
        return (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors)


def _about(moved: Moved) -> dict[str, Any]:
    """What a watcher must be told of a task that it has not seen."""
    if moved.job is None:
        return {}
    kwargs = {"tenant": moved.job.tenant_id, "workspace": moved.job.workspace_id, "pipeline": moved.job.pipeline}
    return {"name": JOB_TASK, "args": "()", "kwargs": repr(kwargs)}
