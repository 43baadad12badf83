"""Guards of the scripts that no other test stands on (`tests/mutants` removes them one by one), and hints that got lost."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import pytest

from examples.demo_pipelines import SLEEP
from pipeline_jobs.exceptions import StoreUnavailable, UnknownJob
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs import batches
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.operation.maintenance import Reconcile
from pipeline_jobs.pipelines import Registry
from pipeline_jobs.schedules.scheduler import NewSchedule, Scheduler
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import runner
from pipeline_jobs.store.store import ClaimRefused, Hint, Store, connect
from tests.integration.conftest import Cell, make_cell
from tests.integration.recount import differences


def test_the_hint_of_a_job_that_waits_for_its_next_attempt_is_stale(jobs: Cell) -> None:
    run = jobs.running()
    jobs.store.requeue(run.job_id, run.fence, "retry", delay_seconds=3600)
    assert jobs.store.claim(run.job_id, run.fence, worker="w2", run="other") == ClaimRefused("stale")


def test_a_claim_by_a_worker_that_is_gone_takes_no_slot_of_a_live_one(jobs: Cell) -> None:
    jobs.slots(1, "dead")
    slow = jobs.submit()
    jobs.store.client.zadd(jobs.store.keys("workers"), {"dead": 1})
    jobs.slots(2, "live")
    jobs.start(slow.job_id, worker="dead")
    assert [jobs.submit().reason == "dispatched" for _ in range(3)] == [True, True, False]
    assert Reconcile(jobs.store).run_once() == {"counters": 0, "jobs": 0}


def test_the_slots_of_a_worker_that_fell_silent_are_gone(jobs: Cell) -> None:
    jobs.slots(5, "silent")
    jobs.store.client.zadd(jobs.store.keys("workers"), {"silent": 1})
    assert jobs.submit().reason != "dispatched"
    assert differences(jobs.store) == []


def test_a_rescue_leaves_fresh_leases_and_fresh_hints_alone(jobs: Cell) -> None:
    jobs.slots(2)
    run, hinted = jobs.submit(), jobs.submit()
    jobs.start(run.job_id)
    assert jobs.store.rescue() == []
    assert jobs.client.get(hinted.job_id) == hinted
    assert jobs.client.get(run.job_id).crashes == 0


def test_a_process_that_died_after_its_finish_changes_nothing(jobs: Cell) -> None:
    run = jobs.running()
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    before = jobs.client.get(run.job_id)
    assert jobs.store.requeue(run.job_id, run.fence, "crash") is None
    assert jobs.client.get(run.job_id) == before
    assert differences(jobs.store) == []


def test_a_run_that_ends_after_its_deadline_has_failed(jobs: Cell) -> None:
    run = jobs.running(deadline_seconds=600)
    jobs.store.client.zadd(jobs.store.keys("deadlines"), {run.job_id: 1})
    assert [one.became for one in jobs.store.rescue()] == ["stopping"]
    assert jobs.store.progress(run.job_id, run.fence, None) == "cancel"
    assert jobs.store.announce("w1", 100, [(run.job_id, run.fence)]) == ["cancel"]
    assert jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}) is JobStatus.FAILED
    detail = jobs.client.get(run.job_id).error_detail
    assert detail is not None
    assert detail["code"] == "deadline_exceeded"
    assert differences(jobs.store) == []


def run_until(jobs: Cell, job_id: str) -> tuple[int, int | None]:
    """How long the run may take from its start on in ms, and what the index of deadlines says of it."""
    keys, client = jobs.store.keys, jobs.store.client
    until, started = client.hmget(keys("job", job_id), "run_until", "started_at")
    due = client.zscore(keys("deadlines"), job_id)
    return int(until) - int(started), None if due is None else int(due) - int(started)


def test_a_run_that_takes_longer_than_it_may_has_failed(jobs: Cell) -> None:
    run = jobs.running()
    jobs.store.client.zadd(jobs.store.keys("deadlines"), {run.job_id: 1})
    assert [one.became for one in jobs.store.rescue()] == ["stopping"]
    assert differences(jobs.store) == []
    assert jobs.store.announce("w1", 100, [(run.job_id, run.fence)]) == ["cancel"]
    assert jobs.store.requeue(run.job_id, run.fence, "crash") is JobStatus.FAILED
    ended = jobs.client.get(run.job_id)
    assert ended.error_detail == {"code": "run_too_long", "message": ended.error, "stage": None, "retryable": False}
    assert differences(jobs.store) == []


def test_the_longest_run_is_that_of_the_pipeline_else_the_settings_and_a_tenants_may_be_lower(jobs: Cell) -> None:
    def longest(**others: float) -> int:
        jobs.slots(100)
        job = jobs.submit(tenant_id="a")
        jobs.store.claim(job.job_id, job.fence, worker="w1", run="r", pipelines={"sleep": None, **others})
        until, due = run_until(jobs, job.job_id)
        assert until == due
        return until

    assert longest() == 21_600_000
    assert longest(other=5, sleep=90_000.5) == 90_000_500
    jobs.store.set_limits("a", {"max_run_seconds": 60})
    assert (longest(sleep=90_000), longest(sleep=10)) == (60_000, 10_000)


def test_the_earlier_of_deadline_and_longest_run_holds_and_a_queue_knows_the_deadline_only(jobs: Cell) -> None:
    soon, late = jobs.running(deadline_seconds=600), jobs.running(deadline_seconds=86_400)
    index = jobs.store.keys("deadlines")
    assert jobs.store.client.zscore(index, soon.job_id) == soon.deadline_at
    assert run_until(jobs, late.job_id)[1] == 21_600_000
    jobs.store.requeue(late.job_id, late.fence, "handback")
    assert jobs.store.client.zscore(index, late.job_id) == late.deadline_at
    assert differences(jobs.store) == []


@pytest.mark.parametrize(("why", "counts"), [("crash", True), ("handback", True), ("retry", True), ("fault", False)])
def test_time_of_earlier_runs_counts_and_time_in_a_queue_does_not(jobs: Cell, why: str, counts: bool) -> None:
    run = jobs.running()
    key = jobs.store.keys("job", run.job_id)
    # It began an hour ago.
    jobs.store.client.hincrby(key, "started_at", -3_600_000)
    jobs.store.requeue(run.job_id, run.fence, why)
    jobs.store.client.zadd(jobs.store.keys("delayed"), {run.job_id: 1}, xx=True)
    jobs.store.rescue()
    jobs.start(run.job_id)
    ran = int(jobs.store.client.hget(key, "ran_ms") or 0)
    assert ran - ran % 3_600_000 == (3_600_000 if counts else 0)
    assert run_until(jobs, run.job_id)[0] == 21_600_000 - ran
    assert differences(jobs.store) == []


def test_a_job_that_waited_too_long_has_expired_and_one_that_started_has_not(jobs: Cell) -> None:
    started = jobs.running(start_within_seconds=600)
    jobs.slots(0)
    waiting = jobs.submit(start_within_seconds=600)
    assert jobs.store.client.zrange(jobs.store.keys("waits"), 0, -1) == [waiting.job_id]
    jobs.store.client.zadd(jobs.store.keys("waits"), {waiting.job_id: 1})
    assert [(one.job_id, one.became) for one in jobs.store.rescue()] == [(waiting.job_id, "failed")]
    assert jobs.client.get(started.job_id).status is JobStatus.RUNNING
    assert differences(jobs.store) == []


@pytest.fixture
def full(jobs: Cell) -> Iterator[Cell]:
    """Jobs in each state, on a server whose memory is used up when `fill` is called."""
    yield jobs
    jobs.store.client.config_set("maxmemory", 0)


def test_on_a_full_server_jobs_are_handed_back_rescued_deleted_and_purged(full: Cell) -> None:
    back, lost, told, deleted, purged = (full.running() for _ in range(5))
    full.client.cancel(told.job_id)
    for run in (deleted, purged):
        full.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    full.store.client.zadd(full.store.keys("leases"), {lost.job_id: 1})
    full.store.client.zadd(full.store.keys("ended"), {purged.job_id: 1})
    full.store.client.config_set("maxmemory", "1mb")
    assert full.store.requeue(back.job_id, back.fence, "handback") is JobStatus.QUEUED
    assert [(one.job_id, one.became) for one in full.store.rescue()] == [(lost.job_id, "queued")]
    assert full.store.progress(told.job_id, told.fence, None) == "cancel"
    assert full.store.tick("maintenance", "{}", 1)
    assert not full.store.tick("maintenance", "{}", 1)
    full.store.beat("purge")
    full.client.delete(deleted.job_id)
    assert full.store.purge() == 1
    for gone in (deleted, purged):
        with pytest.raises(UnknownJob):
            full.client.get(gone.job_id)
    full.store.client.config_set("maxmemory", 0)
    assert differences(full.store) == []


def test_what_the_servers_disk_did_not_take_in_time_is_not_accepted(jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "DISK_MS", 1)
    jobs.store.client.config_set("appendfsync", "no")
    try:
        with pytest.raises(StoreUnavailable, match="disk"):
            jobs.submit()
    finally:
        jobs.store.client.config_set("appendfsync", "always")


def test_where_the_broker_is_another_server_a_lost_publish_delays_a_job_and_loses_none(jobs: Cell) -> None:
    published: list[Hint] = []
    lost: list[Hint] = []

    def publish(hints: Sequence[Hint]) -> None:
        (published if lost else lost).extend(hints)

    registry = Registry()
    registry.register(SLEEP)
    store = Store(connect(jobs.settings.redis_url), jobs.settings, publish=publish)
    client = Client(store, registry, jobs.settings)
    store.announce("w1", 1, [])
    job = client.submit(NewJob(pipeline="sleep"))
    assert ([(hint.job_id, hint.fence) for hint in lost], published) == ([(job.job_id, job.fence)], [])
    assert store.rescue() == []
    store.client.zadd(store.keys("hints"), {job.job_id: 1})
    assert [one.became for one in store.rescue()] == ["hint"]
    assert [(hint.job_id, hint.fence) for hint in published] == [(job.job_id, job.fence + 1)]
    assert not isinstance(store.claim(job.job_id, job.fence + 1, worker="w1", run="r"), ClaimRefused)
    store.close()


def test_a_publish_that_raises_has_accepted_the_job_all_the_same(jobs: Cell) -> None:
    def publish(hints: Sequence[Hint]) -> None:
        raise ConnectionError("the broker is away")

    registry = Registry()
    registry.register(SLEEP)
    store = Store(connect(jobs.settings.redis_url), jobs.settings, publish=publish)
    store.announce("w1", 1, [])
    job = Client(store, registry, jobs.settings).prepare(NewJob(pipeline="sleep"))
    with pytest.raises(ConnectionError):
        store.submit(job, nonce="n")
    assert store.get(job.job_id).status is JobStatus.QUEUED
    store.close()


def test_newer_records_do_not_hold_up_what_this_version_can_run(jobs: Cell) -> None:
    jobs.slots(2)
    newer = [jobs.submit() for _ in range(2)]
    for job in newer:
        jobs.store.client.hset(jobs.store.keys("job", job.job_id), "schema", "99")
        assert jobs.store.claim(job.job_id, job.fence, worker="w1", run="r") == ClaimRefused("schema")
    assert [jobs.submit().reason for _ in range(2)] == ["dispatched", "dispatched"], "its slots are free for others"
    for job in newer:
        assert jobs.client.get(job.job_id).status is JobStatus.QUEUED
        jobs.store.client.zadd(jobs.store.keys("delayed"), {job.job_id: 1})
    jobs.slots(4)
    assert [jobs.client.get(job.job_id).reason for job in newer] == ["dispatched", "dispatched"]
    assert differences(jobs.store) == []


def again_by_submit(cell: Cell) -> None:
    job = cell.client.prepare(NewJob(pipeline="sleep"), "job_1_0000000a")
    cell.store.submit(job, nonce="n", durably=cell.client.guard.check())


def again_by_key(cell: Cell) -> None:
    cell.client.submit(NewJob(pipeline="sleep"), idempotency_key="k")


def again_as_batch(cell: Cell) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # What is drawn for a call is the same when the call is sent again.
        patch.setattr(secrets, "token_hex", lambda n: "0" * 2 * n)
        patch.setattr(batches, "new_batch_id", lambda: "batch_1_00000000")
        patch.setattr(batches, "_draw_ids", lambda *_: ["job_1_0000000c"])
        batches.Batches(cell.client).create(batches.NewBatch((NewJob(pipeline="sleep"),)))


def again_by_schedule(cell: Cell) -> None:
    scheduler = Scheduler(cell.client)
    key = "one schedule"
    schedule = scheduler.create(NewSchedule("0 * * * *", NewJob(pipeline="sleep")), idempotency_key=key).schedule
    job = scheduler.job_of(schedule, "job_1_0000000b")
    scheduler.kept.fire(schedule, None, job, "n", durably=cell.client.guard.check())


@pytest.mark.parametrize("accept", [again_by_submit, again_by_key, again_as_batch, again_by_schedule])
def test_a_repeated_submit_waits_for_the_disk_like_the_first(
    jobs: Cell, monkeypatch: pytest.MonkeyPatch, accept: Callable[[Cell], None]
) -> None:
    """A lost reply is asked for on a new connection. WAITAOF speaks of its own connection's writes: there must be some."""
    accept(jobs)
    fresh = make_cell(jobs.settings)
    monkeypatch.setattr(runner, "DISK_MS", 1)
    jobs.store.client.config_set("appendfsync", "no")
    try:
        with pytest.raises(StoreUnavailable, match="disk"):
            accept(fresh)
    finally:
        jobs.store.client.config_set("appendfsync", "always")
        fresh.cell.close()


# -- a run renews its lease itself

#: Unix milliseconds, of the year 2100.
FAR = 4_102_444_800_000


def lease_of(jobs: Cell, run: Job, ends: int = 0) -> float | None:
    """When a run's lease ends, in ms; set before to `ends`, if that is given."""
    key = jobs.store.keys("leases")
    if ends:
        jobs.store.client.zadd(key, {run.job_id: ends})
    return cast("float | None", jobs.store.client.zscore(key, run.job_id))


def test_a_run_that_says_how_far_it_is_renews_its_lease(jobs: Cell) -> None:
    run = jobs.running()
    good = lease_of(jobs, run)
    for percent in (None, 10.0):
        assert lease_of(jobs, run, ends=1) == 1
        assert jobs.store.progress(run.job_id, run.fence, percent) == "ok"
        assert (lease_of(jobs, run) or 0) >= (good or 0)


@pytest.mark.parametrize("why", ["cancel", "deadline", "fence", "ended"])
def test_a_run_that_must_stop_renews_nothing(jobs: Cell, why: str) -> None:
    """Under a worker whose main process stands still, the end of its lease is what ends it."""
    run = jobs.running()
    lease_of(jobs, run, ends=FAR)
    fence = run.fence - (why == "fence")
    if why == "cancel":
        jobs.client.cancel(run.job_id)
    elif why == "deadline":
        jobs.store.client.zadd(jobs.store.keys("deadlines"), {run.job_id: 1})
        assert [one.became for one in jobs.store.rescue()] == ["stopping"]
    elif why == "ended":
        jobs.store.finish(run.job_id, fence, JobStatus.COMPLETED, result={})
    before = lease_of(jobs, run)
    assert jobs.store.progress(run.job_id, fence, 10.0) == ("cancel" if why in ("cancel", "deadline") else "fenced")
    assert lease_of(jobs, run) == before == (None if why == "ended" else FAR)
