"""Workers that do not know the same pipelines, as in a deploy or with two `PIPELINE_MODULES`: each job finds one that knows its own."""

from __future__ import annotations

from collections.abc import Callable

from pipeline_jobs.states import JobStatus
from tests.bodies import MODULE
from tests.integration.recount import differences
from tests.stack import Stack
from tests.waiting import until

MakeStack = Callable[..., Stack]


def test_no_job_of_a_pipeline_that_one_of_two_workers_knows_fails(make_stack: MakeStack) -> None:
    stack = make_stack(max_concurrent_jobs=8)
    stack.maintenance()
    stack.worker("old", "--autoscale=4,4", PIPELINE_MODULES=MODULE)
    common = [stack.hold().job_id for _ in range(4)]
    until(lambda: stack.running() == 4, "the old one to be busy")
    stack.worker("new", "--autoscale=4,4")
    new = [stack.submit(params={"seconds": 0.1}).job_id for _ in range(20)]
    stack.tell(*common)
    for job_id in new:
        job = stack.until_status(job_id, JobStatus.COMPLETED, JobStatus.FAILED)
        assert (job.status, job.attempt, job.crashes, job.handbacks) == (JobStatus.COMPLETED, 1, 0, 0), job.error
        assert (job.worker or "").startswith("new@test/")
    assert differences(stack.client.store) == []


def test_a_worker_that_is_told_to_consume_no_jobs_takes_none_by_its_class_either(make_stack: MakeStack) -> None:
    stack = make_stack(max_concurrent_jobs=8)
    stack.worker("bodies", "--autoscale=2,2", PIPELINE_MODULES=MODULE)
    stack.worker("all", "--autoscale=2,2")
    assert len(stack.inspect("active_queues", "all")) == 2
    assert stack.control("cancel_consumer", "jobs", worker="all").returncode == 0
    until(lambda: stack.inspect("active_queues", "all") == [], "it to consume nothing")
    job = stack.submit(params={"seconds": 0.1})
    until(lambda: stack.client.describe(job.job_id).reason == "no_worker_for_pipeline", "its slots to be gone")
    assert stack.control("add_consumer", "jobs", worker="all").returncode == 0
    stack.until_status(job.job_id, JobStatus.COMPLETED)
    assert len(stack.inspect("active_queues", "all")) == 2
