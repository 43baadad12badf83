"""Lists: each filter, and that pages have no gap and no repeat. Mixes of filters: test_mixes.py."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.jobs.listing import BUDGET, JobQuery, tally
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.cursors import write_cursor
from tests.cases import each
from tests.commands import commands, scripts
from tests.integration.conftest import Cell

Q, R, C = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLED


def listed(jobs: Cell, query: JobQuery) -> list[Job]:
    return list(jobs.client.list(query).items)


def all_pages(jobs: Cell, **query: object) -> list[str]:
    seen: list[str] = []
    cursor = None
    while True:
        page = jobs.client.list(JobQuery(**{"limit": 7, **query}, cursor=cursor))  # type: ignore[arg-type]
        seen += [job.job_id for job in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return seen


def test_a_list_pages_through_all_jobs_newest_first_without_gap_or_repeat(jobs: Cell) -> None:
    made = [jobs.submit(tenant_id="acme").job_id for _ in range(25)]
    others = [jobs.submit(tenant_id="other").job_id for _ in range(5)]
    # Each status is an index of its own; the list reads them as one.
    jobs.slots(4)
    for hint in jobs.hints():
        jobs.start(json.loads(hint)["id"])
    for job_id in made[:9]:
        jobs.client.cancel(job_id)
    assert len({job.status for job in listed(jobs, JobQuery(tenant_id="acme"))}) == 3
    assert all_pages(jobs, tenant_id="acme") == made[::-1]
    assert all_pages(jobs) == (made + others)[::-1]
    assert all_pages(jobs, tenant_id="acme", limit=25) == made[::-1]
    assert all_pages(jobs, tenant_id="acme", limit=24) == made[::-1]


def test_a_job_that_is_made_or_moved_between_two_pages_makes_no_gap(jobs: Cell) -> None:
    made = [jobs.submit(tenant_id="acme").job_id for _ in range(10)]
    page = jobs.client.list(JobQuery(tenant_id="acme", limit=5))
    jobs.submit(tenant_id="acme")
    jobs.client.cancel(made[3])
    jobs.client.cancel(made[7])
    rest = jobs.client.list(JobQuery(tenant_id="acme", limit=5, cursor=page.next_cursor))
    assert [job.job_id for job in (*page.items, *rest.items)] == made[::-1]
    assert rest.next_cursor is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (JobQuery(), "dcba"),
        (JobQuery(tenant_id="t1"), "cba"),
        (JobQuery(tenant_id="ghost"), ""),
        (JobQuery(tenant_id="t1", workspace_id="w2"), "c"),
        (JobQuery(statuses=(C,)), "b"),
        (JobQuery(statuses=(C, Q)), "dcba"),
        (JobQuery(tenant_id="t1", statuses=(Q,)), "ca"),
        (JobQuery(tenant_id="t1", statuses=(Q, C, R)), "cba"),
        (JobQuery(tenant_id="t1", tag='q"x'), "b"),
        (JobQuery(tenant_id="t1", tag="x"), "a"),
        (JobQuery(tenant_id="t2", tag="x"), ""),
        (JobQuery(tenant_id="t1", pipeline="sleep"), "cba"),
        (JobQuery(tenant_id="t1", pipeline="media"), ""),
        (JobQuery(tenant_id="t1", within="main"), "ba"),
        (JobQuery(tenant_id="t1", within="main", statuses=(Q,)), "a"),
        (JobQuery(tenant_id="t1", within="w2", pipeline="sleep"), "c"),
        (JobQuery(tenant_id="t1", within="w2", tag="x"), ""),
        (JobQuery(tenant_id="t1", within="w2", workspace_id="w2"), "c"),
    ],
)
def test_a_list_filters(jobs: Cell, query: JobQuery, expected: str) -> None:
    ids = {
        jobs.submit(tenant_id="t1", tags=("x",)).job_id: "a",
        jobs.submit(tenant_id="t1", tags=('q"x', "y")).job_id: "b",
        jobs.submit(tenant_id="t1", workspace_id="w2").job_id: "c",
        jobs.submit(tenant_id="t2").job_id: "d",
    }
    jobs.client.cancel(next(job_id for job_id, name in ids.items() if name == "b"))
    assert "".join(ids[job.job_id] for job in listed(jobs, query)) == expected


def test_a_range_of_creation_times_goes_with_every_filter(jobs: Cell) -> None:
    first, second = (jobs.submit(tenant_id="acme", tags=("x",)) for _ in range(2))
    keys = jobs.store.keys
    # As if they had been made 1,000,000 s and 2,000,000 s after the epoch.
    for name, *parts in (("status", "queued"), ("tenant_status", "acme", "queued"), ("tag", "acme", "x"), ("pipeline", "acme", "sleep")):
        jobs.store.client.zadd(keys(name, *parts), {first.job_id: 1e12, second.job_id: 2e12})
    between = 1_500_000_000
    acme = JobQuery(tenant_id="acme")
    for query in (JobQuery(), acme, replace(acme, tag="x"), replace(acme, pipeline="sleep")):
        changes: tuple[tuple[dict[str, Any], Job], ...] = (({"created_after": between}, second), ({"created_before": between}, first))
        for change, job in changes:
            # The reason is the one of now: no worker is there.
            assert listed(jobs, replace(query, **change)) == [jobs.client.get(job.job_id).evolve(reason="no_worker")]
        assert listed(jobs, replace(query, created_after=between, created_before=between + 1)) == []


def test_a_page_over_another_workspaces_jobs_is_short_and_goes_on(jobs: Cell) -> None:
    mine = jobs.submit(tenant_id="acme", workspace_id="mine", tags=("x",))
    # Members without a record are passed over as others' are.
    for index in (jobs.store.keys("tag", "acme", "x"), jobs.store.keys("workspace", "acme", "mine")):
        jobs.store.client.zadd(index, {f"job_1_{n:08x}": mine.order + 1 + n for n in range(BUDGET)})
    page = jobs.client.list(JobQuery(tenant_id="acme", tag="x", within="mine"))
    assert page.items == ()
    assert page.next_cursor is not None
    page = jobs.client.list(JobQuery(tenant_id="acme", tag="x", within="mine", cursor=page.next_cursor))
    assert [job.job_id for job in page.items] == [mine.job_id]
    assert page.next_cursor is None


def test_a_text_is_looked_for_in_so_many_bytes_a_page_and_then_goes_on(jobs: Cell) -> None:
    made = Batches(jobs.client).create(NewBatch([NewJob(pipeline="sleep")] * 40, "acme")).job_ids
    with jobs.store.client.pipeline() as pipe:
        for job_id in made:
            pipe.hset(jobs.store.keys("job", str(job_id)), "metadata", json.dumps({"note": "x" * 200_000, "end": "Needle"}))
        pipe.execute()
    page = jobs.client.list(JobQuery(tenant_id="acme", q="no such text"))
    assert page.items == ()
    assert page.next_cursor is not None
    assert len(all_pages(jobs, tenant_id="acme", q="NEEDLE")) == 40
    assert tally(jobs.store, JobQuery(tenant_id="acme", q="needle")).more


def test_a_title_of_a_result_is_searched_and_nothing_else_of_it(jobs: Cell) -> None:
    job = jobs.submit(tenant_id="acme")
    result = json.dumps({"success": True, "data": {"summary": "ships", "title": "The Harbor"}}, separators=(",", ":"))
    jobs.store.client.hset(jobs.store.keys("job", job.job_id), "result", result)
    assert [len(listed(jobs, JobQuery(tenant_id="acme", q=text))) for text in ("harbor", "ships", "summary")] == [1, 0, 0]


@each("cursor", ["x", "", "AAAA", write_cursor(1) + "AA", "ä", "____________"])
def test_a_cursor_of_somebody_elses_is_refused(jobs: Cell, cursor: str) -> None:
    with pytest.raises(InvalidInput):
        jobs.client.list(JobQuery(cursor=cursor))


@pytest.mark.parametrize(
    "query",
    [
        JobQuery(),
        JobQuery(statuses=(Q, R)),
        JobQuery(tenant_id="acme"),
        JobQuery(tenant_id="acme", statuses=(Q,)),
        JobQuery(tenant_id="acme", statuses=(Q, C)),
        JobQuery(tenant_id="acme", workspace_id="main"),
        JobQuery(tenant_id="acme", within="main"),
        JobQuery(tenant_id="acme", workspace_id="main", within="main"),
        JobQuery(tenant_id="acme", pipeline="sleep"),
        JobQuery(tenant_id="acme", tag="x"),
        JobQuery(batch_id="B"),
    ],
)
def test_a_page_by_one_filter_is_one_script_call_that_reads_its_records_and_no_other(jobs: Cell, query: JobQuery) -> None:
    batch = Batches(jobs.client).create(NewBatch([NewJob(pipeline="sleep", tags=("x",))] * 30, "acme")).batch
    query = replace(query, batch_id=query.batch_id and batch.batch_id)
    jobs.client.list(query)
    with commands(jobs.store.client) as given:
        assert len(jobs.client.list(query).items) == 25
        calls = given.so_far()
    assert scripts(calls) == 1
    assert calls["hgetall"] == 25
    # Why they wait: whether each is in its lane, and once for all of a tenant and a pipeline their limits; the workers.
    assert [calls[name] for name in ("zscore", "hmget", "mget", "zcount")] == [25, 2, 1, 1]
    assert set(calls) - {"evalsha", "fcall"} == {"hgetall", "zscore", "hmget", "mget", "zcount", "zrevrangebyscore", "time"}
