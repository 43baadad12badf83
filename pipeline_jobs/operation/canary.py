"""The canary: a job that does nothing, sent through the queue of each pool that has workers at intervals, to prove that jobs are executed.

A worker answers `celery inspect ping` even when it consumes nothing; a canary that completes went the whole way: admission, broker,
claim, run, finish. (The maintenance queue has its own proof: beat's ticks, which write `heartbeat:rescue`.)
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import IdTaken, JobNotEnded, UnknownJob
from pipeline_jobs.job import FOR_POOLS, NewJob
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.jobs.pool_gate import CellUpgrading
from pipeline_jobs.pipelines import Pipeline, Stage, register
from pipeline_jobs.pools.pool_names import ANYWHERE, DEFAULT
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.figures import load
from pipeline_jobs.store.pool_figures import heartbeat_of, last_canary, note_canary
from pipeline_jobs.tenants import CANARY_PIPELINE, CANARY_SUFFIX, CANARY_TENANT

TENANT, WORKSPACE = CANARY_TENANT, "canary"


def sing(context: JobContext) -> dict[str, bool]:
    """The one stage of the canary: that it ran is all that matters."""
    context.progress(1.0, "sang")
    return {"sang": True}


PIPELINE = register(
    Pipeline(CANARY_PIPELINE, (Stage("sing", sing, pool=ANYWHERE),), needs_url=False, description="Does nothing; shows that jobs are run.")
)


@dataclass(slots=True)
class Canary:
    """Sends a canary to each pool, and notes when the one before came back.

    Admits: when every slot is busy for hours a canary expires without a meaning; readiness takes running jobs for a sign of life then.
    """

    client: Client
    interval_seconds: float

    def run_once(self) -> dict[str, int]:
        """:return: `{"returned": 1 if the last one completed, "sent": 1}`; of several pools with workers the sums."""
        pools = [pool.pool for pool in load(self.client.store).pools if not pool.pool or pool.slots]
        done = [self._run_in(pool) for pool in self._reached(pools)]
        return {"returned": sum(returned for returned, _ in done), "sent": sum(sent for _, sent in done)}

    def _reached(self, pools: list[str]) -> list[str]:
        """The pools that get a canary: beside processes that know of no pools only `default` does."""
        try:
            if any(pools):
                self.client.gate.check(FOR_POOLS)
        except CellUpgrading:
            return [DEFAULT]
        return pools

    def _run_in(self, pool: str) -> tuple[int, int]:
        # The id follows from the tick: two beats, or a tick that came twice, send one canary.
        tick = int(time.time() // self.interval_seconds * self.interval_seconds)
        job_id = f"job_{tick}_{self.client.settings.cell:x}{_digits(pool)}{CANARY_SUFFIX}"
        store = self.client.store
        last = last_canary(store, pool)
        returned = 0
        if last is not None:
            try:
                job = self.client.get(last)
                if job.status is JobStatus.COMPLETED:
                    returned = 1
                    store.set_text(str(int(time.time() * 1000)), "heartbeat", heartbeat_of(pool))
                if job.job_id == job_id or not job.ended:
                    # This tick's, or still on its way (it expires): no second one. An id that was deleted could be made again.
                    return returned, 0
                self.client.delete(job.job_id)
            except (UnknownJob, JobNotEnded):
                # Another maintenance worker was quicker.
                pass
            if last == job_id:
                return returned, 0
        try:
            note_canary(store, pool, self._send(pool, job_id))
        except IdTaken:
            return returned, 0
        return returned, 1

    def _send(self, pool: str, job_id: str) -> str:
        new = NewJob(
            pipeline=PIPELINE.name,
            tenant_id=TENANT,
            workspace_id=WORKSPACE,
            priority=50,
            start_within_seconds=self.interval_seconds,
            deadline_seconds=2 * self.interval_seconds,
        )
        if not pool:
            return self.client.submit(new, job_id=job_id).job_id
        # Its stage runs wherever the job is.
        return self.client.store.submit(self.client.prepare(new, job_id).evolve(pool=pool, schema=FOR_POOLS)).job.job_id


def _digits(pool: str) -> str:
    """What tells its canary from those of other pools; nothing for `default`."""
    return hashlib.sha256(pool.encode()).hexdigest()[:4] if pool else ""
