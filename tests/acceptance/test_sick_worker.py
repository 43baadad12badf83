"""A worker whose machine cannot run jobs takes none, says so, and goes on when it can."""

from __future__ import annotations

import signal
from pathlib import Path

from pipeline_jobs.operation import health
from pipeline_jobs.operation.metrics import StoreMetrics
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from tests.servers import Server
from tests.stack import MakeStack, Stack
from tests.waiting import until


def sick(folder: Path) -> Path:
    """A working folder that cannot be made: a file stands in its place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.touch()
    return folder


def paused(stack: Stack) -> dict[str, str]:
    return dict(stack.client.store.client.hgetall(stack.client.store.keys("paused")))


def test_a_worker_that_cannot_write_takes_no_job_says_so_and_goes_on_when_it_can(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack()
    folder = sick(tmp_path / "sick" / "work")
    stack.worker("sick", "-c", "2", PIPELINE_WORK_DIR=str(folder))
    until(lambda: paused(stack), "the worker to be paused")
    job = stack.submit(params={"seconds": 0})
    store = stack.client.store
    until(lambda: int(store.client.get(store.keys("capacity")) or 0) == 0, "no slot to be announced")
    assert "working folder cannot be written" in next(iter(paused(stack).values()))
    assert "every live worker is paused: sick@test" in str(health.check(store, stack.settings, lambda: None)["workers"]["reason"])
    assert "working folder cannot be written" in stack.inspect("paused", "sick")["paused"]
    assert b"pipeline_workers_paused 1.0" in StoreMetrics(store, Settings()).text()
    # The other one works, and the sick one takes none of the hints that are meant for it.
    stack.worker("well", "-c", "1")
    ids = [job.job_id, *(stack.submit(params={"seconds": 0}).job_id for _ in range(20))]
    ended = [stack.until_status(job_id, JobStatus.COMPLETED) for job_id in ids]
    assert {(one.worker or "").split("@")[0] for one in ended} == {"well"}
    assert [event for one in ended for event in store.client.lrange(store.keys("events", one.job_id), 0, -1) if "requeued" in event] == []
    assert "sick@test" in str(health.check(store, stack.settings, lambda: None)["workers"]["warning"])
    folder.unlink()
    until(lambda: not paused(stack), "the worker to go on")
    held = [stack.hold() for _ in range(3)]
    for one in held:
        stack.until_status(one.job_id, JobStatus.RUNNING)
    stack.tell(*(one.job_id for one in held))
    for one in held:
        stack.until_status(one.job_id, JobStatus.COMPLETED)


def test_a_worker_told_to_stop_ends_while_the_store_is_stalled(make_stack: MakeStack, tmp_path: Path) -> None:
    own = Server(tmp_path / "own").start()
    try:
        stack = make_stack(redis_url=own.url, shutdown_grace_seconds=1.0)
        worker = stack.worker("jobs", "-c", "1")
        stack.until_status(stack.hold().job_id, JobStatus.RUNNING)
        own.pause()
        worker.send_signal(signal.SIGTERM)
        until(lambda: worker.poll() is not None, "the worker to end, with the store as it is")
        assert worker.returncode == -signal.SIGKILL
        assert "did not stop in time" in stack.log("jobs")
    finally:
        own.kill()


def test_a_tenant_that_fills_the_disk_with_every_job_keeps_nobody_from_it(make_stack: MakeStack) -> None:
    stack = make_stack(modules="examples.demo_pipelines,tests.small_disk", disk_reserve_bytes=8 << 20)
    stack.worker("jobs", "-c", "2")
    greedy = [stack.submit(pipeline="greedy", tenant_id="a").job_id for _ in range(6)]
    log = stack.client.store.keys("events", greedy[0])
    until(lambda: any("fault" in event for event in stack.client.store.client.lrange(log, 0, -1)), "the disk to be full once")
    others = [stack.submit(tenant_id="b", params={"seconds": 0}).job_id for _ in range(10)]
    for job_id in others:
        ended = stack.until_status(job_id, JobStatus.COMPLETED, seconds=180)
        assert (ended.crashes, ended.handbacks, ended.attempt) == (0, 0, 1)
    for job_id in greedy:
        stack.client.cancel(job_id)
    for job_id in greedy:
        stack.until_status(job_id, JobStatus.CANCELLED)
    until(lambda: not paused(stack), "no worker to be paused")
    stack.until_status(stack.submit(tenant_id="b", params={"seconds": 0}).job_id, JobStatus.COMPLETED)
