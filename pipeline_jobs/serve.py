"""Join the two faces: the Flask app over the cell of the Celery app. `wsgi.py` calls it."""

from __future__ import annotations

from flask import Flask

from pipeline_jobs.access.secret_files import SIGNING_KEY, kept_secret
from pipeline_jobs.settings import Settings
from pipeline_jobs.web.app import create_app
from pipeline_jobs.worker.app import create_celery


def create_api(settings: Settings) -> Flask:
    """The API of a cell. Nothing is connected before the first request.

    :raises ConfigurationError: a module of `PIPELINE_MODULES` cannot be imported; with the queue off, the signing key cannot be kept.
    """
    if settings.enable_run_api and not settings.enable_job_queue and not settings.secret_key:
        # `POST /pipeline/run` then needs no store, and so its links must not wait for a key of the store's.
        settings = settings.model_copy(update={"secret_key": kept_secret(settings.data_dir / SIGNING_KEY)})
    return create_app(create_celery(settings).cell)
