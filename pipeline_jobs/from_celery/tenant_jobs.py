"""`tenant_jobs(app, tasks=[...])`: to call one of these tasks of a Celery app makes a job. The rest of the app is as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

from celery import Celery, current_app
from celery.states import SUCCESS

from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.from_celery.task_call import VALUE, CallParams, TaskCall, adopted, calling, plain, rich
from pipeline_jobs.from_celery.task_options import check_call, check_options
from pipeline_jobs.job import ACCEPTED, JOB_ID
from pipeline_jobs.jobs.client import MAX_ATTEMPTS
from pipeline_jobs.pipelines import Pipeline, RetryPolicy, Stage, register
from pipeline_jobs.settings import Settings, load_settings
from pipeline_jobs.tenants import NAME
from pipeline_jobs.worker.app import JobsCelery, create_sender
from pipeline_jobs.worker.hints import JOB_TASK
from pipeline_jobs.worker.result import JobResult

#: What `Task.apply_async` passes on by itself, or what says how to send a message: a job's is sent by the store.
_OF_MESSAGES = frozenset(
    ("task_type", "result_cls", "shadow", "producer", "publisher", "connection", "router", "route_name", "serializer", "delivery_mode",
     "compression", "immediate", "mandatory", "ignore_result", "retries", "replaced_task_nesting", "root_id", "parent_id", "reply_to")
)  # fmt: skip
#: Fields of a job that a call may give beside the task's own arguments.
_FIELDS = frozenset(ACCEPTED) - {"pipeline", "params", "url", "quality", "priority"}


def tenant_jobs(app: Celery, *, tasks: Iterable[str]) -> None:
    """Make these tasks of a Celery app jobs of tenants: calling one (`delay`, `apply_async`) submits a job.

    Call it before the app is used, best right after it was made, in the module that the jobs' workers import (`PIPELINE_MODULES`). Calls
    take fields of a job as options: `render.apply_async((1,), tenant_id="acme", webhook={...})`; without `tenant_id` it is the tenant of
    `with_tenant`, or `default`. Their results are `TaskResult`s. `task_always_eager` runs the task here, as ever.

    :param tasks: names, as Celery has them: "shop.tasks.render".
    :raises ConfigurationError: a name cannot be that of a pipeline. Tasks that ask for what a job cannot have are refused with the same
        error: as they are declared, or at their first call or run.
    """
    if isinstance(tasks, str):
        raise ConfigurationError("tenant_jobs: tasks must be a list of names")
    jobs = _Jobs(app, tasks)
    for name in jobs.names:
        register(_pipeline(app, name))
    app.task = _checked(app.task, app, jobs.names)
    jobs.stock_send, app.send_task = app.send_task, jobs.send_task
    jobs.stock_result, app.AsyncResult = app.AsyncResult, jobs.result_of


class TaskResult(JobResult):
    """The result of a task that became a job: `get()` and `result` are what the task returned, all else is of the job."""

    def get(self, *args: Any, **options: Any) -> Any:
        """:raises JobFailed: the task failed; its text has the error. :raises TaskRevokedError: the job was cancelled."""
        return _returned(super().get(*args, **options))

    @property
    def result(self) -> Any:
        found = super().result
        return _returned(found) if self.state == SUCCESS else found

    info = result


def _returned(result: Any) -> Any:
    return rich(result["data"].get(VALUE))


class _Jobs:
    """Stands between an app and its broker."""

    stock_send: Callable[..., Any]
    stock_result: Callable[..., Any]

    def __init__(self, app: Celery, tasks: Iterable[str]) -> None:
        self.names = frozenset(tasks)
        self._app = app
        for name in self.names:
            if not NAME.fullmatch(name):
                raise ConfigurationError(f"tenant_jobs: {name!r} cannot be the name of a pipeline: it must match {NAME.pattern}")

    @cached_property
    def sender(self) -> JobsCelery:
        """A worker of jobs has an app that sends them; another process is given one, by the same settings."""
        call = calling()
        current = call.around if call else current_app._get_current_object()
        return current if isinstance(current, JobsCelery) else create_sender(load_settings())

    def send_task(self, name: str, args: Any = None, kwargs: Any = None, *positional: Any, **options: Any) -> Any:
        """In the place of the app's, through which every call goes that is not eager."""
        if name not in self.names:
            return self.stock_send(name, args, kwargs, *positional, **options)
        if positional:
            raise TypeError("give options by name")
        given = {option: value for option, value in options.items() if value is not None}
        call = calling()
        if call and given.get("task_id") == call.context.job_id:
            return call.retry(args, kwargs, given.get("countdown"), given.get("eta"))
        check_call(name, given)
        adopted(self._app, name)
        return self._submit(name, args, kwargs, given)

    def _submit(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> TaskResult:
        fields = {option: options.pop(option) for option in _FIELDS.intersection(options)}
        options = {option: value for option, value in options.items() if option not in _OF_MESSAGES}
        params = {"args": plain(list(args or ())), "kwargs": plain(dict(kwargs or {}))}
        sent = self.sender.tasks[JOB_TASK].apply_async(kwargs={"pipeline": name, "params": params, **fields}, **options)
        result = TaskResult(sent.id, app=self.sender)
        result.accepted = sent.accepted
        return result

    def result_of(self, task_id: str, *args: Any, **options: Any) -> Any:
        """In the place of the app's `AsyncResult`. Nothing is asked: the other tasks need no store."""
        if JOB_ID.fullmatch(task_id):
            return TaskResult(task_id, app=self.sender)
        return self.stock_result(task_id, *args, **options)


def _pipeline(app: Celery, name: str) -> Pipeline:
    # Whether it is tried again is decided by Celery, in the task (`max_retries`).
    return Pipeline(
        name, (Stage("call", TaskCall(app, name)),), CallParams, needs_url=False, description=f"The Celery task {name}.",
        retry=RetryPolicy(max_attempts=MAX_ATTEMPTS), self_test=_Adopts(app, name),
    )  # fmt: skip


class _Adopts:
    """Run as a worker starts: one that cannot run the task says so, and runs no such job."""

    def __init__(self, app: Celery, name: str) -> None:
        self._of = app, name

    def __call__(self, settings: Settings) -> str:
        adopted(*self._of)
        return ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Adopts) and self._of == other._of

    def __hash__(self) -> int:
        return hash(self._of)


def _checked(stock: Callable[..., Any], app: Celery, names: frozenset[str]) -> Callable[..., Any]:
    """`app.task`, which refuses such a task where it is declared."""

    def declared(function: Callable[..., Any], options: dict[str, Any]) -> None:
        name = options.get("name") or app.gen_task_name(function.__name__, function.__module__)
        if name in names:
            check_options(name, options)

    def task(*args: Any, **options: Any) -> Any:
        made = stock(*args, **options)
        if args and callable(args[0]):
            declared(args[0], options)
            return made

        def decorate(function: Callable[..., Any]) -> Any:
            declared(function, options)
            return made(function)

        return decorate

    return task


__all__ = ["TaskResult", "tenant_jobs"]
