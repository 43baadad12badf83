"""The one stage of a task's pipeline: call the task, as Celery's worker would, with the job as its request."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from celery import Celery, Task, current_app
from celery.app.trace import build_tracer
from celery.states import FAILURE, IGNORED, REJECTED, SUCCESS
from kombu.utils.json import dumps, loads
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import InternalError
from pipeline_jobs.from_celery.task_options import check_task
from pipeline_jobs.jobs.stage_runs import MAX_ERROR
from pipeline_jobs.pipelines import TryAgain, registry
from pipeline_jobs.worker.progress import progress_of

#: In a job's result, what its task returned.
VALUE = "value"


class CallParams(BaseModel):
    """The arguments of a task. What JSON has no word for (a date, a UUID) is written as Celery's messages have it."""

    model_config = ConfigDict(extra="forbid")
    args: list[JsonValue] = Field(default=[], description="Arguments by position.")
    kwargs: dict[str, JsonValue] = Field(default={}, description="Arguments by name.")


def plain(value: Any) -> Any:
    """As JSON values alone. :raises TypeError: no JSON of Celery's has a word for it."""
    return json.loads(dumps(value))


def rich(value: Any) -> Any:
    """What `plain` was given."""
    return loads(json.dumps(value))


@dataclass
class Calling:
    """A call that is under way in this process."""

    context: JobContext
    args: list[Any]
    kwargs: dict[str, Any]
    #: The app that was the current one: in a worker of jobs the one that sends them.
    around: Celery
    #: `self.retry` was called: how long to wait, in seconds.
    retry_in: float | None = None
    #: The state that the task set last by itself, and what it gave with it.
    said: tuple[str | None, Any] = (None, None)

    def retry(self, args: Any, kwargs: Any, countdown: float | None, eta: datetime | None) -> None:
        """Instead of the message by which Celery calls a task again.

        :raises InternalError: with other arguments: a job's are those that it was made with.
        """
        if list(args or ()) != self.args or dict(kwargs or {}) != self.kwargs:
            raise InternalError("self.retry with other arguments: those of a job cannot be changed")
        # As for Celery, a time that has passed is now.
        self.retry_in = max(0.0, float(countdown or 0) if eta is None else eta.timestamp() - time.time())


_calling: ContextVar[Calling | None] = ContextVar("calling", default=None)


def calling() -> Calling | None:
    """What this thread runs of a job, if it does."""
    return _calling.get()


@contextmanager
def _under_way(call: Calling, app: Celery) -> Iterator[None]:
    """Meanwhile the task's own app is the current one, as in its own workers: a `shared_task` that it calls is that app's."""
    token = _calling.set(call)
    app.set_current()
    try:
        yield
    finally:
        call.around.set_current()
        _calling.reset(token)


@dataclass(frozen=True)
class TaskCall:
    """The stage `call` of a task's pipeline."""

    app: Celery
    name: str

    def __call__(self, context: JobContext) -> Mapping[str, Any]:
        """:raises TryAgain: the task asked for it (`self.retry`, `autoretry_for`). And whatever the task raises."""
        task = adopted(self.app, self.name)
        args, kwargs = (rich(context.params[part]) for part in ("args", "kwargs"))
        call = Calling(context, args, kwargs, current_app._get_current_object())
        with _under_way(call, self.app):
            done = build_tracer(task.name, task, app=self.app, eager=True)(context.job_id, call.args, call.kwargs, _request(call))
        state, value = (done.info.state, done.info.retval) if done.info else (None, done.retval)
        if call.retry_in is not None:
            raise TryAgain(str(value) if state else "the task asked to be called again", call.retry_in)
        if state == FAILURE:
            raise value
        if state == REJECTED:
            raise InternalError(f"the task rejected its call: {value}")
        return {VALUE: plain(_own_end(call) if state == IGNORED else value)}


def _own_end(call: Calling) -> Any:
    """What a task gave that raised `Ignore`: it sets its state by itself, or none.

    :raises InternalError: that it failed.
    """
    state, meta = call.said
    if state == FAILURE:
        said = meta or "the task set its state to FAILURE"
        if isinstance(meta, Mapping) and "exc_type" in meta:
            # As Celery's result backends have an exception.
            text = meta.get("exc_message", "")
            said = f"{meta['exc_type']}: {' '.join(map(str, text)) if isinstance(text, list | tuple) else text}"
        raise InternalError(str(said)[:MAX_ERROR])
    return meta if state == SUCCESS else None


def adopted(app: Celery, name: str) -> Task:
    """The task, with its progress made that of the job that it runs in.

    :raises InternalError: no module that this process has imported defines it.
    :raises ConfigurationError: it asks for what a job cannot have.
    """
    if name not in app.tasks:
        app.loader.import_default_modules()
    task = app.tasks.get(name)
    if task is None:
        raise InternalError(f"the app {app.main!r} has no task {name!r}: is the module that defines it imported?")
    if "update_state" not in vars(task):
        check_task(app, task)
        if task.time_limit:
            registry.limit_runs(name, task.time_limit)
        task.update_state, task.on_replace = _update_state(task.update_state), _on_replace(task.on_replace)
    return task


def _request(call: Calling) -> dict[str, Any]:
    """As a message would have made it. The tracer of an eager call leaves the app's result backend alone; to the task it is none."""
    context = call.context
    return {
        "id": context.job_id, "root_id": context.job_id, "correlation_id": context.job_id, "retries": context.attempt - 1,
        "is_eager": False, "hostname": socket.gethostname(), "delivery_info": {}, "timelimit": (None, None), "callbacks": None,
        "errbacks": None, "chain": None, "chord": None, "headers": {"tenant": context.tenant_id, "workspace": context.workspace_id},
    }  # fmt: skip


def _update_state(stock: Any) -> Any:
    """In the place of a task's `update_state`: what it says within a job is the job's progress."""

    def update(task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any) -> Any:
        call = calling()
        if call is None or task_id not in (None, call.context.job_id):
            return stock(task_id, state, meta, **kwargs)
        call.said = state, meta
        percent, _, message = progress_of(meta)
        call.context.progress((percent or 0.0) / 100, message)
        return None

    return update


def _on_replace(stock: Any) -> Any:
    """In the place of a task's `on_replace`: Celery would run the other task under the job's id, and nobody would hear of its end."""

    def on_replace(sig: Any) -> Any:
        if calling() is not None:
            raise InternalError("self.replace: a job cannot be handed to another task; call that one instead")
        return stock(sig)

    return on_replace


__all__ = ["VALUE", "CallParams", "TaskCall", "adopted", "calling", "plain", "rich"]
