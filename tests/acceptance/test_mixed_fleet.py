"""Workers that do not know the same pipelines, as in a deploy or with two `PIPELINE_MODULES`: each job finds one that knows its own."""

from __future__ import annotations

from functools import partial

from pipeline_jobs.states import JobStatus
from tests.bodies import MODULE
from tests.heavy.fleet import ALL, COMMON, KNOWS, run_fleet
from tests.stack import MakeStack
from tests.waiting import until


def test_no_job_of_a_pipeline_that_one_of_two_workers_knows_fails(make_stack: MakeStack) -> None:
    """In full, with the times: `tests/heavy/bar_mixed_fleet.py`."""
    stack = make_stack(modules=ALL, max_concurrent_jobs=4)
    stack.together(
        stack.maintenance,
        partial(stack.worker, "other", "--autoscale=2,2", PIPELINE_MODULES=COMMON),
        partial(stack.worker, KNOWS, "--autoscale=2,2", PIPELINE_MODULES=ALL),
    )
    figures = run_fleet(stack, rare_jobs=20, load=40, load_seconds=0.1, slots=4)
    assert figures.wrong == []
    assert set(figures.load_by) == {KNOWS, "other"}


def test_a_worker_that_is_told_to_consume_no_jobs_takes_none_by_its_class_either(make_stack: MakeStack) -> None:
    stack = make_stack(max_concurrent_jobs=8)
    stack.together(
        partial(stack.worker, "bodies", "--autoscale=2,2", PIPELINE_MODULES=MODULE), partial(stack.worker, "all", "--autoscale=2,2")
    )
    assert len(stack.inspect("active_queues", "all")) == 2
    assert stack.control("cancel_consumer", "jobs", worker="all").returncode == 0
    until(lambda: stack.inspect("active_queues", "all") == [], "it to consume nothing")
    job = stack.submit(params={"seconds": 0.1})
    until(lambda: stack.client.describe(job.job_id).reason == "no_worker_for_pipeline", "its slots to be gone")
    assert stack.control("add_consumer", "jobs", worker="all").returncode == 0
    stack.until_status(job.job_id, JobStatus.COMPLETED)
    assert len(stack.inspect("active_queues", "all")) == 2
