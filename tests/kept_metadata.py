"""What the metadata of installed packages says is read once in a process of the tests, and not at all in one that is forked.

Nothing is installed while they run. Whoever asks for entry points, as each Celery app does, reads a file of each package: eight
milliseconds of a processor; and each connection of redis-py that is not told its version, as those of Celery are not, looks for it.
"""

from __future__ import annotations

import importlib.metadata as metadata
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

#: Asked for by each process of Celery's, and by beat.
GROUPS = ("celery.result_backends", "celery.beat_schedulers", "pipeline_jobs.pipelines")


def keep() -> None:
    """From now on, in this process, for modules that are imported later."""
    metadata.entry_points = _once(metadata.entry_points)
    metadata.version = _once(metadata.version)
    for group in GROUPS:
        metadata.entry_points(group=group)


def _once(ask: Callable[..., Any]) -> Callable[..., Any]:
    """The same answer for the same question, as long as packages are looked for in the same folders."""
    kept = cache(lambda folders, *names, **params: ask(*names, **params))
    return lambda *names, **params: kept(tuple(sys.path), *names, **params)
