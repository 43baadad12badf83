"""Workers of two pools, as processes: a job goes from one to the other and back, and a kill repeats one segment."""

from __future__ import annotations

import os
import signal

from pipeline_jobs.events.log import read_all
from pipeline_jobs.jobs.queue_position import queue_position
from pipeline_jobs.states import JobStatus
from tests.pool_bodies import MODULES, began
from tests.stack import MakeStack, Stack
from tests.waiting import until

#: Found lost soon after its worker was killed.
QUICK = {"lease_seconds": 4.0, "announce_seconds": 0.5, "rescue_seconds": 0.5}


def stages(stack: Stack, job_id: str) -> list[tuple[str, str]]:
    return [(one["stage"], one["worker"]) for one in began(stack.settings.data_dir, job_id)]


def test_a_killed_gpu_worker_repeats_its_segment_only(make_stack: MakeStack) -> None:
    stack = make_stack(modules=MODULES, pool_caps_setting="gpu=1", **QUICK)
    stack.maintenance()
    stack.worker("cpu", "--autoscale=2,2")
    job = stack.submit(pipeline="trip")
    until(lambda: (queue_position(stack.client.store, job.job_id) or {}).get("reason") == "no_worker_for_pool", "it to wait for the gpu")
    assert stages(stack, job.job_id) == [("cut", "cpu")]
    gpu = stack.worker("gpu", "-Q", "jobs.gpu")
    until(lambda: stack.client.get(job.job_id).progress > 40, "the gpu to run it")
    assert stack.client.describe(job.job_id).status is JobStatus.RUNNING
    os.killpg(gpu.pid, signal.SIGKILL)
    gpu.wait()
    stack.worker("gpu2", "-Q", "jobs.gpu")
    stack.tell(job.job_id)
    done = stack.until_status(job.job_id, JobStatus.COMPLETED, JobStatus.FAILED)
    assert (done.status, done.result["data"]["said"], done.attempt, done.crashes) == (JobStatus.COMPLETED, "cut hear join ", 1, 1)
    assert stages(stack, job.job_id) == [("cut", "cpu"), ("hear", "gpu"), ("hear", "gpu2"), ("join", "cpu")]
    why = [event.data["reason"] for event in read_all(stack.client.store, job.job_id) if event.type == "job.requeued"]
    assert why == ["hop", "crash", "hop"]


def test_one_worker_of_each_pool_runs_many_trips_and_each_stage_runs_where_it_belongs(make_stack: MakeStack) -> None:
    stack = make_stack(modules=MODULES, pool_caps_setting="gpu=2")
    stack.maintenance()
    stack.worker("cpu", "--autoscale=2,2")
    stack.worker("gpu", "-Q", "jobs.gpu")
    jobs = [stack.submit(pipeline="trip", tenant_id=tenant) for tenant in "abc" for _ in range(3)]
    stack.tell(*(job.job_id for job in jobs))
    for job in jobs:
        stack.until_status(job.job_id, JobStatus.COMPLETED)
        assert stages(stack, job.job_id) == [("cut", "cpu"), ("hear", "gpu"), ("join", "cpu")]
    assert stack.client.store.fields(["n", "others"], "share", "a") == ["0", "0"]


def test_a_worker_that_is_to_serve_two_pools_does_not_start(make_stack: MakeStack) -> None:
    stack = make_stack(modules=MODULES)
    done = stack.celery("worker", "-n", "both@test", "-Q", "jobs,jobs.gpu")
    assert done.returncode != 0
    assert "a worker serves one pool" in done.stdout + done.stderr


def test_drained_by_the_name_of_its_pools_queue_it_takes_no_jobs(make_stack: MakeStack) -> None:
    stack = make_stack(modules=MODULES)
    stack.worker("gpu", "-Q", "jobs.gpu", "-c", "1")
    assert {queue["name"].partition(".")[2].partition(".")[0] for queue in stack.inspect("active_queues", "gpu")} == {"gpu"}
    assert stack.control("cancel_consumer", "jobs", worker="gpu").returncode == 0
    until(lambda: stack.inspect("active_queues", "gpu") == [], "it to consume nothing")
    assert stack.control("add_consumer", "jobs", worker="gpu").returncode == 0
    assert {queue["name"].partition(".")[2].partition(".")[0] for queue in stack.inspect("active_queues", "gpu")} == {"gpu"}
