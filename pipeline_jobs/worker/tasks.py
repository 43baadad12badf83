"""The Celery tasks: one that runs a job, and those of the maintenance queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore
from celery.states import SUCCESS
from structlog.contextvars import clear_contextvars

from pipeline_jobs.cell import Cell, Duty
from pipeline_jobs.exceptions import IdTaken, InvalidInput
from pipeline_jobs.job import NewJob, new_job_id
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.jobs.executor import Ending
from pipeline_jobs.jobs.patience import patiently
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.rates import Sender
from pipeline_jobs.tenants import TenantContext, current_tenant
from pipeline_jobs.tracing import correlation
from pipeline_jobs.tracing.correlation import Correlation
from pipeline_jobs.worker import continuations
from pipeline_jobs.worker.backend import COMPLETED
from pipeline_jobs.worker.hints import CANVAS_OPTIONS, CONTINUES_HEADER, FENCE_HEADER, JOB_TASK, MAINTENANCE_QUEUE, list_of, message, tick
from pipeline_jobs.worker.options import fields_of
from pipeline_jobs.worker.progress import TaskProgress
from pipeline_jobs.worker.request import DRAWN_HEADER, JobCancelledSignal, JobGivenUpSignal, JobRequeuedSignal, draw_fence
from pipeline_jobs.worker.result import JobFailed

#: Ticks that may wait: more would only say the same again.
MOST_TICKS = 100
#: Duties that do not note themselves when they ran.
NOTED_HERE = frozenset({"continue", "webhooks"})


class Tick(Task):
    """A task of maintenance. On the store's own server its message goes through a script, so that it gets through when that is full."""

    abstract = True
    Request = "pipeline_jobs.worker.request:TickRequest"
    #: Flower's newest rows are jobs: a tick would be most of them.
    send_events = False

    def apply_async(self, args: Any = None, kwargs: Any = None, *, expires: Any = None, **options: Any) -> Any:
        """:return: an `AsyncResult`, or None where a script sent it."""
        cell = self.app.cell
        if not cell.settings.broker_is_store:
            return super().apply_async(args, kwargs, expires=expires, **options)
        cell.store.tick(list_of(self.app, MAINTENANCE_QUEUE), tick(self.app, self.name, expires), MOST_TICKS)
        return None


class JobTask(Task):
    """`run_job`: to call it is to submit a job. The result's id is the job's."""

    Request = "pipeline_jobs.worker.request:JobRequest"
    name = JOB_TASK
    #: The record's own attempts decide.
    max_retries = 0
    typing = True
    acks_late = False
    #: A job's result is its tenant's: nothing of it goes into Celery's log and events, which Flower shows.
    resultrepr_maxsize = 1

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        *,
        job: NewJob | None = None,
        idempotency_key: str | None = None,
        sender: Sender | None = None,
        **options: Any,
    ) -> Any:
        """Submit a job through the client. Takes what `run_job` takes, and Celery's options for callbacks, chains and groups; `eta`,
        `countdown`, `expires` and `time_limit` become fields of the job. `headers` may have the `request_id` and the `traceparent` of
        what asks for it, in the place of the context's (`correlation`).

        :param job: ready, in the place of `args` and `kwargs`: a request's fields are not taken apart and put together again.
        :param idempotency_key: as at `Client.accept`; `sender` likewise.
        :return: its `JobResult`, with `accepted`.
        :raises InvalidInput: a field is wrong, or an option is none for jobs (`priority`, `queue`, `soft_time_limit`, a serializer, ...).
            And whatever else `Client.accept` raises.
        """
        fields = fields_of(options, self.app.conf.task_inherit_parent_priority) if options else {}
        if job is not None and (args or kwargs):
            raise TypeError("give either `job`, which has all its fields, or args and kwargs")
        app = self.app
        if job is None and app.conf.task_always_eager:
            return self.apply(args, kwargs, task_id=task_id or new_job_id(app.cell.settings.cell), link=link, link_error=link_error)
        whose = _whose(options) if options.get("headers") else correlation.current()
        own = _own_message(app, link, link_error, options) if link or link_error or options else None
        new = job or _new_job(args, kwargs)
        with correlation.bound(whose):
            accepted = app.cell.client.accept(
                replace(new, **fields) if fields else new, job_id=task_id, message=own, idempotency_key=idempotency_key, sender=sender
            )
        result = app.AsyncResult(accepted.job.job_id)
        result.accepted = accepted
        parent = app.current_worker_task
        if parent and options.get("add_to_parent", True):
            parent.add_trail(result)
        return result

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, *, request: Any = None, **kwargs: Any
    ) -> Any:
        """Write a run's progress: `update_state(state="PROGRESS", meta={"current": 3, "total": 10})`.

        :param meta: see `progress_of`.
        :param request: the run's own. From another thread than the run's it must be given: Celery has none there, and nothing is written.
        :return: what the store answered: `ok`, `cancel` (stop: it was asked for) or `fenced` (stop: another run has the job); None: it was
            not asked, because the request is no run's or the state says nothing of progress.
        :raises StoreUnavailable:
        """
        request = self.request if request is None else request
        return self.backend.store_result(task_id or request.id, meta, state, request=request, **kwargs)

    def run(self, *args: Any, **fields: Any) -> dict[str, Any]:
        """In a worker: run the job whose hint this is. The arguments are the fields of a new job (`NewJob`), by name; a hint has none.

        :return: `StepResult.to_dict()`
        :raises JobFailed: the job failed; the record says so already.
        """
        request, app = self.request, self.app
        cell: Cell = app.cell
        if request.is_eager:
            new = _new_job(request.args, request.kwargs)
            return cell.run_in_process(new).to_dict()
        fence = getattr(request, FENCE_HEADER, None)
        if fence is None:
            fence = self._adopt(cell.client)
        loop = app.job_loop
        seat = loop.seat if loop else None
        outcome = cell.executor.run(request.id, int(fence), app.worker_id, TaskProgress(self, cell.store, request).progress, seat)
        if outcome.ending is Ending.COMPLETED:
            setattr(request, COMPLETED, True)
            return dict(outcome.result or {})
        if outcome.ending is Ending.FAILED:
            raise JobFailed(outcome.error)
        if outcome.ending is Ending.CANCELLED:
            # Celery tells nobody of a task that was ignored.
            if getattr(request, CONTINUES_HEADER, False):
                continuations.tell(self.app, request.id, str(fence))
            raise JobCancelledSignal(outcome.error or "cancelled")
        if outcome.ending is Ending.REQUEUED:
            raise JobRequeuedSignal(outcome.error or "will be tried again")
        if outcome.ending is Ending.GAVE_UP:
            raise JobGivenUpSignal(outcome.error or "the store is away")
        raise Ignore(f"nothing to do: {outcome.error}")

    def _adopt(self, client: Client) -> int:
        """A bare message (plain `send_task`) has no record: make one, so that it is a job like any other. :return: its fence."""
        request = self.request
        try:
            new = _new_job(request.args, request.kwargs)
            with correlation.bound(Correlation.of({name: getattr(request, name, None) for name in ("request_id", "traceparent")})):
                job = client.prepare(new, request.id)
            # One that has to wait waits in the store, not here.
            waits = bool(new.depends_on or new.run_at)
            fence = int(getattr(request, DRAWN_HEADER, 0)) or draw_fence()
            own = self._canvas_message()
            # The broker has forgotten the message: while the store is away, this process alone knows of it.
            if not waits:
                # This process has it, whatever its first stage's pool is: the run says where it goes on.
                job = job.evolve(pool=self.app.serves or None)
            patiently(lambda: client.store.submit(job, nonce=f"adopt-{request.id}", message=own, adopt=None if waits else fence))
        except InvalidInput as error:
            raise JobFailed(f"message without a record, and not a job: {error}") from error
        except IdTaken:
            raise Ignore("nothing to do: a message without a fence for a job that has a record") from None
        self.app.log.get_default_logger().warning(
            "adopted message %s, which had no record, as a job of tenant %s", request.id, job.tenant_id
        )
        if waits:
            raise Ignore("it waits in the store for its time or for other jobs")
        # From here on it is a run like any other, also to the backend.
        setattr(request, FENCE_HEADER, fence)
        setattr(request, CONTINUES_HEADER, own is not None)
        return fence

    def _canvas_message(self) -> str | None:
        """What follows the job of a bare message, as its record keeps it: its next run has another message. None: nothing does."""
        request = self.request
        if not (request.callbacks or request.errbacks or request.chain or request.chord):
            return None
        canvas = {name: getattr(request, name, None) for name in CANVAS_OPTIONS if name != "headers"}
        return _own_message(self.app, request.callbacks, request.errbacks, {**canvas, "group_id": request.group})

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Celery has told of the end: callbacks, chain, chord or errbacks. So maintenance need not."""
        clear_contextvars()
        if getattr(self.request, CONTINUES_HEADER, False):
            outcome = "completed" if status == SUCCESS else "failed"
            self.app.cell.store.run("continued", id=task_id, outcome=outcome, fence=str(getattr(self.request, FENCE_HEADER, "")))


def _whose(options: dict[str, Any]) -> Correlation:
    """The correlation of a new job: the context's, but for what the headers say. That is taken out of them, since the record has it."""
    given = Correlation.of(options["headers"]).given()
    options["headers"] = {name: value for name, value in options["headers"].items() if name not in given} or None
    return replace(correlation.current(), **given)


def _own_message(app: Celery, link: Any, link_error: Any, options: Mapping[str, Any]) -> str | None:
    """A message that says where the job stands in a canvas, and what is called back; None: the common one does."""
    canvas = {name: options[name] for name in CANVAS_OPTIONS if options.get(name) is not None}
    return message(app, link=link, link_error=link_error, **canvas) if canvas or link or link_error else None


#: The fields that `run_job` takes by position. Messages have them so: the order stays, and a later field is given by name only.
_POSITIONS = (
    "url", "quality", "pipeline", "params", "tenant_id", "workspace_id", "priority", "max_attempts", "tags", "metadata", "webhook",
)  # fmt: skip


def _new_job(args: Any, kwargs: Any) -> NewJob:
    """The call's arguments as a new job; in a tenant's context that tenant's, unless they name another."""
    values = {**dict(zip(_POSITIONS, args or (), strict=False)), **(kwargs or {})}
    here = current_tenant() or TenantContext()
    values["tenant_id"] = values.get("tenant_id") or here.tenant_id
    values["workspace_id"] = values.get("workspace_id") or (here.workspace_id if values["tenant_id"] == here.tenant_id else "main")
    return NewJob.of(values)


def task_of(duty: str) -> str:
    """The name of a task of maintenance."""
    return f"pipeline_jobs.maintenance.{duty}"


def register(app: Celery) -> JobTask:
    """Put the tasks on an app that `create_celery` made. :return: the one that runs jobs."""
    task = JobTask()
    app.register_task(task)
    for name, duty in app.cell.duties.items():
        _register_duty(app, name, duty)
    return task


def _register_duty(app: Celery, name: str, duty: Duty) -> None:
    # shared=False: a shared task would be put on every later app of the process, with this app's cell.
    @app.task(name=task_of(name), base=Tick, ignore_result=True, shared=False)
    def run() -> dict[str, int]:
        counts = duty()
        if name in NOTED_HERE:
            app.cell.store.beat(name)
        return counts


def beat_schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """What beat ticks. A tick that waited longer than two intervals is of no use any more: it expires."""
    intervals = {
        "rescue": settings.rescue_seconds,
        "continue": settings.rescue_seconds,
        "purge": settings.cleanup_seconds,
        "reconcile": settings.cleanup_seconds,
        "canary": settings.canary_seconds,
        "fire": settings.fire_seconds,
        "webhooks": settings.webhook_seconds,
        "history": settings.history_seconds if settings.history_url else 0,
    }
    return {
        name: {
            "task": task_of(name),
            "schedule": seconds,
            "options": {"queue": MAINTENANCE_QUEUE, "expires": max(seconds, 1.0) * 2},
        }
        for name, seconds in intervals.items()
        if seconds > 0
    }
