"""Celery's result backend, on top of the job record.

A job's state is changed by the store's scripts alone; of what Celery writes about a job only a revoke, progress and a failure that is not
its pipeline's (the job goes back) are more than an echo. Tasks that are no jobs are kept as the stock Redis backend keeps them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from celery import states
from celery.exceptions import TimeLimitExceeded
from celery.exceptions import TimeoutError as CeleryTimeoutError

from pipeline_jobs.cell import Cell
from pipeline_jobs.exceptions import UnknownJob
from pipeline_jobs.job import JOB_ID, Job
from pipeline_jobs.jobs.results import MAX_BY_VALUE, MAX_RESULT, fetch
from pipeline_jobs.states import JobStatus, Reason
from pipeline_jobs.store.connection import store_errors
from pipeline_jobs.tenants import ANYBODYS, Whose
from pipeline_jobs.worker.chord_join import ChordJoin
from pipeline_jobs.worker.hints import FENCE_HEADER, JOB_TASK
from pipeline_jobs.worker.progress import progress_of
from pipeline_jobs.worker.result import JobFailed
from pipeline_jobs.worker.result_consumer import JobResultConsumer

logger = structlog.get_logger(__name__)

#: Attribute of a request: its run has ended the job as completed.
COMPLETED = "job_completed"
#: Celery's states of a job that has left the queue.
_STATES: dict[JobStatus, str] = {
    JobStatus.RUNNING: states.STARTED,
    JobStatus.COMPLETED: states.SUCCESS,
    JobStatus.FAILED: states.FAILURE,
    JobStatus.CANCELLED: states.REVOKED,
}
#: The meta of a job that is not there.
UNKNOWN = {"status": states.PENDING, "result": None, "record": None}


class JobBackend(ChordJoin):
    """`result_backend = "pipeline_jobs.worker.backend:JobBackend+redis://..."`; needs an app made by `create_celery`."""

    ResultConsumer = JobResultConsumer
    #: Larger results are not fetched, in bytes.
    _most = MAX_RESULT

    def _add_global_keyprefix(self) -> None:
        """Celery's would put a `_` behind some prefixes; the scripts that publish the ends of jobs have the prefix as it is."""
        prefix = self.app.conf.result_backend_transport_options.get("global_keyprefix", "")
        for name in ("task_keyprefix", "group_keyprefix", "chord_keyprefix"):
            setattr(self, name, prefix + getattr(self, name))

    # -- reading

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        if not JOB_ID.fullmatch(task_id):
            meta: dict[str, Any] = super()._get_task_meta_for(task_id)
            if meta["status"] != states.PENDING:
                return meta
        try:
            return self.with_result(job_meta(self._cell.client.get(task_id)))
        except UnknownJob:
            return dict(UNKNOWN)

    def get_task_meta(self, task_id: str, cache: bool = True, whose: Whose = ANYBODYS) -> dict[str, Any]:
        """A task's meta. A job's has its `record` besides; None: there is no such job, whatever Celery calls its state.

        :param cache: False: as it is now, of a waiting job with why it waits; a large result is not fetched.
        :param whose: of which tenant and workspace a job must be to be found, with cache=False.
        :raises StoreUnavailable: at once; Celery would try again, for as long as a request may take.
        """
        if cache:
            return super().get_task_meta(task_id)  # type: ignore[no-any-return]
        try:
            return job_meta(self._cell.client.describe(task_id, whose))
        except UnknownJob:
            return dict(UNKNOWN) if JOB_ID.fullmatch(task_id) else self._stock_meta(task_id)

    def with_result(self, meta: dict[str, Any]) -> dict[str, Any]:
        """A meta with the job's result where it has the reference to it. :raises ResultGone, StoreUnavailable:"""
        return {**meta, "result": fetch(self._cell.artifacts, meta.get("task_id", ""), meta["result"], self._most)}

    def _stock_meta(self, task_id: str) -> dict[str, Any]:
        """The meta of a task that is no job."""
        with store_errors():
            return super()._get_task_meta_for(task_id)  # type: ignore[no-any-return]

    def mget(self, keys: Sequence[Any]) -> list[Any]:
        """What lies under the keys of several tasks; of an ended job, which has no such key, what its record says."""
        found: list[Any] = super().mget(keys)
        missing = [place for place, meta in enumerate(found) if meta is None]
        records = self._cell.store.records("job", [(self._strip_prefix(keys[place]),) for place in missing])
        for place, record in zip(missing, records, strict=True):
            job = Job.from_mapping(record) if record else None
            if job and job.ended:
                found[place] = self.encode({**self.with_result(job_meta(job)), "record": None})
        return found

    def wait_for_pending(
        self,
        result: Any,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[Any], None] | None = None,
        on_interval: Callable[[], None] | None = None,
        callback: Callable[[str, Any], None] | None = None,
        propagate: bool = True,
        **_: Any,
    ) -> Any:
        """For a job: wait on its record with a connection of one's own, so that any number of threads may."""
        if not self._cell.client.is_job(result.id):
            return super().wait_for_pending(
                result, timeout=timeout, interval=interval, no_ack=no_ack, on_message=on_message,
                on_interval=on_interval, callback=callback, propagate=propagate,
            )  # fmt: skip
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = 60.0 if deadline is None else max(0.0, deadline - time.monotonic())
            job = self._cell.client.wait(result.id, min(left, interval) if on_interval else left)
            if job.ended:
                break
            if on_interval:
                on_interval()
            if deadline is not None and time.monotonic() >= deadline:
                raise CeleryTimeoutError("The operation timed out.")
        meta = self.with_result(job_meta(job))
        result._maybe_set_cache(self.meta_from_decoded(meta))
        if on_message:
            on_message(meta)
        return result.maybe_throw(callback=callback, propagate=propagate)

    def remove_pending_result(self, result: Any) -> Any:
        """Each result of a request comes here as it ends; stock code makes sure of a subscription that no result of a job has by itself."""
        return super().remove_pending_result(result) if any(self._pending_results) else result

    def drop_pending_result(self, result: Any) -> None:
        """A result is collected: as `remove_pending_result`, but nothing is said to the server now."""
        if (any(self._pending_results) or self.result_consumer.subscribed_to) and not self._remove_pending_result(result):
            self.result_consumer.cancel_later(result.id)

    # -- writing

    def store_result(self, task_id: str, result: Any, state: str, traceback: str | None = None, request: Any = None, **kwargs: Any) -> Any:
        """A state of a task. For a job: see the module's docstring; never makes a record.

        :return: of a job's progress what the store answered (`ok`, `cancel`, `fenced`), of its other states None; else as Celery.
        """
        if not self._is_job(task_id, request):
            return super().store_result(task_id, result, state, traceback=traceback, request=request, **kwargs)
        fence = getattr(request, FENCE_HEADER, None)
        store = self._cell.store
        if state == states.FAILURE and fence is None and not store.exists("job", task_id):
            # The job of a chain that broke before it: nobody will make it, and who waits for it must hear of that.
            return super().store_result(task_id, result, state, traceback=traceback, request=request, **kwargs)
        if state == states.REVOKED:
            self._cancel(task_id)
        elif fence is None:
            # Somebody outside the run writes: what he says of it is no more than an opinion.
            return None
        elif state == states.FAILURE:
            self._not_the_pipelines(task_id, fence, result)
        elif state not in (states.SUCCESS, states.RETRY, states.STARTED, states.PENDING, states.RECEIVED):
            return store.progress(task_id, fence, *progress_of(result), passed=kwargs.get("passed", ()))
        return None

    def mark_as_failure(self, task_id: str, exc: Exception, traceback: Any = None, request: Any = None, **options: Any) -> None:
        """A task failed: its chord, its chain and its errbacks hear of it.

        Not so of a job that goes back to the queue, nor of one that completed: Celery says this when it cannot send what comes after a
        task. The row of its continuation stays, and maintenance sends it.
        """
        fence = getattr(request, FENCE_HEADER, None)
        if getattr(request, COMPLETED, False):
            logger.warning("the continuation of a completed job could not be sent, will try again", job_id=task_id, error=str(exc))
        elif fence is not None and not isinstance(exc, JobFailed) and self._is_job(task_id, request):
            self._not_the_pipelines(task_id, fence, exc)
        else:
            super().mark_as_failure(task_id, exc, traceback, request, **options)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **options: Any) -> None:
        """The last one of a group of groups or chains joins their results here: its body is given what any other chord's is."""
        # A job has a row that says what follows it; of other tasks nobody would tell their chord again.
        join = self.join_chord_of_job if FENCE_HEADER in vars(request) else super().on_chord_part_return
        self._most = MAX_BY_VALUE
        try:
            join(request, state, result, **options)
        finally:
            self._most = MAX_RESULT

    def _not_the_pipelines(self, job_id: str, fence: int, error: Any) -> None:
        """What a pipeline raised, the run's own finish has said. Anything else ends no job: it goes back, if it runs still."""
        if not isinstance(error, JobFailed):
            # One that Celery kills at a time limit of its own would be killed again for ever: that is counted.
            self._cell.store.requeue(job_id, fence, "crash" if isinstance(error, TimeLimitExceeded) else "fault")

    def _cancel(self, job_id: str) -> None:
        try:
            self._cell.store.cancel(job_id, whole=False)
        except UnknownJob:
            # Revoking what does not exist must not make it exist.
            pass

    def _forget(self, task_id: str) -> None:
        """For a job: delete its record. :raises JobNotEnded: it is still live."""
        if self._cell.client.is_job(task_id):
            self._cell.client.delete(task_id)
        else:
            super()._forget(task_id)

    def forget_job(self, task_id: str, order: int) -> None:
        """`forget`, of the job of this order only. :raises UnknownJob: :raises JobNotEnded:"""
        self._cache.pop(task_id, None)
        self._cell.client.delete(task_id, order)

    def _is_job(self, task_id: str, request: Any) -> bool:
        task = getattr(request, "task", None)
        return bool(task == JOB_TASK if task else self._cell.client.is_job(task_id))

    @property
    def _cell(self) -> Cell:
        return self.app.cell  # type: ignore[no-any-return]


def celery_state(job: Job) -> str:
    """Celery's name of a job's state.

    A queued job is PENDING until it is dispatched, then RECEIVED; RETRY when it has run before and went back to the queue. A running job is
    STARTED until its first progress, then PROGRESS.
    """
    if job.status is JobStatus.QUEUED:
        if job.crashes or job.handbacks or job.attempt:
            return states.RETRY  # type: ignore[no-any-return]
        return states.RECEIVED if job.reason == Reason.DISPATCHED else states.PENDING  # type: ignore[no-any-return]
    if job.status is JobStatus.RUNNING and job.progress > 0:
        return "PROGRESS"
    return _STATES[job.status]


def job_meta(job: Job) -> dict[str, Any]:
    """A record as Celery's result meta. `result` of a live job is what `AsyncResult.info` shows: its progress."""
    result: Any
    if job.status is JobStatus.COMPLETED:
        result = job.result
    elif job.status is JobStatus.FAILED:
        result = _exception("JobFailed", "pipeline_jobs.worker.result", job.error or "")
    elif job.status is JobStatus.CANCELLED:
        result = _exception("TaskRevokedError", "celery.exceptions", "cancelled")
    else:
        result = {
            "progress": job.progress,
            "stage": job.stage,
            "message": job.message,
            "status": job.status.value,
            "reason": job.reason,
            "cancel_requested": job.cancel_requested,
            "tenant_id": job.tenant_id,
            "workspace_id": job.workspace_id,
        }
    return {
        "task_id": job.job_id,
        "status": celery_state(job),
        "result": result,
        "traceback": None,
        "children": [],
        "tenant_id": job.tenant_id,
        "workspace_id": job.workspace_id,
        "pipeline": job.pipeline,
        "name": JOB_TASK,
        "worker": job.worker,
        "record": job,
    }


def _exception(kind: str, module: str, text: str) -> dict[str, Any]:
    return {"exc_type": kind, "exc_module": module, "exc_message": [text]}
