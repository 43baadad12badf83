"""What `apply_async` of a job makes of Celery's options: a field of the job, a place in a canvas, nothing, or an error that names it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.worker.hints import CANVAS_OPTIONS

#: What canvas, beat, Flower and Celery itself pass, and what says how to send a message: a job's is sent by the store.
_NOTHING = frozenset(
    ("add_to_parent", "connection", "ignore_result", "interval", "max_retries", "publisher", "result_cls", "retry", "retry_policy",
     "stamped_headers", "subtask_type", "task_type")
)  # fmt: skip
#: Why a person's option is not taken, where there is more to say than its name.
_WHY = {
    "priority": "Celery's scale runs the other way on Redis: give the job's own field, in kwargs",
    "soft_time_limit": "give time_limit: a run is first asked to stop, and killed if it does not",
}


def fields_of(options: Mapping[str, Any], inherits_priority: bool = False) -> dict[str, Any]:
    """The fields of a job that are given as options of Celery: `run_at`, `start_within_seconds`, `max_run_seconds`.

    :param inherits_priority: with `task_inherit_parent_priority` Celery passes a priority by itself.
    :raises InvalidInput: names the option.
    """
    given = {name: value for name, value in options.items() if value is not None}
    # Stamps are options of their own names.
    ignored = _NOTHING.union(CANVAS_OPTIONS, given.get("stamped_headers") or (), ("priority",) if inherits_priority else ())
    found: dict[str, Any] = {}
    # As Celery: a countdown outranks an eta.
    for name in ("eta", "countdown", "expires", "time_limit"):
        if name in given:
            field, read = _MAPPED[name]
            found[field] = read(name, given.pop(name))
    for name in sorted(given.keys() - ignored):
        raise InvalidInput(f"{name} is not an option of jobs: {_WHY.get(name, 'the store decides when and where a job runs')}", field=name)
    return found


def _moment(name: str, value: Any) -> int:
    """Unix ms of a moment: a datetime, or its ISO text (a signature that was sent has that). Without a zone it is UTC, the app's zone."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (AttributeError, ValueError, OverflowError):
        raise InvalidInput(f"{name} must be a datetime or its ISO 8601 text", field=name) from None


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e10:
        raise InvalidInput(f"{name} must be a number of seconds", field=name)
    return float(value)


def _from_now(name: str, value: Any) -> int:
    return int((time.time() + _seconds(name, value)) * 1000)


def _until(name: str, value: Any) -> float:
    """Seconds from now; what has expired already has a millisecond, so that there is a job which says so."""
    seconds = _seconds(name, value) if isinstance(value, int | float) else _moment(name, value) / 1000 - time.time()
    return max(0.001, round(seconds, 3))


def _limit(name: str, value: Any) -> float:
    return max(0.001, _seconds(name, value))


_MAPPED: dict[str, tuple[str, Callable[[str, Any], float | int]]] = {
    "eta": ("run_at", _moment),
    "countdown": ("run_at", _from_now),
    "expires": ("start_within_seconds", _until),
    "time_limit": ("max_run_seconds", _limit),
}
