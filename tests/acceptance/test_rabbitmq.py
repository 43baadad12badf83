"""RabbitMQ as Celery's broker: hints are published by kombu, not pushed by the scripts; the promises are the same."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from pipeline_jobs.states import JobStatus
from pipeline_jobs.up.stack import WORKER
from tests.acceptance.conftest import SHORT_LEASE
from tests.bodies import MODULE
from tests.integration.recount import differences
from tests.rabbit import PROGRAM, Rabbit
from tests.stack import MakeStack
from tests.waiting import until

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="RabbitMQ is not installed (Debian: apt install rabbitmq-server)")


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    node = Rabbit(tmp_path_factory.mktemp("rabbit"))
    try:
        yield node.start()
    finally:
        node.stop()


def test_jobs_run_are_cancelled_by_revoke_and_are_rescued_from_a_killed_worker(make_stack: MakeStack, rabbit: Rabbit) -> None:
    stack = make_stack(broker_url_setting=rabbit.url, max_concurrent_jobs=4, **SHORT_LEASE)
    stack.maintenance()
    first = stack.worker("jobs", "--autoscale=2,2")
    quick = [stack.submit(params={"seconds": 0.1}).job_id for _ in range(10)]
    for job_id in quick:
        assert stack.until_status(job_id, JobStatus.COMPLETED, JobStatus.FAILED).status is JobStatus.COMPLETED
    assert stack.app.AsyncResult(quick[0]).state == "SUCCESS"

    long = stack.submit(params={"seconds": 600, "steps": 6000})
    stack.until_status(long.job_id, JobStatus.RUNNING)
    assert stack.control("revoke", long.job_id).returncode == 0
    assert stack.until_status(long.job_id, JobStatus.CANCELLED).cancel_requested

    held = [stack.hold().job_id for _ in range(2)]
    until(lambda: stack.running() == 2, "both to run")
    os.killpg(first.pid, signal.SIGKILL)
    stack.tell(*held)
    stack.worker("other", "--autoscale=2,2")
    for job_id in held:
        job = stack.until_status(job_id, JobStatus.COMPLETED, JobStatus.FAILED)
        assert (job.status, job.crashes) == (JobStatus.COMPLETED, 1)
    assert differences(stack.client.store) == []


def test_what_is_submitted_while_rabbitmq_is_away_runs_when_it_is_back(make_stack: MakeStack, rabbit: Rabbit) -> None:
    stack = make_stack(broker_url_setting=rabbit.url, max_concurrent_jobs=4)
    stack.maintenance()
    stack.worker("jobs", "--autoscale=2,2")
    before = [stack.hold().job_id for _ in range(6)]
    until(lambda: stack.running() == 2, "both slots busy")
    rabbit.kill()
    meanwhile = [stack.submit(params={"seconds": 0.1}).job_id for _ in range(3)]
    rabbit.start()
    stack.tell(*before)
    for job_id in before + meanwhile:
        assert stack.until_status(job_id, JobStatus.COMPLETED, JobStatus.FAILED, seconds=120).status is JobStatus.COMPLETED
    assert differences(stack.client.store) == []


def test_a_worker_whose_queue_of_commands_is_still_held_waits_for_it(make_stack: MakeStack, rabbit: Rabbit) -> None:
    """By its own connection of before, of which other nodes of a cluster do not know yet that it is gone."""
    stack = make_stack(broker_url_setting=rabbit.url, max_concurrent_jobs=4)
    with stack.app.connection_for_write() as before:
        before.channel().queue_declare("jobs@test.celery.pidbox", exclusive=True)
        process = stack.run("jobs", sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-n", "jobs@test", *WORKER)
        until(lambda: "RESOURCE_LOCKED" in stack.log("jobs"), "the worker to find its queue held")
    until(lambda: "jobs@test ready" in stack.log("jobs") or process.poll(), "the worker to have its queue")
    assert process.poll() is None
    assert stack.until_status(stack.submit(params={"seconds": 0.1}).job_id, JobStatus.COMPLETED).status is JobStatus.COMPLETED
    # By a connection of its own: the pool may have one from before a test killed the server.
    with stack.app.connection_for_write() as own:
        answers = until(lambda: stack.app.control.ping(["jobs@test"], connection=own), "an answer to a command")
    assert answers == [{"jobs@test": {"ok": "pong"}}]


def test_with_two_classes_of_workers_each_job_finds_one_that_knows_its_pipeline(make_stack: MakeStack, rabbit: Rabbit) -> None:
    stack = make_stack(broker_url_setting=rabbit.url, max_concurrent_jobs=8)
    stack.maintenance()
    stack.worker("bodies", "--autoscale=2,2", PIPELINE_MODULES=MODULE)
    held = [stack.hold().job_id for _ in range(2)]
    until(lambda: stack.running() == 2, "the first one to be busy")
    stack.worker("all", "--autoscale=2,2")
    jobs = [stack.submit(params={"seconds": 0.1}).job_id for _ in range(10)]
    stack.tell(*held)
    for job_id in jobs:
        job = stack.until_status(job_id, JobStatus.COMPLETED, JobStatus.FAILED)
        assert (job.status, job.attempt, (job.worker or "").split("/")[0]) == (JobStatus.COMPLETED, 1, "all@test"), job.error
    for job_id in held:
        stack.until_status(job_id, JobStatus.COMPLETED)
    assert differences(stack.client.store) == []
