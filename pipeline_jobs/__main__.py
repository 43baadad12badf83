"""`pipeline-jobs ...` and `python -m pipeline_jobs ...`: the commands of `celery -A celery_app jobs`, without naming the app."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from pipeline_jobs.cli import jobs
from pipeline_jobs.settings import load_settings
from pipeline_jobs.starting import one_line_errors
from pipeline_jobs.worker.app import create_celery


class Context:
    """What `celery` hands its commands. The app is made when a command asks for it: help and completion need no settings."""

    @cached_property
    def app(self) -> Any:
        """:raises SystemExit: a setting is wrong; it is said in one line."""
        with one_line_errors():
            return create_celery(load_settings())


def main() -> None:
    jobs(prog_name="pipeline-jobs", obj=Context())


if __name__ == "__main__":
    main()
