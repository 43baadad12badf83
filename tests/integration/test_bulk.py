"""Cancel by filter: what matches and lives, no more, in bounded pages. Mixes of filters: test_mixes.py."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pipeline_jobs.exceptions import RateLimited
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.jobs.bulk import Cancelled, cancel_matching
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.jobs.moved import Moved, Say
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.recount import differences


def test_a_dry_run_counts_and_changes_nothing_and_the_other_does_what_it_said(jobs: Cell) -> None:
    jobs.slots(1)
    running = jobs.submit(tenant_id="acme", tags=("x",))
    jobs.start(running.job_id)
    waiting = [jobs.submit(tenant_id="acme", tags=("x",)) for _ in range(3)]
    ended = jobs.submit(tenant_id="acme", tags=("x",))
    jobs.client.cancel(ended.job_id)
    others = [jobs.submit(tenant_id="acme", tags=("y",)), jobs.submit(tenant_id="other", tags=("x",))]
    query = JobQuery(tenant_id="acme", tag="x")
    before = [jobs.client.get(job.job_id) for job in (running, *waiting, ended, *others)]
    assert cancel_matching(jobs.store, query, dry_run=True) == Cancelled(4, 3, 1, None)
    assert [jobs.client.get(job.job_id) for job in before] == before
    assert cancel_matching(jobs.store, query, dry_run=False) == Cancelled(4, 3, 1, None)
    assert all(jobs.client.get(job.job_id).status is JobStatus.CANCELLED for job in waiting)
    assert jobs.client.get(running.job_id).cancel_requested
    assert [jobs.client.get(job.job_id).cancel_requested for job in others] == [False, False]
    # The running one is still being stopped: asking again is safe.
    assert cancel_matching(jobs.store, query, dry_run=False) == Cancelled(1, 0, 1, None)
    assert differences(jobs.store) == []


def test_who_asks_for_ended_jobs_finds_them_as_they_were(jobs: Cell) -> None:
    run = jobs.running(tenant_id="acme")
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    before = jobs.client.get(run.job_id)
    query = JobQuery(tenant_id="acme", statuses=(JobStatus.COMPLETED,))
    assert cancel_matching(jobs.store, query, dry_run=False) == Cancelled(0, 0, 0, None)
    assert jobs.client.get(run.job_id) == before
    assert differences(jobs.store) == []


def test_the_end_of_jobs_that_celery_has_heard_of_is_told(jobs: Cell) -> None:
    jobs.slots(1)
    again = jobs.submit(tenant_id="acme")
    run = jobs.start(again.job_id)
    jobs.slots(0)
    assert jobs.store.requeue(again.job_id, run.fence, "handback") is JobStatus.QUEUED
    jobs.submit(tenant_id="acme")
    told: list[str] = []
    query = JobQuery(tenant_id="acme")
    assert cancel_matching(jobs.store, query, dry_run=True, say=lambda moved: told.append(moved.job_id)).cancelled == 2
    assert told == []
    assert cancel_matching(jobs.store, query, dry_run=False, say=lambda moved: told.append(moved.job_id)).cancelled == 2
    assert told == [again.job_id]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (JobQuery(tenant_id="t1"), "ab"),
        (JobQuery(tenant_id="t1", statuses=(JobStatus.QUEUED,)), "b"),
        (JobQuery(tenant_id="t1", statuses=(JobStatus.RUNNING,)), "a"),
        (JobQuery(tenant_id="t1", workspace_id="w"), "b"),
        (JobQuery(tenant_id="t1", within="w"), "b"),
        (JobQuery(tenant_id="t1", pipeline="sleep"), "ab"),
        (JobQuery(tenant_id="t1", pipeline="media"), ""),
        (JobQuery(statuses=(JobStatus.QUEUED,)), "bc"),
        (JobQuery(tenant_id="t1", created_before=1), ""),
    ],
)
def test_the_filters_are_those_of_a_list(jobs: Cell, query: JobQuery, expected: str) -> None:
    jobs.slots(1)
    ids = {jobs.submit(tenant_id="t1").job_id: "a", jobs.submit(tenant_id="t1", workspace_id="w").job_id: "b"}
    ids[jobs.submit(tenant_id="t2").job_id] = "c"
    jobs.start(json.loads(jobs.hints()[0])["id"])
    cancel_matching(jobs.store, query, dry_run=False)
    hit = [name for job_id, name in ids.items() if jobs.client.get(job_id).cancel_requested]
    assert "".join(hit) == expected


def test_a_call_looks_at_so_many_jobs_and_the_next_one_goes_on(jobs: Cell) -> None:
    for _ in range(250):
        jobs.submit(tenant_id="acme")
    first = cancel_matching(jobs.store, JobQuery(tenant_id="acme"), dry_run=False, most=200)
    assert (first.matched, first.next_cursor is None) == (200, False)
    rest = cancel_matching(jobs.store, JobQuery(tenant_id="acme", cursor=first.next_cursor), dry_run=False, most=200)
    assert rest == Cancelled(50, 50, 0, None)
    assert differences(jobs.store) == []


def test_of_one_tenant_one_cancellation_is_at_work_at_a_time_and_of_others_theirs(jobs: Cell) -> None:
    jobs.slots(0)
    for tenant, tag in (("acme", "y"), ("other", "x")):
        for _ in range(120):
            jobs.submit(tenant_id=tenant, tags=(tag,))
    ours, key = JobQuery(tenant_id="acme", tag="x"), jobs.store.keys("bulk", "acme")
    for _ in range(5):
        for _ in range(120):
            jobs.submit(tenant_id="acme", tags=("x",))
        first = cancel_matching(jobs.store, ours, dry_run=False, most=100)
        # It has its turn until it goes on, or does not: then that lapses. It lasts for a minute, so that a slow machine is no other one.
        with jobs.store.client.pipeline() as pipe:
            pipe.execute_command("PTTL", key)
            pipe.execute_command("EXPIRE", key, 60)
            left, there = pipe.execute()
        if there:
            break
        cancel_matching(jobs.store, ours, dry_run=False)
    assert 0 < left <= 200
    with pytest.raises(RateLimited) as refused:
        cancel_matching(jobs.store, JobQuery(tenant_id="acme", tag="y"), dry_run=False)
    assert refused.value.retry_after == 1
    assert cancel_matching(jobs.store, JobQuery(tenant_id="acme", tag="y"), dry_run=True).matched == 120
    assert cancel_matching(jobs.store, JobQuery(tenant_id="other"), dry_run=False).matched == 120
    assert cancel_matching(jobs.store, replace(ours, cursor=first.next_cursor), dry_run=False).matched == 20
    assert cancel_matching(jobs.store, JobQuery(tenant_id="acme", tag="y"), dry_run=False).matched == 120
    assert not jobs.store.client.exists(key)
    assert differences(jobs.store) == []


def test_no_tenants_cancellation_is_in_the_way_of_an_operators(jobs: Cell) -> None:
    jobs.slots(0)
    for tenant in ("acme", "other"):
        for _ in range(120):
            jobs.submit(tenant_id=tenant)
    keys = [jobs.store.keys("bulk", whose) for whose in ("acme", "other", "*")]
    for key in keys[:2]:
        jobs.store.client.set(key, "somebody's")
    assert cancel_matching(jobs.store, JobQuery(), dry_run=False, operator=True) == Cancelled(240, 240, 0, None)
    # It takes no turn of theirs either. Of operators' one is at work at a time.
    assert [jobs.store.client.get(key) for key in keys] == ["somebody's", "somebody's", None]
    jobs.store.client.set(keys[2], "another's")
    jobs.submit(tenant_id="acme")
    with pytest.raises(RateLimited):
        cancel_matching(jobs.store, JobQuery(), dry_run=False, operator=True)
    assert differences(jobs.store) == []


@pytest.fixture
def interrupted(jobs: Cell) -> Say:
    """Told of the first page: by then another cancellation has the turn of acme."""
    jobs.slots(0)
    key = jobs.store.keys("bulk", "acme")

    def say(moved: Moved) -> None:
        jobs.store.client.set(key, "another's")

    return say


def heard_of(jobs: Cell, n: int) -> str:
    """So many jobs of acme, of which Celery knows. :return: their batch."""
    batch_id = Batches(jobs.client).create(NewBatch([NewJob(pipeline="sleep")] * n, tenant_id="acme")).batch.batch_id
    for job_id in jobs.store.members("batch_jobs", batch_id):
        jobs.store.client.hset(jobs.store.keys("job", job_id), "fence", 1)
    return batch_id


def test_a_cancellation_that_loses_its_turn_says_what_it_did_and_where_to_go_on(jobs: Cell, interrupted: Say) -> None:
    heard_of(jobs, 150)
    query = JobQuery(tenant_id="acme")
    done = cancel_matching(jobs.store, query, dry_run=False, say=interrupted)
    assert 0 < done.matched < 150
    assert done.next_cursor is not None
    with pytest.raises(RateLimited):
        cancel_matching(jobs.store, replace(query, cursor=done.next_cursor), dry_run=False)
    jobs.store.client.delete(jobs.store.keys("bulk", "acme"))
    rest = cancel_matching(jobs.store, replace(query, cursor=done.next_cursor), dry_run=False)
    assert (done.matched + rest.matched, rest.next_cursor) == (150, None)


def test_a_batch_whose_cancellation_loses_its_turn_is_not_said_to_be_cancelled(jobs: Cell, interrupted: Say) -> None:
    batch_id = heard_of(jobs, 150)
    with pytest.raises(RateLimited):
        Batches(jobs.client, interrupted).cancel(batch_id)
    jobs.store.client.delete(jobs.store.keys("bulk", "acme"))
    assert 0 < Batches(jobs.client).cancel(batch_id).matched < 150


def test_a_cancellation_is_in_no_other_tenants_way_and_leaves_no_turn_behind(jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer jobs wait, of all tenants, than the batch has: that list is read, with others' jobs before and after those that are meant."""
    jobs.slots(0)
    # More than a page of them: the last page has none that is meant.
    for _ in range(30):
        jobs.submit(tenant_id="older")
    batch = Batches(jobs.client).create(NewBatch([NewJob(pipeline="sleep")] * 150, tenant_id="acme", workspace_id="main"))
    for job_id in map(str, batch.job_ids[:80]):
        jobs.client.cancel(job_id)
    jobs.submit(tenant_id="newer")
    held: set[str] = set()
    run = type(jobs.store).run

    def noted(store: Any, script: str, /, **arguments: Any) -> Any:
        reply = run(store, script, **arguments)
        held.update(name for name in ("older", "acme", "newer") if store.client.exists(store.keys("bulk", name)))
        return reply

    monkeypatch.setattr(type(jobs.store), "run", noted)
    assert Batches(jobs.client).cancel(str(batch.batch.batch_id)).cancelled == 70
    assert held == {"acme"}
    assert not jobs.store.client.exists(jobs.store.keys("bulk", "acme"))


def test_no_page_holds_the_server_for_more_than_some_ms(jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is cancelled costs the server 0.15 ms, and a request of another tenant waits for several pages."""
    jobs.slots(0)
    for _ in range(60):
        jobs.submit(tenant_id="acme")
    pages: list[int] = []
    run = type(jobs.store).run

    def noted(store: Any, script: str, /, **arguments: Any) -> Any:
        reply = run(store, script, **arguments)
        if script == "cancel_page":
            pages.append(reply.looked_at)
        return reply

    monkeypatch.setattr(type(jobs.store), "run", noted)
    assert cancel_matching(jobs.store, JobQuery(tenant_id="acme"), dry_run=False).cancelled == 60
    assert sum(pages) == 60
    assert max(pages) <= 25
