"""Celery's events of jobs that were moved where no worker tells of it: for Flower and `celery events`."""

from __future__ import annotations

import atexit
import os
from typing import Any

from celery import Celery

from pipeline_jobs.jobs.moved import Moved
from pipeline_jobs.worker.gathered_events import GatheredEvents
from pipeline_jobs.worker.hints import JOB_TASK


class TaskEvents:
    """Sends the events of moved jobs over an app's broker, many in one message: the `say` of its cell. The last go as the process ends."""

    def __init__(self, app: Celery) -> None:
        self._app, self._pid = app, -1

    def __call__(self, moved: Moved) -> None:
        if moved.became == "cancelled":
            about = _about(moved)
            self._gathered().send("task-revoked", moved.job_id, terminated=moved.ran, signum=None, expired=False, **about)
        elif moved.became in ("failed", "queued"):
            event = "task-failed" if moved.became == "failed" else "task-retried"
            self._gathered().send(event, moved.job_id, exception="WorkerLost", traceback="")

    def _gathered(self) -> GatheredEvents:
        if self._pid != os.getpid():
            # A forked child has neither its parent's thread nor its connection.
            self._events, self._pid = GatheredEvents(self._app), os.getpid()
            atexit.register(self._events.flush)
        return self._events


def _about(moved: Moved) -> dict[str, Any]:
    """What a watcher must be told of a task that it has not seen."""
    if moved.job is None:
        return {}
    kwargs = {"tenant": moved.job.tenant_id, "workspace": moved.job.workspace_id, "pipeline": moved.job.pipeline}
    return {"name": JOB_TASK, "args": "()", "kwargs": repr(kwargs)}
