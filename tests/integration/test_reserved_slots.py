"""The last slots are for others: long jobs of one tenant in all of them would keep the next one out for as long as they take."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from examples.demo_pipelines import SLEEP
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.jobs.queue_position import queue_position
from pipeline_jobs.pipelines import WorkerClass
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import CANARY_TENANT
from tests.integration.clock import step_clock
from tests.integration.conftest import Cell
from tests.integration.recount import differences

HOUR_MS = 3_600_000


@pytest.fixture
def cell(jobs: Cell) -> Cell:
    return jobs.with_settings(max_concurrent_jobs=1000, announce_seconds=1000.0)


def flood(cell: Cell, tenant: str, n: int = 10) -> list[str]:
    return [cell.submit(tenant_id=tenant).job_id for _ in range(n)]


def had_a_job(cell: Cell, tenant: str) -> None:
    """It came, was served, and is gone."""
    run = cell.start(cell.submit(tenant_id=tenant).job_id)
    cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    cell.store.client.delete("jobs")


def dispatched(cell: Cell) -> Counter[str]:
    return Counter(json.loads(hint)["tenant"] for hint in cell.hints())


def test_a_tenant_beside_which_there_was_another_lately_does_not_get_the_last_slot(cell: Cell) -> None:
    cell.slots(4)
    had_a_job(cell, "b")
    waiting = flood(cell, "a")[3:]
    assert dispatched(cell) == {"a": 3}
    cell.submit(tenant_id="b")
    assert dispatched(cell) == {"a": 3, "b": 1}
    told = queue_position(cell.store, waiting[0])
    assert told is not None
    assert (told["reason"], told["limit"], told["current"]) == ("tenant_concurrency", 3, 3)
    assert {job.reason for job in cell.client.list(JobQuery(limit=100)).items if job.job_id in waiting} == {"tenant_concurrency"}
    assert differences(cell.store) == []


def test_what_it_has_already_it_keeps_and_the_first_slot_that_it_gives_back_is_the_others(cell: Cell) -> None:
    cell.slots(4)
    runs = [cell.start(job_id) for job_id in flood(cell, "a")[:4]]
    cell.store.client.delete("jobs")
    flood(cell, "b", 1)
    for run in runs[:2]:
        cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    assert dispatched(cell) == {"b": 1, "a": 1}


def test_after_an_hour_without_others_it_has_them_all(cell: Cell) -> None:
    cell.slots(4)
    had_a_job(cell, "b")
    flood(cell, "a")
    step_clock(cell.store, HOUR_MS // 2)
    cell.slots(4)
    assert dispatched(cell) == {"a": 3}
    step_clock(cell.store, HOUR_MS // 2)
    cell.slots(4)
    assert dispatched(cell) == {"a": 4}


def test_a_run_of_hours_is_a_job_of_the_last_hour(cell: Cell) -> None:
    cell.slots(4)
    run = cell.start(cell.submit(tenant_id="b").job_id)
    cell.store.client.delete("jobs")
    step_clock(cell.store, 2 * HOUR_MS)
    cell.store.announce("w1", 4, [(run.job_id, run.fence)])
    cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    flood(cell, "a")
    assert dispatched(cell) == {"a": 3}


@pytest.mark.parametrize(
    ("slots", "reserved", "most"), [(3, None, 3), (4, None, 3), (9, None, 8), (4, 0, 4), (4, 2, 2), (2, 1, 1), (2, 7, 1), (1, 1, 1)]
)
def test_how_many_are_kept(cell: Cell, slots: int, reserved: int | None, most: int) -> None:
    cell = cell.with_settings(reserved_slots=reserved)
    cell.slots(slots)
    had_a_job(cell, "b")
    flood(cell, "a", 12)
    assert dispatched(cell) == {"a": most}


def test_alone_or_beside_the_canary_it_has_them_all(cell: Cell) -> None:
    cell.slots(4)
    had_a_job(cell, CANARY_TENANT)
    flood(cell, "a")
    assert dispatched(cell) == {"a": 4}


def test_a_worker_that_comes_or_goes_changes_what_is_the_last_one(cell: Cell) -> None:
    cell.slots(4)
    had_a_job(cell, "b")
    flood(cell, "a")
    cell.slots(4, "w2")
    assert dispatched(cell) == {"a": 7}
    assert differences(cell.store) == []


def test_what_a_dead_worker_held_keeps_no_tenant_from_the_slots_that_there_are(cell: Cell) -> None:
    """They count as its own for a lease, but slots are free."""
    cell.slots(4)
    had_a_job(cell, "b")
    for job_id in flood(cell, "a")[:3]:
        cell.start(job_id)
    cell.store.client.delete("jobs")
    cell.store.client.zadd(cell.store.keys("workers"), {"w1": 1})
    cell.slots(4, "w2")
    assert dispatched(cell) == {"a": 3}


def test_a_lost_job_of_a_tenant_waits_for_the_last_slot_too(cell: Cell) -> None:
    cell.slots(3)
    cell.slots(3, "w2")
    had_a_job(cell, "b")
    jobs = flood(cell, "a", 7)
    for n, job_id in enumerate(jobs[:5]):
        cell.start(job_id, "w1" if n < 2 else "w2")
    cell.store.client.delete("jobs")
    cell.store.client.zadd(cell.store.keys("workers"), {"w1": 1})
    cell.slots(1, "w3")
    for job_id in jobs[:2]:
        cell.store.client.zadd(cell.store.keys("leases"), {job_id: 1})
    cell.store.rescue()
    assert dispatched(cell) == {}
    cell.submit(tenant_id="b")
    assert dispatched(cell) == {"b": 1}


def test_an_erased_tenant_is_named_no_more(cell: Cell) -> None:
    cell.slots(4)
    had_a_job(cell, "secret-tenant")
    for job_id in cell.store.members("ended"):
        cell.client.delete(job_id)
    assert cell.store.forget_tenant("secret-tenant")
    assert "secret-tenant" not in (cell.store.client.get(cell.store.keys("recent")) or "")


def test_a_clock_that_is_set_back_keeps_nobody_from_the_last_slot_for_hours(cell: Cell) -> None:
    cell.slots(4)
    had_a_job(cell, "b")
    step_clock(cell.store, -13 * HOUR_MS)
    flood(cell, "a")
    assert dispatched(cell) == {"a": 4}


def join(cell: Cell, worker: str, slots: int, *pipelines: str) -> None:
    """A worker that knows these pipelines."""
    cell.store.announce(worker, slots, [], kind=WorkerClass.of(pipelines))


def sent(cell: Cell, *pipelines: str) -> Counter[str]:
    """By tenant, the hints for workers that know these."""
    hints = cell.store.client.lrange(f"jobs.{WorkerClass.of(pipelines).name}", 0, -1)
    return Counter(json.loads(hint)["tenant"] for hint in hints)


@pytest.fixture
def mixed(cell: Cell) -> Cell:
    """Four slots for `sleep`, eight for `nap`."""
    cell.client.registry.register(replace(SLEEP, name="nap"))
    cell.slots(1)
    had_a_job(cell, "b")
    join(cell, "w1", 4, "sleep")
    join(cell, "w2", 8, "nap")
    return cell


def test_where_workers_know_different_pipelines_the_last_slot_of_each_pipeline_is_for_others(mixed: Cell) -> None:
    waiting = flood(mixed, "a")[3:]
    assert sent(mixed, "sleep") == {"a": 3}
    # It does not wait for room of the pipeline. There is some: it would be asked again and again, for as long as a script may work.
    assert not mixed.store.client.exists(mixed.store.keys("blocking"))
    told = queue_position(mixed.store, waiting[0])
    assert told is not None
    assert (told["reason"], told["limit"], told["current"]) == ("tenant_concurrency", 3, 3)
    mixed.submit(tenant_id="b")
    assert sent(mixed, "sleep") == {"a": 3, "b": 1}
    assert differences(mixed.store) == []


def test_what_it_has_of_other_workers_keeps_it_from_no_slot(mixed: Cell) -> None:
    """Others have the slots beside the last one for `sleep`."""
    flood(mixed, "c", 3)
    for _ in range(7):
        mixed.submit(tenant_id="a", pipeline="nap")
    mixed.submit(tenant_id="a", pipeline="sleep")
    assert (sent(mixed, "nap"), sent(mixed, "sleep")) == ({"a": 7}, {"c": 3, "a": 1})


@pytest.mark.parametrize("workspace", ["main", "other"])
def test_who_may_have_no_more_of_one_pipeline_goes_on_with_another(mixed: Cell, workspace: str) -> None:
    join(mixed, "w3", 1, "doze")
    mixed.client.registry.register(replace(SLEEP, name="doze"))
    flood(mixed, "a")
    mixed.submit(tenant_id="a", workspace_id=workspace, pipeline="doze")
    assert (sent(mixed, "sleep"), sent(mixed, "doze")) == ({"a": 3}, {"a": 1})
    # Of one slot none is kept.
    mixed.submit(tenant_id="a", workspace_id=workspace, pipeline="doze")
    for _ in range(10):
        mixed.submit(tenant_id="a", workspace_id=workspace, pipeline="nap")
    assert sent(mixed, "nap") == {"a": 7}
    assert differences(mixed.store) == []


def test_runs_count_where_they_run(mixed: Cell) -> None:
    for job_id in flood(mixed, "a", 3):
        mixed.start(job_id)
    mixed.store.client.delete(f"jobs.{WorkerClass.of(['sleep']).name}")
    flood(mixed, "a", 2)
    assert sent(mixed, "sleep") == {}
    join(mixed, "w3", 1, "sleep", "nap")
    assert sent(mixed, "sleep") == {"a": 1}


def test_what_was_given_in_the_same_step_counts(cell: Cell) -> None:
    """Two jobs of a batch are dispatched by one script, which has counted the tenant's slots before the first."""
    cell = cell.with_settings(reserved_slots=2)
    cell.client.registry.register(replace(SLEEP, name="nap"))
    cell.slots(1)
    had_a_job(cell, "b")
    join(cell, "w1", 2, "sleep")
    join(cell, "w2", 0, "sleep", "nap")
    cell.submit(tenant_id="a")
    join(cell, "w2", 2, "sleep", "nap")
    cell.submit(tenant_id="c", pipeline="nap")
    assert (sent(cell, "sleep"), sent(cell, "sleep", "nap")) == ({"a": 1}, {"c": 1})
    jobs = [NewJob(pipeline=pipeline, tenant_id="a") for pipeline in ("nap", "sleep")]
    Batches(cell.client).create(NewBatch(jobs, tenant_id="a"))
    # With that one it has two of the four slots for `sleep`, of which two are for others.
    assert (sent(cell, "sleep"), sent(cell, "sleep", "nap")) == ({"a": 1}, {"c": 1, "a": 1})
    assert differences(cell.store) == []
