"""The scripts: each transition, its guards, and that sending it twice changes nothing."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest

from pipeline_jobs.exceptions import IdTaken, InvalidInput, JobNotEnded, StoreUnavailable, UnknownJob
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused
from pipeline_jobs.worker.backend import celery_state
from tests.integration.conftest import Cell
from tests.integration.recount import differences


def test_a_submitted_job_waits_in_the_store_while_no_worker_has_a_slot(jobs: Cell) -> None:
    job = jobs.submit(tenant_id="acme")
    assert jobs.client.get(job.job_id) == job
    assert (job.status, job.reason, jobs.hints()) == (JobStatus.QUEUED, "fair_share", [])


def test_what_a_submit_gives_is_what_is_stored_however_much_the_reply_says(jobs: Cell) -> None:
    later = int(time.time() * 1000) + 60_000
    first = jobs.submit(tenant_id="acme")
    times = ({"deadline_seconds": 60}, {"start_within_seconds": 60}, {"run_at": later})
    for more in ({}, {"priority": 3}, *times, {"depends_on": (first.job_id,)}):
        job = jobs.submit(tenant_id="acme", **more)
        assert jobs.client.get(job.job_id) == job, more


def test_a_free_slot_takes_the_job_at_once_and_the_hint_carries_its_fence(jobs: Cell) -> None:
    jobs.slots(1)
    job = jobs.submit(tenant_id="acme")
    assert (job.reason, job.fence) == ("dispatched", job.order + 1)
    assert json.loads(jobs.hints()[0]) == {"id": job.job_id, "fence": job.fence, "tag": f"{job.job_id}.{job.fence}", "tenant": "acme"}


def test_no_more_jobs_are_dispatched_than_there_are_slots(jobs: Cell) -> None:
    jobs.slots(3)
    for _ in range(10):
        jobs.submit()
    assert len(jobs.hints()) == 3
    jobs.slots(5)
    assert len(jobs.hints()) == 5


def test_the_cap_holds_over_all_workers(jobs: Cell) -> None:
    capped = jobs.with_settings(max_concurrent_jobs=4)
    capped.slots(3, "w1")
    capped.slots(3, "w2")
    for _ in range(10):
        capped.submit()
    assert len(capped.hints()) == 4


def test_a_finish_dispatches_the_next_job(jobs: Cell) -> None:
    jobs.slots(1)
    first, second = jobs.submit(), jobs.submit()
    run = jobs.start(first.job_id)
    assert len(jobs.hints()) == 1
    assert jobs.store.finish(first.job_id, run.fence, JobStatus.COMPLETED, result={}) is JobStatus.COMPLETED
    assert json.loads(jobs.hints()[1])["id"] == second.job_id


def test_jobs_start_by_priority_and_then_in_the_order_they_came(jobs: Cell) -> None:
    expected = [jobs.submit(priority=p).job_id for p in (0, 0, 0)]
    expected.insert(0, jobs.submit(priority=50).job_id)
    expected.append(jobs.submit(priority=-50).job_id)
    jobs.slots(5)
    assert [json.loads(hint)["id"] for hint in jobs.hints()] == expected


def test_a_submit_sent_twice_makes_one_job(jobs: Cell) -> None:
    job = jobs.client.prepare(NewJob(pipeline="sleep"))
    first = jobs.store.submit(job, nonce="n")
    assert jobs.store.submit(job, nonce="n") == first
    assert jobs.store.client.zcard(jobs.store.keys("status", "queued")) == 1


def test_a_taken_id_is_refused_and_the_client_draws_another(jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = jobs.submit()
    ids = iter([taken.job_id, "job_1_00000001"])
    monkeypatch.setattr("pipeline_jobs.jobs.client.new_job_id", lambda *_: next(ids))
    assert jobs.submit().job_id == "job_1_00000001"
    with pytest.raises(IdTaken):
        jobs.client.submit(NewJob(pipeline="sleep"), job_id=taken.job_id)


def test_a_claim_needs_the_fence_of_the_last_dispatch(jobs: Cell) -> None:
    jobs.slots(1)
    job = jobs.submit()
    for fence in (0, 1, job.fence - 1, job.fence + 1):
        assert jobs.store.claim(job.job_id, fence, worker="w", run="r") == ClaimRefused("stale")
    assert jobs.store.claim("job_1_00000000", 1, worker="w", run="r") == ClaimRefused("unknown")
    assert jobs.start(job.job_id).status is JobStatus.RUNNING


def test_a_doubled_hint_is_refused_but_a_claim_sent_twice_is_one_claim(jobs: Cell) -> None:
    jobs.slots(1)
    job = jobs.submit()
    run = jobs.start(job.job_id, run="first")
    again = jobs.store.claim(job.job_id, run.fence, worker="w1", run="first")
    assert again == run
    assert jobs.store.claim(job.job_id, run.fence, worker="w1", run="second") == ClaimRefused("running")
    assert jobs.store.client.hgetall(jobs.store.keys("running")) == {"w1": "1"}


def test_a_worker_refuses_a_record_that_is_newer_than_it(jobs: Cell) -> None:
    jobs.slots(1)
    job = jobs.submit()
    jobs.store.client.hset(jobs.store.keys("job", job.job_id), "schema", "99")
    assert jobs.store.claim(job.job_id, job.fence, worker="w", run="r") == ClaimRefused("schema")


def test_progress_never_falls_within_an_attempt(jobs: Cell) -> None:
    run = jobs.running()
    assert jobs.store.progress(run.job_id, run.fence, 40.0, "fetch", "x") == "ok"
    assert jobs.store.progress(run.job_id, run.fence, 30.0, "fetch", "y") == "ok"
    job = jobs.client.get(run.job_id)
    assert (job.progress, job.stage, job.message, celery_state(job)) == (40.0, "fetch", "y", "PROGRESS")


def test_a_new_attempt_starts_at_nothing_and_a_rescued_run_keeps_what_was_shown(jobs: Cell) -> None:
    run = jobs.running()
    jobs.store.progress(run.job_id, run.fence, 40.0)
    jobs.store.requeue(run.job_id, run.fence, "crash")
    assert jobs.start(run.job_id).progress == 40.0
    jobs.store.requeue(run.job_id, run.fence + 1, "retry")
    again = jobs.start(run.job_id)
    assert (again.progress, again.attempt, again.crashes, again.fence) == (0.0, 2, 1, run.fence + 2)


def test_a_finish_is_said_once_and_its_repetition_is_told_the_same(jobs: Cell) -> None:
    run = jobs.running(tenant_id="acme")
    for _ in range(2):
        status = jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={"success": True}, artifacts="f", artifact_bytes=7)
        assert status is JobStatus.COMPLETED
    assert jobs.store.client.hget(jobs.store.keys("job", run.job_id), "terminal_writes") == "1"
    assert (jobs.store.tenant_bytes("acme"), jobs.store.take_trash()) == (7, [])
    job = jobs.client.get(run.job_id)
    assert (job.progress, job.result, job.artifacts) == (100.0, {"success": True}, "f")
    assert job.expires_at == (job.completed_at or 0) + jobs.settings.job_ttl_seconds * 1000


def test_a_run_that_lost_its_fence_cannot_write(jobs: Cell) -> None:
    old = jobs.running()
    jobs.let_leases_end()
    jobs.store.rescue()
    new = jobs.start(old.job_id, worker="w2")
    assert jobs.store.progress(old.job_id, old.fence, 99.0) == "fenced"
    assert jobs.store.finish(old.job_id, old.fence, JobStatus.COMPLETED, result={"old": 1}) is None
    assert jobs.store.requeue(old.job_id, old.fence, "crash") is None
    assert jobs.store.announce("w1", 1, [(old.job_id, old.fence)]) == ["fenced"]
    assert jobs.store.finish(new.job_id, new.fence, JobStatus.COMPLETED, result={"new": 1}) is JobStatus.COMPLETED
    assert jobs.client.get(new.job_id).result == {"new": 1}


def test_cancel_of_a_queued_job_ends_it_in_that_call(jobs: Cell) -> None:
    waiting = jobs.submit(tenant_id="acme")
    assert jobs.client.cancel(waiting.job_id).status is JobStatus.CANCELLED
    jobs.slots(1)
    dispatched = jobs.submit()
    assert jobs.client.cancel(dispatched.job_id).status is JobStatus.CANCELLED
    assert jobs.store.claim(dispatched.job_id, dispatched.fence, worker="w", run="r") == ClaimRefused("cancelled")
    assert jobs.client.get(waiting.job_id).tenant_id == "acme"


def test_once_a_cancel_is_requested_no_finish_can_complete_the_job(jobs: Cell) -> None:
    run = jobs.running()
    assert jobs.client.cancel(run.job_id).cancel_requested
    assert jobs.client.get(run.job_id).status is JobStatus.RUNNING
    assert jobs.store.progress(run.job_id, run.fence, None) == "cancel"
    assert jobs.store.announce("w1", 1, [(run.job_id, run.fence)]) == ["cancel"]
    assert (
        jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}, artifacts="a/b", artifact_bytes=5) is JobStatus.CANCELLED
    )
    assert jobs.store.take_trash() == ["a/b"]
    assert jobs.client.get(run.job_id).result is None


def test_cancel_of_an_ended_job_changes_nothing(jobs: Cell) -> None:
    run = jobs.running()
    jobs.store.finish(run.job_id, run.fence, JobStatus.FAILED, error="x")
    before = jobs.client.get(run.job_id)
    assert jobs.client.cancel(run.job_id) == before
    with pytest.raises(UnknownJob):
        jobs.client.cancel("job_1_00000000")


def test_a_dead_workers_job_is_rescued_until_it_died_too_often(jobs: Cell) -> None:
    """The fourth death ends it: of what a worker's death says, see `test_apart.py`."""
    job = jobs.running()
    for crash in (1, 2, 3):
        jobs.let_worker_die()
        assert [(r.job_id, r.became) for r in jobs.store.rescue()] == [(job.job_id, "queued")]
        jobs.slots(100)
        assert jobs.start(job.job_id).crashes == crash
    jobs.let_worker_die()
    assert [r.became for r in jobs.store.rescue()] == ["failed"]
    ended = jobs.client.get(job.job_id)
    assert ended.error_detail is not None
    assert (ended.error_detail["code"], ended.attempt) == ("worker_lost", 1)


def test_a_cancelled_job_of_a_dead_worker_ends_as_cancelled(jobs: Cell) -> None:
    job = jobs.running()
    jobs.client.cancel(job.job_id)
    jobs.let_leases_end()
    assert [r.became for r in jobs.store.rescue()] == ["cancelled"]


def test_a_hint_that_nobody_claims_is_dispatched_again_and_the_old_one_is_stale(jobs: Cell) -> None:
    jobs.slots(1)
    job = jobs.submit()
    jobs.let_leases_end()
    assert [r.became for r in jobs.store.rescue()] == ["hint"]
    assert jobs.store.claim(job.job_id, job.fence, worker="w", run="r") == ClaimRefused("stale")
    assert jobs.start(job.job_id).fence == job.fence + 1


def test_a_worker_is_not_told_to_stop_what_its_child_has_not_claimed_yet(jobs: Cell) -> None:
    jobs.slots(1, "w")
    job = jobs.submit()
    assert jobs.store.announce("w", 1, [(job.job_id, job.fence)]) == ["ok"]
    assert jobs.store.announce("w", 1, [(job.job_id, job.fence - 1)]) == ["fenced"]
    jobs.let_leases_end()
    jobs.store.rescue()
    assert jobs.store.announce("w", 1, [(job.job_id, job.fence)]) == ["fenced"]


def test_leases_of_a_worker_that_is_gone_take_fair_share_of_a_live_one(jobs: Cell) -> None:
    jobs.slots(2, "dead")
    lost = [jobs.start(jobs.submit().job_id, worker="dead") for _ in range(2)]
    jobs.store.announce("dead", 0, [], leaving=True)
    jobs.slots(2, "live")
    mine = [jobs.submit() for _ in range(3)]
    assert [job.reason for job in mine] == ["dispatched", "dispatched", "fair_share"]
    for run in lost:
        jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    assert jobs.store.client.get(jobs.store.keys("stranded")) == "0"
    assert jobs.client.get(mine[2].job_id).reason == "fair_share"


def test_a_worker_that_was_only_slow_to_announce_counts_its_leases_again(jobs: Cell) -> None:
    jobs.slots(2, "w1")
    run = jobs.start(jobs.submit().job_id)
    jobs.store.client.zadd(jobs.store.keys("workers"), {"w1": 1})
    jobs.slots(2, "w2")
    assert jobs.store.client.get(jobs.store.keys("stranded")) == "1"
    jobs.store.announce("w1", 2, [(run.job_id, run.fence)])
    assert jobs.store.client.get(jobs.store.keys("stranded")) == "0"
    assert jobs.store.client.get(jobs.store.keys("capacity")) == "4"


def test_retry_waits_for_its_backoff(jobs: Cell) -> None:
    run = jobs.running()
    assert jobs.store.requeue(run.job_id, run.fence, "retry", delay_seconds=3600) is JobStatus.QUEUED
    assert jobs.client.get(run.job_id).reason == "retry"
    jobs.slots(100)
    assert jobs.client.get(run.job_id).reason == "retry"
    jobs.store.client.zadd(jobs.store.keys("delayed"), {run.job_id: 1})
    jobs.slots(100)
    assert jobs.start(run.job_id).attempt == 2


def test_delete_takes_ended_jobs_only_and_all_their_traces(jobs: Cell) -> None:
    run = jobs.running(tenant_id="acme")
    with pytest.raises(JobNotEnded):
        jobs.client.delete(run.job_id)
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}, artifacts="acme/main/x/1", artifact_bytes=9)
    jobs.client.delete(run.job_id)
    with pytest.raises(UnknownJob):
        jobs.client.get(run.job_id)
    assert jobs.store.take_trash() == ["acme/main/x/1"]
    assert jobs.store.tenant_bytes("acme") == 0
    assert not [key for key in jobs.store.client.keys("*") if run.job_id in key]
    assert differences(jobs.store) == []


def test_purge_removes_expired_jobs_and_leaves_live_and_fresh_ones(jobs: Cell) -> None:
    brief = jobs.with_settings(job_ttl_seconds=0)
    old = brief.running()
    brief.store.finish(old.job_id, old.fence, JobStatus.COMPLETED, result={})
    fresh, live, waiting = jobs.running(), jobs.running(), jobs.submit()
    jobs.store.finish(fresh.job_id, fresh.fence, JobStatus.FAILED, error="x")
    assert jobs.store.purge() == 1
    with pytest.raises(UnknownJob):
        jobs.client.get(old.job_id)
    for job in (fresh, live, waiting):
        jobs.client.get(job.job_id)
    assert differences(jobs.store) == []


def test_no_key_of_a_job_has_an_expiry(jobs: Cell) -> None:
    run = jobs.running()
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    day = jobs.store.keys("usage_day", "default", "*")
    of_tenant = {*jobs.store.client.keys(day), jobs.store.keys("feed", "default")}
    assert all(jobs.store.client.ttl(key) == -1 for key in jobs.store.client.keys("*") if key not in of_tenant)


def midnight_passes(cell: Cell, job: Job) -> None:
    """As if it had passed since the job was accepted."""
    client, keys = cell.store.client, cell.store.keys
    client.hincrby(keys("job", job.job_id), "created_at", -86_400_000)
    client.delete(*client.keys(keys("usage_day", job.tenant_id, "*")))


def test_a_tenants_day_that_a_start_begins_goes_in_the_end_too(jobs: Cell) -> None:
    jobs.slots(1)
    waiting = jobs.submit()
    days = jobs.store.keys("usage_day", "default", "*")
    midnight_passes(jobs, waiting)
    jobs.start(waiting.job_id)
    (day,) = jobs.store.client.keys(days)
    assert jobs.store.client.ttl(day) > 399 * 86_400


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_tenants_day_that_the_end_of_a_run_begins_goes_in_the_end_too(jobs: Cell, goes_on: bool) -> None:
    run = jobs.running()
    days = jobs.store.keys("usage_day", "default", "*")
    midnight_passes(jobs, run)
    jobs.store.client.hincrby(jobs.store.keys("job", run.job_id), "started_at", -1000)
    if goes_on:
        jobs.store.advance(run.job_id, run.fence, "gpu", "next", stage="next")
    else:
        jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    (day,) = jobs.store.client.keys(days)
    assert jobs.store.client.ttl(day) > 399 * 86_400


def test_a_full_server_refuses_new_jobs_but_lets_running_ones_end(jobs: Cell) -> None:
    first, second = jobs.running(), jobs.running()
    jobs.store.client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(StoreUnavailable):
            jobs.submit()
        assert jobs.store.finish(first.job_id, first.fence, JobStatus.COMPLETED, result={}) is JobStatus.COMPLETED
        assert jobs.client.cancel(second.job_id).cancel_requested
        assert jobs.store.announce("w1", 1, [(second.job_id, second.fence)]) == ["cancel"]
    finally:
        jobs.store.client.config_set("maxmemory", "0")


def test_what_answers_in_the_stores_place_and_is_none_is_a_store_that_is_away(jobs: Cell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def answer() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client:
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    client.recv(1000)

        threading.Thread(target=answer, daemon=True).start()
        elsewhere = jobs.with_settings(redis_url=f"redis://127.0.0.1:{port}/0")
        with pytest.raises(StoreUnavailable):
            elsewhere.client.get("job_1_00000000")
        elsewhere.cell.close()
        listening.shutdown(socket.SHUT_RDWR)


def test_text_that_is_not_unicode_is_the_callers_mistake(jobs: Cell) -> None:
    with pytest.raises(InvalidInput):
        jobs.submit(metadata={"x": "\ud800"})


def test_a_waiter_is_woken_by_the_end(jobs: Cell) -> None:
    run = jobs.running()
    seen: list[JobStatus] = []
    waiter = threading.Thread(target=lambda: seen.append(jobs.client.wait(run.job_id, 60).status))
    waiter.start()
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    waiter.join(60)
    assert seen == [JobStatus.COMPLETED]


def test_a_waiter_gives_up_at_its_time_with_the_record_as_it_is(jobs: Cell) -> None:
    assert jobs.client.wait(jobs.submit().job_id, 0.05).status is JobStatus.QUEUED


def test_many_threads_and_the_indexes_still_agree_with_a_recount(jobs: Cell) -> None:
    jobs.slots(8)

    def work(number: int) -> None:
        for i in range(20):
            job = jobs.submit(tenant_id=f"t{number % 3}")
            if i % 3 == 0:
                jobs.client.cancel(job.job_id)
            while jobs.store.client.rpop("jobs") is not None:
                pass
            for hinted in jobs.store.client.zrange(jobs.store.keys("hints"), 0, -1):
                claimed = jobs.store.claim(hinted, jobs.client.get(hinted).fence, worker="w1", run=f"{number}.{i}")
                if not isinstance(claimed, ClaimRefused):
                    jobs.store.finish(hinted, claimed.fence, JobStatus.COMPLETED, result={})

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert differences(jobs.store) == []


@pytest.mark.parametrize("why", ["crash", "retry", "handback", "fault"])
def test_what_a_run_published_before_its_job_was_taken_from_it_is_thrown_away(jobs: Cell, why: str) -> None:
    run = jobs.running()
    assert jobs.store.requeue(run.job_id, run.fence, why) is JobStatus.QUEUED
    assert jobs.store.take_trash() == [f"default/main/{run.job_id}/{run.fence}"]


def test_what_a_run_published_after_its_job_was_taken_from_it_is_thrown_away_when_its_process_is_found_dead(jobs: Cell) -> None:
    run = jobs.running()
    jobs.store.requeue(run.job_id, run.fence, "handback")
    jobs.store.drop_trash(jobs.store.take_trash())
    assert jobs.store.requeue(run.job_id, run.fence, "crash") is None
    assert jobs.store.take_trash() == [f"default/main/{run.job_id}/{run.fence}"]


def test_a_process_that_dies_after_its_run_has_finished_keeps_the_artifacts(jobs: Cell) -> None:
    run = jobs.running()
    folder = f"default/main/{run.job_id}/{run.fence}"
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}, artifacts=folder, artifact_bytes=1)
    assert jobs.store.requeue(run.job_id, run.fence, "crash") is None
    assert jobs.store.take_trash() == []


def test_the_first_start_stays_and_the_last_one_is_that_of_the_attempt(jobs: Cell) -> None:
    first = jobs.running()
    assert first.started_at == first.attempt_started_at is not None
    jobs.store.client.hset(jobs.store.keys("job", first.job_id), mapping={"first_started_at": 5, "started_at": 6})
    assert jobs.store.requeue(first.job_id, first.fence, "handback") is JobStatus.QUEUED
    again = jobs.start(jobs.client.get(first.job_id).job_id, run="second")
    assert again.started_at == 5
    assert (again.attempt_started_at or 0) > 6
    assert jobs.client.get(first.job_id) == again


def test_a_job_that_a_worker_of_the_release_before_started_keeps_that_start_as_the_first(jobs: Cell) -> None:
    job = jobs.running()
    key = jobs.store.keys("job", job.job_id)
    # What that worker leaves: the one field, the start of its own run.
    jobs.store.client.hdel(key, "first_started_at")
    jobs.store.client.hset(key, "started_at", 7)
    assert (jobs.client.get(job.job_id).started_at, jobs.client.get(job.job_id).attempt_started_at) == (7, 7)
    jobs.store.requeue(job.job_id, job.fence, "handback")
    again = jobs.start(job.job_id, run="second")
    assert again.started_at == 7
    assert (again.attempt_started_at or 0) > 7
