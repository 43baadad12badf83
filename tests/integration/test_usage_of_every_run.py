"""A tenant's day has the slot time of each run of its jobs: of those that were tried again, parked or lost, too, and so has the history."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline_jobs.job import Job
from pipeline_jobs.operation import usage
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell

#: How a run of a job ends, without an end of the job.
Ends = Callable[[Cell, Job], object]


def is_tried_again(cell: Cell, run: Job) -> None:
    cell.store.requeue(run.job_id, run.fence, "retry")


def is_handed_back(cell: Cell, run: Job) -> None:
    cell.store.requeue(run.job_id, run.fence, "handback")


def crashes(cell: Cell, run: Job) -> None:
    cell.store.requeue(run.job_id, run.fence, "crash")


def is_parked(cell: Cell, run: Job) -> None:
    cell.store.park(run.job_id, run.fence, "approval", 60, "fail", "well?")
    cell.store.run("signal", id=run.job_id, name="approval", payload="1", by="test")


def hops(cell: Cell, run: Job) -> None:
    cell.store.advance(run.job_id, run.fence, "", "next", stage="b")


def held_for(cell: Cell, run: Job, seconds: int) -> None:
    cell.store.client.hset(cell.store.keys("job", run.job_id), "started_at", cell.store.now() - 1000 * seconds)


@pytest.mark.parametrize("how", [is_tried_again, is_handed_back, crashes, is_parked, hops])
def test_a_run_counts_however_it_ends(jobs: Cell, how: Ends) -> None:
    run = jobs.running(tenant_id="acme")
    held_for(jobs, run, 50)
    how(jobs, run)
    again = jobs.start(run.job_id, run="second")
    held_for(jobs, again, 70)
    jobs.store.finish(run.job_id, again.fence, JobStatus.COMPLETED, result={})
    (today,) = usage.of_tenant(jobs.store, "acme", 1)
    assert today.slot_seconds // 10 == 12


def test_time_on_a_broken_machine_does_not_count(jobs: Cell) -> None:
    run = jobs.running(tenant_id="acme")
    held_for(jobs, run, 50)
    jobs.store.requeue(run.job_id, run.fence, "fault")
    (today,) = usage.of_tenant(jobs.store, "acme", 1)
    assert today.slot_seconds == 0
