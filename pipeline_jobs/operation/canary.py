"""The canary: a job that does nothing, sent through the queue `jobs` at intervals, to prove that jobs are executed.

A worker answers `celery inspect ping` even when it consumes nothing; a canary that completes went the whole way: admission, broker,
claim, run, finish. (The maintenance queue has its own proof: beat's ticks, which write `heartbeat:rescue`.)
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import IdTaken, JobNotEnded, UnknownJob
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.pipelines import Pipeline, Stage, register
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import CANARY_PIPELINE, CANARY_SUFFIX, CANARY_TENANT

TENANT, WORKSPACE = CANARY_TENANT, "canary"


def sing(context: JobContext) -> dict[str, bool]:
    """The stage: it ran."""
    context.progress(1.0, "sang")
    return {"sang": True}


PIPELINE = register(
    Pipeline(CANARY_PIPELINE, (Stage("sing", sing),), needs_url=False, description="Does nothing; shows that jobs are run.")
)


@dataclass(slots=True)
class Canary:
    """Sends one, and notes when the one before came back.

    Admits: when every slot is busy for hours a canary expires without a meaning; readiness takes running jobs for a sign of life then.
    """

    client: Client
    interval_seconds: float

    def run_once(self) -> dict[str, int]:
        """:return: `{"returned": 1 if the last one completed, "sent": 1}`"""
        # The id follows from the tick: two beats, or a tick that came twice, send one canary.
        tick = int(time.time() // self.interval_seconds * self.interval_seconds)
        job_id = f"job_{tick}_{self.client.settings.cell:x}{CANARY_SUFFIX}"
        store = self.client.store
        last = store.text("canary")
        returned = 0
        if last is not None:
            try:
                job = self.client.get(last)
                if job.status is JobStatus.COMPLETED:
                    returned = 1
                    store.set_text(str(int(time.time() * 1000)), "heartbeat", "canary")
                if job.job_id == job_id or not job.ended:
                    # This tick's, or still on its way (it expires): no second one. An id that was deleted could be made again.
                    return {"returned": returned, "sent": 0}
                self.client.delete(job.job_id)
            except (UnknownJob, JobNotEnded):
                # Another maintenance worker was quicker.
                pass
            if last == job_id:
                return {"returned": returned, "sent": 0}
        new = NewJob(
            pipeline=PIPELINE.name,
            tenant_id=TENANT,
            workspace_id=WORKSPACE,
            priority=50,
            start_within_seconds=self.interval_seconds,
            deadline_seconds=2 * self.interval_seconds,
        )
        try:
            store.set_text(self.client.submit(new, job_id=job_id).job_id, "canary")
        except IdTaken:
            return {"returned": returned, "sent": 0}
        return {"returned": returned, "sent": 1}
