"""Join the two faces: the Flask app over the cell of the Celery app. `wsgi.py` calls it."""

from __future__ import annotations

from flask import Flask

from pipeline_jobs.settings import Settings
from pipeline_jobs.web.app import create_app
from pipeline_jobs.worker.app import create_celery


def create_api(settings: Settings) -> Flask:
    """The API of a cell. Nothing is connected before the first request.

    :raises ConfigurationError: a module of `PIPELINE_MODULES` cannot be imported.
    """
    return create_app(create_celery(settings).cell)
