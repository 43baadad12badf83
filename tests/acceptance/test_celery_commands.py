"""Celery's own commands, where jobs ask something else of them."""

from __future__ import annotations

import sys

import pytest

from pipeline_jobs.job import NewJob
from tests.stack import MakeStack
from tests.waiting import until


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_a_worker_with_another_pool_does_not_run_jobs_and_says_why_in_one_line(make_stack: MakeStack, pool: str) -> None:
    stack = make_stack()
    for queues in ("jobs", "stages,jobs"):
        done = stack.celery("worker", "-P", pool, "-Q", queues, "-c", "1")
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        assert "jobs need the pool prefork" in done.stderr
    process = stack.run(
        "stages", sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-P", pool, "-Q", "stages", "-n", "s@test", "-l", "INFO"
    )
    until(lambda: "s@test ready" in stack.log("stages") or process.poll() is not None, "a worker of stages")
    assert process.poll() is None


def test_celery_result_of_a_job_without_one_is_one_line(make_stack: MakeStack) -> None:
    stack = make_stack()
    cancelled = stack.client.submit(NewJob(pipeline="sleep")).job_id
    stack.client.cancel(cancelled)
    for job_id in ("job_1_00000000", cancelled):
        done = stack.celery("result", job_id)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert job_id in done.stderr
