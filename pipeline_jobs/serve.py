"""Join the two faces: the Flask app over the parts of the Celery app. `wsgi.py` calls it."""

from __future__ import annotations

from typing import BinaryIO, cast

from celery import Celery
from flask import Flask
from kombu.exceptions import OperationalError

from pipeline_jobs import metrics, readiness
from pipeline_jobs.job import NewJob, StepResult
from pipeline_jobs.settings import Settings
from pipeline_jobs.web.app import create_app
from pipeline_jobs.web.ports import Parts
from pipeline_jobs.worker.app import create_celery
from pipeline_jobs.worker.parts import Jobs


def create_api(settings: Settings) -> Flask:
    """The API of a cell. Nothing is connected before the first request.

    :raises ConfigurationError: a module of `PIPELINE_MODULES` cannot be imported.
    """
    celery = create_celery(settings)
    jobs, store = celery.jobs, celery.jobs.client.store

    def run_in_process(new: NewJob) -> StepResult:
        return jobs.executor.run_in_process(jobs.client.prepare(new))

    def ready() -> dict[str, dict[str, object]]:
        return readiness.check(store, settings, lambda: _broker(celery))

    parts = Parts(
        client=jobs.client,
        results=celery.AsyncResult,
        run_in_process=run_in_process,
        artifacts=_Artifacts(jobs),
        metrics=lambda: metrics.render(store),
        readiness=ready,
    )
    return create_app(parts, settings)


class _Artifacts:
    """The artifact store, made at its first use: its signing key may be in the store, which need not be up yet."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def verify(self, path: str, signature: str) -> bool:
        return self._jobs.artifacts().verify(path, signature)

    def open(self, path: str) -> BinaryIO:
        return cast(BinaryIO, self._jobs.artifacts().open(path))

    def size(self, path: str) -> int:
        return self._jobs.artifacts().stat(path).size


def _broker(celery: Celery) -> str | None:
    try:
        with celery.connection_for_write(connect_timeout=2) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
    except (OperationalError, OSError):
        return "the broker cannot be reached"
    return None
