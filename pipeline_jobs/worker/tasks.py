"""The Celery tasks: one that runs a job, and those of the maintenance queue."""

from __future__ import annotations

from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore

from pipeline_jobs.exceptions import IdTaken, InvalidInput
from pipeline_jobs.job import NewJob, StepResult, new_job_id
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.jobs.executor import Ending, Outcome
from pipeline_jobs.operation.maintenance import sweep_workdirs
from pipeline_jobs.settings import Settings
from pipeline_jobs.tenants import TenantContext, current_tenant
from pipeline_jobs.worker.hints import CANVAS_OPTIONS, FENCE_HEADER, JOB_TASK, MAINTENANCE_QUEUE, message, tick
from pipeline_jobs.worker.request import JobCancelledSignal, JobGivenUpSignal, JobRequeuedSignal
from pipeline_jobs.worker.result import JobFailed

#: Ticks that may wait: more would only say the same again.
MOST_TICKS = 100


class Tick(Task):
    """A task of maintenance. On the store's own server its message goes through a script, so that it gets through when that is full."""

    abstract = True
    Request = "pipeline_jobs.worker.request:TickRequest"
    #: Flower's newest rows are jobs: a tick would be most of them.
    send_events = False

    def apply_async(self, args: Any = None, kwargs: Any = None, *, expires: Any = None, **options: Any) -> Any:
        """:return: an `AsyncResult`, or None where a script sent it."""
        jobs = self.app.jobs
        if not jobs.settings.broker_is_store:
            return super().apply_async(args, kwargs, expires=expires, **options)
        jobs.client.store.tick(MAINTENANCE_QUEUE, tick(self.app, self.name, expires), MOST_TICKS)
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
        **options: Any,
    ) -> Any:
        """Submit a job through the client. Takes what `run_job` takes, and Celery's options for callbacks, chains and groups.

        :return: its `AsyncResult`.
        :raises InvalidInput: a field is wrong, or `eta`, `countdown` or `expires` is given: a Celery ETA would wait in a worker's memory.
        """
        for option in ("eta", "countdown", "expires"):
            if options.get(option) is not None:
                raise InvalidInput(f"{option} is not for jobs: they wait in the store, not in a worker's memory", field=option)
        app = self.app
        if app.conf.task_always_eager:
            return self.apply(args, kwargs, task_id=task_id or new_job_id(), link=link, link_error=link_error)
        canvas = {name: options[name] for name in CANVAS_OPTIONS if options.get(name) is not None}
        own = message(app, link=link, link_error=link_error, **canvas) if canvas or link or link_error else None
        job = app.jobs.client.submit(_new_job(args, kwargs), job_id=task_id, message=own)
        result = app.AsyncResult(job.job_id)
        parent = app.current_worker_task
        if options.get("add_to_parent", True) and parent:
            parent.add_trail(result)
        return result

    def run(self, *args: Any, **fields: Any) -> dict[str, Any]:
        """In a worker: run the job whose hint this is. The arguments are the fields of a new job (`NewJob`), by name; a hint has none.

        :return: `StepResult.to_dict()`
        :raises JobFailed: the job failed; the record says so already.
        """
        request = self.request
        jobs = self.app.jobs
        if request.is_eager:
            new = _new_job(request.args, request.kwargs)
            result: StepResult = jobs.executor.run_in_process(jobs.client.prepare(new))
            return result.to_dict()
        fence = getattr(request, FENCE_HEADER, None)
        if fence is None:
            fence = self._adopt(jobs.client)
        outcome: Outcome = jobs.executor.run(request.id, int(fence), jobs.worker_id)
        if outcome.ending is Ending.COMPLETED:
            return dict(outcome.result or {})
        if outcome.ending is Ending.FAILED:
            raise JobFailed(outcome.error)
        if outcome.ending is Ending.CANCELLED:
            self._leave_canvas()
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
            job = client.prepare(new, request.id)
            # One that has to wait waits in the store, not here.
            waits = bool(new.depends_on or new.run_at)
            client.store.submit(job, nonce=f"adopt-{request.id}", adopt=not waits)
        except InvalidInput as error:
            raise JobFailed(f"message without a record, and not a job: {error}") from error
        except IdTaken:
            raise Ignore("nothing to do: a message without a fence for a job that has a record") from None
        self.app.log.get_default_logger().warning(
            "adopted message %s, which had no record, as a job of tenant %s", request.id, job.tenant_id
        )
        if waits:
            raise Ignore("it waits in the store for its time or for other jobs")
        return 1

    def _leave_canvas(self) -> None:
        """A cancelled member of a chord must be counted, or its body would wait for ever."""
        if self.request.chord:
            self.backend.on_chord_part_return(self.request, "REVOKED", JobFailed("cancelled"))


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


def register(app: Celery) -> None:
    """Put the tasks on an app that `create_celery` made."""
    app.register_task(JobTask())
    # shared=False: a shared task would be put on every later app of the process, with this app's parts.

    @app.task(name="pipeline_jobs.maintenance.purge", base=Tick, ignore_result=True, shared=False)
    def purge() -> dict[str, int]:
        """TTL cleanup, uploads past their time, artifacts of removed jobs, the webhook ledger, left-over working folders of this disk."""
        jobs = app.jobs
        # First the uploads past their time: the purge deletes their files with the other trash.
        uploads, rows = jobs.uploads.sweep(), jobs.webhooks.ledger.purge()
        done = jobs.purge.run_once()
        return {**done, "uploads": uploads, "deliveries": rows, "workdirs": sweep_workdirs(jobs.client.store, jobs.settings)}

    @app.task(name="pipeline_jobs.maintenance.rescue", base=Tick, ignore_result=True, shared=False)
    def rescue() -> dict[str, int]:
        """Dead workers' jobs and lost hints go back to the queue."""
        counts: dict[str, int] = app.jobs.rescue.run_once()
        return counts

    @app.task(name="pipeline_jobs.maintenance.reconcile", base=Tick, ignore_result=True, shared=False)
    def reconcile() -> dict[str, int]:
        """Counters and indexes against the records."""
        counts: dict[str, int] = app.jobs.reconcile.run_once()
        return counts

    @app.task(name="pipeline_jobs.maintenance.canary", base=Tick, ignore_result=True, shared=False)
    def canary() -> dict[str, int]:
        """A job that does nothing, through the queue `jobs`."""
        counts: dict[str, int] = app.jobs.canary.run_once()
        return counts

    @app.task(name="pipeline_jobs.maintenance.fire", base=Tick, ignore_result=True, shared=False)
    def fire() -> dict[str, int]:
        """The jobs of schedules that are due."""
        counts: dict[str, int] = app.jobs.fire.run_once()
        return counts

    @app.task(name="pipeline_jobs.maintenance.webhooks", base=Tick, ignore_result=True, shared=False)
    def webhooks() -> dict[str, int]:
        """A sender of webhooks runs in this process, from the first tick on."""
        counts: dict[str, int] = app.jobs.webhooks.sender.run_once()
        return counts


def beat_schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """What beat ticks. A tick that waited longer than two intervals is of no use any more: it expires."""
    intervals = {
        "rescue": settings.rescue_seconds,
        "purge": settings.cleanup_seconds,
        "reconcile": settings.cleanup_seconds,
        "canary": settings.canary_seconds,
        "fire": settings.fire_seconds,
        "webhooks": settings.webhook_seconds,
    }
    return {
        name: {
            "task": f"pipeline_jobs.maintenance.{name}",
            "schedule": seconds,
            "options": {"queue": MAINTENANCE_QUEUE, "expires": max(seconds, 1.0) * 2},
        }
        for name, seconds in intervals.items()
        if seconds > 0
    }
