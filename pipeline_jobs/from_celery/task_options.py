"""What a task may ask of Celery that a job cannot be given: refused by name, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery, Task

from pipeline_jobs.exceptions import ConfigurationError, InvalidInput
from pipeline_jobs.jobs.client import MAX_ATTEMPTS

#: Options of a task, and what to do instead.
_REFUSED = {
    "acks_late": "a job whose worker died is run again in any case",
    "rate_limit": "set the tenant's start_rate",
    "queue": "the store decides when and where a job runs",
    "exchange": "the store decides when and where a job runs",
    "routing_key": "the store decides when and where a job runs",
    "priority": "Celery's scale runs the other way on Redis: a job has a field of its own",
    "soft_time_limit": "give time_limit: a run is first asked to stop, and killed if it does not",
}
#: Options of a call that say where it stands in a canvas.
_CANVAS = ("link", "link_error", "chain", "chord", "group_id", "group_index")


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """:raises ConfigurationError: a task that shall be a job is declared with such an option."""
    for option, instead in _REFUSED.items():
        if options.get(option):
            raise ConfigurationError(f"tenant_jobs: the task {name} has {option}, which a job cannot have: {instead}")
    if options.get("serializer") not in (None, "json"):
        raise ConfigurationError(f"tenant_jobs: the task {name} has the serializer {options['serializer']}: a job's arguments are JSON")
    retries = options.get("max_retries", 0)
    if retries is None or retries >= MAX_ATTEMPTS:
        raise ConfigurationError(f"tenant_jobs: the task {name} has max_retries={retries}: a job has at most {MAX_ATTEMPTS} attempts")


def check_task(app: Celery, task: Task) -> None:
    """The same of a task as it is now, with what the app's settings make of it.

    :raises ConfigurationError:
    """
    check_options(task.name, {option: getattr(task, option, None) for option in (*_REFUSED, "serializer", "max_retries")})
    if route := app.amqp.router.lookup_route(task.name, (), {}, {}, task):
        raise ConfigurationError(f"tenant_jobs: task_routes has {task.name} ({route}): {_REFUSED['queue']}")


def check_call(name: str, options: Mapping[str, Any]) -> None:
    """:raises InvalidInput: the call is part of a canvas."""
    for option in _CANVAS:
        if options.get(option):
            raise InvalidInput(f"{option}: a call of {name} makes a job, which is no part of a canvas of this app", field=option)
