"""`AsyncResult` of a job: each of its operations is an operation on the record (the card's mapping)."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import click
from celery.app import app_or_default
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult
from vine import promise

from pipeline_jobs.cell import Cell
from pipeline_jobs.exceptions import UnknownJob
from pipeline_jobs.job import Job
from pipeline_jobs.jobs.handle import JobHandle
from pipeline_jobs.store.cancelled import Cancelled
from pipeline_jobs.store.idempotency import Accepted
from pipeline_jobs.tenants import ANYBODYS, Whose


class JobFailed(Exception):
    """A job ended as failed; raised by `AsyncResult.get()`. Its text is the job's `error`."""


class JobResult(AsyncResult):
    """The result of any task of this app; for a job, its record.

    `GET /pipeline/jobs/{id}` is `record()`, `DELETE` of a live one `revoke()`, of an ended one `forget()`, waiting `until_ended()`.
    """

    #: What a submit gave: the job as it was accepted, the rates, and whether an Idempotency-Key had made it before. Else None.
    accepted: Accepted | None = None

    def __init__(self, id: str, backend: Any = None, task_name: str | None = None, app: Any = None, parent: Any = None) -> None:
        """As Celery's, but for the promise of its end: each request makes a result, and almost none a promise."""
        if id is None:
            raise ValueError("a result needs the id of its task")
        self.app = app_or_default(app or self.app)  # type: ignore[has-type]
        self.id, self.parent, self.backend = id, parent, backend or self.app.backend
        self._cache, self._ignored = None, False

    @cached_property
    def on_ready(self) -> promise:
        """Called at its end, by whoever hears of that."""
        return promise(self._on_fulfilled, weak=True)

    def __del__(self) -> None:
        """Celery's would talk to the server here: wherever the garbage collector runs, for 20 s while that is away, and as Python ends."""
        if self.backend is not None:
            self.backend.drop_pending_result(self)

    def get(self, *args: Any, **options: Any) -> Any:
        """As Celery's. In the command `celery result` the end of a job without a result, or that there is none, is one line."""
        try:
            return super().get(*args, **options)
        except (UnknownJob, JobFailed, TaskRevokedError) as error:
            context = click.get_current_context(silent=True)
            if context is None or context.info_name != "result":
                raise
            raise click.ClickException(f"{self.id}: {error}") from None

    def record(self, whose: Whose = ANYBODYS) -> Job:
        """The job's record, read now; a waiting one with why it waits. :raises UnknownJob: there is none, or it is not theirs."""
        job: Job | None = self.backend.get_task_meta(self.id, cache=False, whose=whose).get("record")
        if job is None:
            raise UnknownJob
        return job

    def revoke(
        self, connection: Any = None, terminate: bool = False, signal: Any = None, wait: bool = False, timeout: float | None = None
    ) -> Job | None:
        """Cancel the job and give its record afterwards; a task that is no job is revoked as Celery does (None).

        A queued job is cancelled when this returns. A running one is asked to stop: its worker sees it within a second or two,
        and `terminate` asks for it at once.

        :raises UnknownJob: the id looks like a job's and there is none.
        """
        if not self._cell.client.is_job(self.id):
            super().revoke(connection=connection, terminate=terminate, signal=signal, wait=wait, timeout=timeout)
            return None
        job = JobHandle(self._cell.client, self._cell.say, self.id).revoke()
        if terminate and not job.ended:
            super().revoke(connection=connection, terminate=True, signal=signal, wait=wait, timeout=timeout)
        return job

    def cancel(self, whose: Whose, *, actor: str | None = None, whole: bool = False) -> Cancelled:
        """Cancel a job of theirs (`revoke`), and say what it was before (`JobHandle.cancel`)."""
        return JobHandle(self._cell.client, self._cell.say, self.id).cancel(whose, actor=actor, whole=whole)

    def forget(self, order: int | None = None) -> None:
        """As Celery's. :param order: `Job.order` of the job that was looked at: a later one with this id is not removed."""
        if order is None:
            super().forget()
        else:
            self.backend.forget_job(self.id, order)

    def until_ended(self, timeout: float) -> Job:
        """Wait at most `timeout` seconds for the end; the record as it is then. :raises UnknownJob:"""
        return self._cell.client.wait(self.id, timeout)

    @property
    def tenant_id(self) -> str | None:
        """Whose job it is; None for a task that is no job."""
        tenant: str | None = self._get_task_meta().get("tenant_id")
        return tenant

    @property
    def workspace_id(self) -> str | None:
        workspace: str | None = self._get_task_meta().get("workspace_id")
        return workspace

    @property
    def _cell(self) -> Cell:
        return self.app.cell  # type: ignore[no-any-return]
