"""A job by its id: the four operations that the API has on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.jobs.moved import Moved, Say
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.cancelled import Cancelled
from pipeline_jobs.store.idempotency import Accepted
from pipeline_jobs.store.rates import Sender
from pipeline_jobs.tenants import ANYBODYS, Whose


@dataclass(frozen=True, slots=True)
class JobHandle:
    """Asks the store nothing until it is used. Every method raises `StoreUnavailable` when the store cannot be asked."""

    client: Client
    say: Say
    job_id: str

    def record(self, whose: Whose = ANYBODYS) -> Job:
        """The job's record, read now; a waiting one with why it waits. :raises UnknownJob: there is none, or it is not theirs."""
        return self.client.describe(self.job_id, whose)

    def revoke(self) -> Job:
        """Cancel. The record after it: `cancelled`, or `running` with `cancel_requested`, or unchanged if it had ended.

        :raises UnknownJob:
        """
        return self.cancel(ANYBODYS, whole=True).job

    def cancel(self, whose: Whose, *, actor: str | None = None, whole: bool = False) -> Cancelled:
        """`revoke`, of a job of theirs, and what the job was before.

        :param actor: who asked, for the audit log (`Store.cancel`). :param whole: the caller needs the record after it.
        :raises UnknownJob: there is none, or it is not theirs.
        """
        done = self.client.store.cancel(self.job_id, whose, actor=actor, whole=whole)
        if done.was is JobStatus.QUEUED and done.status is JobStatus.CANCELLED:
            self.say(Moved(self.job_id, "cancelled", job=done))
        return done

    def forget(self, order: int | None = None) -> None:
        """Delete an ended job with its artifacts.

        :param order: as for `Client.delete`.
        :raises UnknownJob:
        :raises JobNotEnded: cancel it first.
        """
        self.client.delete(self.job_id, order)

    def until_ended(self, timeout: float) -> Job:
        """The record when the job has ended, or as it is after `timeout` seconds. :raises UnknownJob:"""
        return self.client.wait(self.job_id, timeout)


@dataclass(frozen=True, slots=True)
class SubmittedJob(JobHandle):
    """The handle of a job that a request made, now or before."""

    accepted: Accepted


class Submit(Protocol):
    """Accepts a job, as `Client.accept` does: when it returns, the job is in the store. It raises what that raises."""

    def __call__(self, *, job: NewJob, idempotency_key: str | None = None, sender: Sender | None = None) -> SubmittedJob: ...


def submitter(client: Client, say: Say) -> Submit:
    """For a process that has no Celery app; the others submit by the task `run_job`."""

    def submit(*, job: NewJob, idempotency_key: str | None = None, sender: Sender | None = None) -> SubmittedJob:
        accepted = client.accept(job, idempotency_key=idempotency_key, sender=sender)
        return SubmittedJob(client, say, accepted.job.job_id, accepted)

    return submit
