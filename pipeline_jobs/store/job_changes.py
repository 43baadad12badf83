"""Cancel a job, change its place in the queue, delete it: the commands to one job from outside."""

from __future__ import annotations

from typing import Any

from pipeline_jobs.exceptions import UnknownJob
from pipeline_jobs.job import Job
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.cancelled import Cancelled
from pipeline_jobs.store.readable import DamagedRecord, known
from pipeline_jobs.store.reader import mapping
from pipeline_jobs.store.runner import drawn_call
from pipeline_jobs.store.runs import Runs
from pipeline_jobs.store.scripts import contract
from pipeline_jobs.tenants import ANYBODYS, Whose


class JobChanges(Runs):
    """Each method raises `UnknownJob`: there is none, or it is not theirs."""

    def cancel(self, job_id: str, whose: Whose = ANYBODYS, *, actor: str | None = None, whole: bool = True) -> Cancelled:
        """Ask for a job's end.

        :param actor: who asked, for the audit log; None: the caller writes that down.
        :param whole: the caller needs the record after it.
        """
        done = self.run(
            "cancel_job", id=job_id, call=drawn_call(), tenant=whose.tenant_id, workspace=whose.workspace_id, actor=actor, whole=whole
        )
        if done.was == "unknown":
            raise UnknownJob
        fields = mapping(done.record) if whole else dict(zip(Cancelled.TOLD, done.record, strict=True))
        return Cancelled(JobStatus(done.was), fields)

    def change(
        self, job_id: str, whose: Whose = ANYBODYS, *, priority: int | None = None, run_at: int | None = None
    ) -> tuple[Job, Any] | None:
        """Change a waiting job's priority or earliest start (Unix ms; 0: now).

        :return: the job as it is then, and what the script `queue_position` replies of it; None: it does not wait any more.
        """
        reply = self.run(
            "change", id=job_id, call=drawn_call(), tenant=whose.tenant_id, workspace=whose.workspace_id, priority=priority, start=run_at
        )
        if reply.became == "unknown":
            raise UnknownJob
        if reply.became == "damaged":
            raise DamagedRecord
        if reply.became != "ok":
            return None
        return known(mapping(reply.record)), contract("queue_position").decode(reply.place)

    def delete(self, job_id: str, order: int | None = None) -> bool:
        """Remove an ended job.

        :param order: `Job.order` of the one that was looked at: a later job with this id is not removed.
        :return: False if it has not ended. :raises UnknownJob:
        """
        reply = self.run("delete", id=job_id, order=order)
        if reply == "unknown":
            raise UnknownJob
        return bool(reply == "deleted")
