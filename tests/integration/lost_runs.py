"""Runs that are lost with their worker, for the tests of what becomes of their jobs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pipeline_jobs.job import Job
from pipeline_jobs.pipelines import NO_CLASS, WorkerClass
from tests.integration.conftest import Cell


def started(cell: Cell, worker: str, jobs: Sequence[Job]) -> list[Job]:
    return [cell.start(job.job_id, worker=worker, run=worker) for job in jobs]


def kill(cell: Cell, worker: str, runs: Sequence[Job], lived_ms: int | None = 7_000, kind: WorkerClass = NO_CLASS) -> None:
    """A worker dies with these runs, and a lease later they are rescued.

    :param lived_ms: how long ago they began; None: as their records say.
    """
    client, keys = cell.store.client, cell.store.keys
    for run in runs:
        if lived_ms is not None:
            client.hset(keys("job", run.job_id), "started_at", int(time.time() * 1000) - lived_ms)
    cell.store.announce(worker, 0, [(run.job_id, run.fence) for run in runs], kind=kind)
    cell.store.rescue()
    client.zadd(keys("workers"), {worker: 1})
    if runs:
        client.zadd(keys("leases"), {run.job_id: int(time.time() * 1000) - 1 for run in runs})
    while cell.store.rescue():
        pass


def dispatched(cell: Cell, jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if cell.client.get(job.job_id).reason == "dispatched"]
