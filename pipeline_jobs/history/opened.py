"""The history of a cell, if it has one. SQLAlchemy is imported then only: it is an extra."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.pipelines import Registry
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.store import Store

if TYPE_CHECKING:
    from pipeline_jobs.history.history import History


def opened(store: Store, settings: Settings, pipelines: Registry) -> History | None:
    """Connects nothing yet. :raises ConfigurationError: a library is missing."""
    if not settings.history_url:
        return None
    needed = ("sqlalchemy", "alembic", *(("psycopg",) if settings.history_url.startswith("postgresql") else ()))
    if missing := [name for name in needed if find_spec(name) is None]:
        raise ConfigurationError(f"PIPELINE_HISTORY_URL needs {', '.join(missing)}: pip install 'pipeline-jobs[history]'")
    made: History = importlib.import_module("pipeline_jobs.history.history").History(store, settings, pipelines)
    return made
