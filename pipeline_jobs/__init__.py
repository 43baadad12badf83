"""pipeline-jobs: a multi-tenant job platform for long media and content pipelines, on Celery.

The record in the store is the truth, a Celery message is a hint that one job may start now,
and a worker is a lease holder with an attempt number. `docs/glossary.md` explains the words.

What a pipeline of your own needs is here: `Pipeline`, `Stage`, `RetryPolicy`, `register`, `JobContext` and every error of `exceptions`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pipeline_jobs.context import JobContext as JobContext
    from pipeline_jobs.exceptions import *  # noqa: F403
    from pipeline_jobs.pipelines import Pipeline as Pipeline
    from pipeline_jobs.pipelines import RetryPolicy as RetryPolicy
    from pipeline_jobs.pipelines import Stage as Stage
    from pipeline_jobs.pipelines import register as register
else:
    _HOMES = {"JobContext": "context", **dict.fromkeys(("Pipeline", "RetryPolicy", "Stage", "register"), "pipelines")}

    def __getattr__(name):
        """Import it when it is first asked for: the child that reads a foreign site is to start without pydantic."""
        home = f"{__name__}.{_HOMES.get(name, 'exceptions')}"
        value = None if name.startswith("_") else getattr(import_module(home), name, None)
        if getattr(value, "__module__", None) != home and name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return value
