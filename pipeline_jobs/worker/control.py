"""Revoke and terminate, for jobs: the record first, so that they hold with no worker alive and over any restart.

`JobControl.broadcast` is on the path of the CLI, of Flower and of `AsyncResult.revoke`; the commands below replace Celery's own in each
worker. No job id ever gets into a worker's set of revoked ids: that would throw away a later hint of the same job.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from celery.app.control import Control
from celery.utils.functional import maybe_list
from celery.worker import control as celery_control
from celery.worker import state as celery_state
from celery.worker.control import Panel, control_command

from pipeline_jobs.access import audit
from pipeline_jobs.cell import Cell
from pipeline_jobs.exceptions import InvalidInput, UnknownJob
from pipeline_jobs.jobs import pipeline_limits
from pipeline_jobs.jobs.handle import JobHandle
from pipeline_jobs.jobs.pipeline_limits import PipelineLimits
from pipeline_jobs.states import LIVE
from pipeline_jobs.store.cancelled import Cancelled
from pipeline_jobs.tenants import ANYBODYS, TenantLimits
from pipeline_jobs.worker.hints import JOB_TASK, JOBS_QUEUE, job_queues, jobs_queue
from pipeline_jobs.worker.request import JobRequest

#: How long a job may take to stop when an operator asked to terminate it, in seconds; then its process is killed.
TERMINATE_SECONDS = 3.0


class JobControl(Control):
    """`Celery(control=...)`."""

    def broadcast(self, command: str, arguments: dict[str, Any] | None = None, *args: Any, **kwargs: Any) -> Any:
        """Write the cancel of each job among the ids, then tell the workers as Celery does."""
        if command in ("revoke", "terminate") and arguments:
            cell: Cell = self.app.cell
            for task_id in maybe_list(arguments.get("task_id")) or ():
                if cell.client.is_job(task_id) and (done := _cancel(cell, task_id)) and done.was in LIVE:
                    tenant = done.tenant_id
                    audit.record(cell.store, None, "job.cancelled", task_id, {"tenant_id": tenant, "command": command}, tenant_id=tenant)
        if command == "tenant_limits" and arguments:
            set_limits(self.app.cell, arguments["tenant"], arguments["limits"])
        if command == "pipeline_limit" and arguments:
            set_pipeline_limit(self.app.cell, arguments["pipeline"], arguments["most"])
        return super().broadcast(command, arguments, *args, **kwargs)

    def drain(self, worker: str, *, undo: bool, timeout: float) -> list[Any]:
        """Let a worker (`jobs@host`) leave the queue `jobs`, or consume it again. It holds until the worker ends.

        :return: its answer, as Celery gives it; empty: there was none in time.
        """
        command = self.add_consumer if undo else self.cancel_consumer
        return list(command(JOBS_QUEUE, destination=[worker], reply=True, limit=1, timeout=timeout) or ())


def set_limits(cell: Cell, tenant: str, limits: str) -> TenantLimits:
    """Put a tenant's limits, given as JSON, in the place of those it had.

    :raises InvalidInput: no JSON object, an unknown limit, or a value that cannot be.
    """
    try:
        wanted = TenantLimits(**json.loads(limits))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"limits: {error}", field="limits") from None
    return cell.client.set_limits(tenant, wanted)


def set_pipeline_limit(cell: Cell, pipeline: str, most: str) -> PipelineLimits:
    """Set how many jobs of a pipeline run at once: a number, or `declared` for what the pipeline itself says.

    :raises InvalidInput: there is no such pipeline, or it is no such number.
    """
    cell.pipelines.get(pipeline)
    if not re.fullmatch(r"declared|[0-9]{1,7}", most, re.ASCII):
        raise InvalidInput("most must be a number of jobs or `declared`", field="most")
    cap = None if most == "declared" else int(most)
    return pipeline_limits.set_cap(cell.store, pipeline, cap)


@control_command(args=[("pipeline", str), ("most", str)], signature="<pipeline> <most jobs at once, or declared>")
def pipeline_limit(state: Any, pipeline: str, most: str, **kwargs: Any) -> Any:
    """Set how many jobs of a pipeline run at once, over all workers; `declared`: the number that the pipeline declares."""
    # Written by the sender, as for tenant_limits.
    return {"ok": pipeline_limits.of(state.app.cell.store, pipeline).to_dict()}


@control_command(args=[("tenant", str), ("limits", str)], signature="<tenant or *> <limits as JSON>")
def tenant_limits(state: Any, tenant: str, limits: str, **kwargs: Any) -> Any:
    """Set a tenant's limits, for example: acme '{"weight": 2, "max_concurrent": 4}'. They apply to its queued jobs immediately."""
    # Written by whoever sent the command (`JobControl.broadcast`), so that it holds with no worker alive; each worker answers what it sees.
    return {"ok": state.app.cell.client.limits(tenant).to_dict()}


def _cancel(cell: Cell, job_id: str) -> Cancelled | None:
    """:return: None: there is no such job."""
    try:
        return JobHandle(cell.client, cell.say, job_id).cancel(ANYBODYS)
    except UnknownJob:
        return None


def revoke(state: Any, task_id: Any, terminate: bool = False, signal: str | None = None, **kwargs: Any) -> Any:
    """Cancel jobs and revoke other tasks, by id (or list of ids)."""
    app = state.app
    ids = list(maybe_list(task_id) or ())
    ours = [one for one in ids if app.cell.client.is_job(one)]
    others = [one for one in ids if one not in ours]
    unknown = []
    for job_id in ours:
        if _cancel(app.cell, job_id) is None:
            unknown.append(job_id)
        if terminate and app.keeper:
            kill_now = str(signal or "").upper() in ("KILL", "SIGKILL", "9")
            app.keeper.hurry(job_id, 0.0 if kill_now else TERMINATE_SECONDS)
    if others:
        reply = celery_control.revoke(state, others, terminate=terminate, signal=signal, **kwargs)
        if not ours:
            return reply
    if unknown:
        return {"error": f"no such job: {', '.join(unknown)}"}
    return {"ok": f"{'terminate' if terminate else 'cancel'}: {', '.join(ids)}"}


def terminate(state: Any, signal: str, task_id: Any, **kwargs: Any) -> Any:
    """Cancel jobs and terminate other tasks, by id (or list of ids)."""
    return revoke(state, task_id, terminate=True, signal=signal, **kwargs)


def rate_limit(state: Any, task_name: str, rate_limit: Any, **kwargs: Any) -> Any:
    """Tell worker(s) to modify the rate limit for a task by type."""
    if task_name == JOB_TASK:
        # Hints would wait in this worker while their jobs keep their slots, and be dispatched again and again.
        return {"error": "a rate limit would starve jobs: set the tenant's (start_rate), or the pipeline's (control pipeline_limit)"}
    return celery_control.rate_limit(state, task_name, rate_limit, **kwargs)


def autoscale(state: Any, max: int | None = None, min: int | None = None) -> Any:
    """Change the autoscale settings; a worker without an autoscaler (the maintenance worker) ignores it."""
    if state.consumer.controller.autoscaler is None:
        return {"ok": "ignored: this worker was started with -c"}
    return celery_control.autoscale(state, max, min)


def query_task(state: Any, ids: Any, **kwargs: Any) -> dict[str, Any]:
    """Query for task information by id."""
    # Celery's by the messages: a child may have gone on from the job of its message to others.
    found: dict[str, Any] = celery_control.query_task(state, ids, **kwargs)
    wanted = set(maybe_list(ids) or ())
    for request in _job_requests(celery_state.active_requests):
        info = request.info()
        if info["id"] != request.id:
            found.pop(request.id, None)
        if info["id"] in wanted:
            found[info["id"]] = ["active", info]
    return found


def stats(state: Any, **kwargs: Any) -> dict[str, Any]:
    """Request worker statistics/information."""
    if state.app.keeper:
        state.app.keeper.count()
    found: dict[str, Any] = celery_control.stats(state, **kwargs)
    return found


def _job_requests(requests: Iterable[Any]) -> list[JobRequest]:
    return [request for request in tuple(requests) if isinstance(request, JobRequest)]


def cancel_consumer(state: Any, queue: str, **options: Any) -> Any:
    """Stop consuming a queue; with `jobs` those of the worker's pool and class."""
    return _with_class(celery_control.cancel_consumer, state, queue, options)


def add_consumer(state: Any, queue: str, **options: Any) -> Any:
    """Consume a queue; with `jobs` those of the worker's pool and class."""
    return _with_class(celery_control.add_consumer, state, queue, options)


def _with_class(command: Callable[..., Any], state: Any, queue: str, options: Mapping[str, Any]) -> Any:
    if queue in (JOBS_QUEUE, jobs_queue(state.app)):
        # Whatever its pool is: who tells a worker to leave `jobs` means its jobs.
        queue, *others = job_queues(state.app)
        for of_class in others:
            command(state, of_class)
    done = command(state, queue, **options)
    if state.app.keeper:
        state.app.keeper.look()
    return done


def install() -> None:
    """Put our commands in the place of Celery's, keeping what the CLI knows about their arguments."""
    for command in (revoke, terminate, rate_limit, autoscale, cancel_consumer, add_consumer, query_task, stats):
        Panel.data[command.__name__] = command
