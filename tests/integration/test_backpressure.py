"""Full, nearly full, or set up so that it could lose jobs: said, not hidden."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from pipeline_jobs.exceptions import QueueFull, StoreFull, StoreUnavailable
from pipeline_jobs.job import NewJob
from pipeline_jobs.operation.conditions import look
from pipeline_jobs.operation.health import check
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import guard
from pipeline_jobs.store.guard import unsafe
from tests.commands import commands
from tests.integration.conftest import Cell, make_cell
from tests.integration.recount import differences
from tests.servers import Server


def test_a_tenant_over_its_queue_cap_is_refused_and_others_are_not(jobs: Cell) -> None:
    capped = jobs.with_settings(max_queued_per_tenant=3)
    for _ in range(3):
        capped.submit(tenant_id="acme")
    with pytest.raises(QueueFull) as refused:
        capped.submit(tenant_id="acme")
    assert refused.value.retry_after == 300
    capped.submit(tenant_id="other")
    assert capped.store.client.zcard(capped.store.keys("tenant_status", "acme", "queued")) == 3
    assert differences(capped.store) == []


def test_the_cap_of_the_whole_cell_refuses_everybody(jobs: Cell) -> None:
    capped = jobs.with_settings(max_queued=2)
    capped.submit(tenant_id="a")
    capped.submit(tenant_id="b")
    with pytest.raises(StoreFull):
        capped.submit(tenant_id="c")


def test_retry_after_follows_from_how_fast_jobs_end(jobs: Cell) -> None:
    capped = jobs.with_settings(max_queued_per_tenant=1)
    for _ in range(120):
        run = capped.running(tenant_id="acme")
        capped.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    capped.slots(0)
    capped.submit(tenant_id="acme")
    with pytest.raises(QueueFull) as refused:
        capped.submit(tenant_id="acme")
    # 120 ends within a moment are about 2 a second over the last minute.
    assert refused.value.retry_after == 1


def test_a_submit_repeated_after_a_lost_reply_is_no_second_job_even_at_the_cap(jobs: Cell) -> None:
    capped = jobs.with_settings(max_queued_per_tenant=1)
    job = capped.client.prepare(NewJob(pipeline="sleep"))
    first = capped.store.submit(job, nonce="n")
    assert capped.store.submit(job, nonce="n") == first


@pytest.fixture
def unsafe_cell(request: pytest.FixtureRequest, jobs: Cell, tmp_path: Path) -> Iterator[Cell]:
    server = Server(tmp_path / "unsafe", **request.param).start()
    cell = make_cell(jobs.settings.model_copy(update={"redis_url": server.url}))
    yield cell
    cell.store.close()
    server.stop()


@pytest.mark.parametrize(
    ("unsafe_cell", "why"),
    [({"appendonly": "no"}, "appendonly must be yes"), ({"maxmemory-policy": "allkeys-lru"}, "maxmemory-policy must be noeviction")],
    indirect=["unsafe_cell"],
)
def test_a_server_that_could_lose_jobs_is_given_none_unless_that_is_overridden(unsafe_cell: Cell, why: str) -> None:
    with pytest.raises(StoreUnavailable, match=why):
        unsafe_cell.submit()
    assert why in (unsafe(unsafe_cell.store) or "")
    assert unsafe_cell.with_settings(allow_unsafe_store=True).submit().status is JobStatus.QUEUED


@pytest.mark.parametrize("unsafe_cell", [{"appendonly": "no"}], indirect=True)
def test_that_a_server_is_full_is_said_alike_by_readiness_and_the_conditions_also_if_it_may_lose_jobs(unsafe_cell: Cell) -> None:
    cell = unsafe_cell.with_settings(allow_unsafe_store=True, memory_watermark=0.75)
    cell.store.client.config_set("maxmemory", int(int(cell.store.client.info("memory")["used_memory"]) / 0.95))
    assert "memory is full" in str(check(cell.store, cell.settings, lambda: None)["store"]["reason"])
    assert "store_memory_full" in {one.name for one in look(cell.store, cell.settings, {}).found}


@pytest.mark.parametrize("unsafe_cell", [{"appendfsync": "everysec"}], indirect=True)
def test_where_the_server_answers_before_it_writes_a_submit_waits_for_the_disk(unsafe_cell: Cell) -> None:
    with commands(unsafe_cell.store.client) as given:
        job = unsafe_cell.submit()
        assert given.so_far()["waitaof"] == 1
    assert unsafe_cell.client.get(job.job_id) == job


def test_when_the_memory_is_full_new_jobs_wait_and_running_ones_end(jobs: Cell) -> None:
    run = jobs.running()
    used = int(jobs.store.client.info("memory")["used_memory"])
    jobs.store.client.config_set("maxmemory", int(used / 0.95))
    try:
        fresh = jobs.with_settings(memory_watermark=0.75)
        with pytest.raises(StoreFull) as refused:
            fresh.submit()
        assert refused.value.retry_after > 0
        assert fresh.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}) is JobStatus.COMPLETED
    finally:
        jobs.store.client.config_set("maxmemory", 0)


def test_without_a_limit_the_watermark_is_of_the_machines_memory_and_health_warns(jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = jobs.store.client.info("memory")
    assert memory["maxmemory"] == 0
    # So far above the watermark that nobody gets any; the rest of the machine's memory makes up the difference.
    used = memory["used_memory"] / memory["total_system_memory"]
    monkeypatch.setattr(guard, "FULL_AT", 0)
    warned = []
    with structlog.testing.capture_logs() as logs:
        for watermark in (used / 2, 1.0):
            fresh = jobs.with_settings(memory_watermark=watermark)
            if watermark < 1:
                with pytest.raises(StoreFull):
                    fresh.submit()
            else:
                fresh.submit()
                fresh.client.guard._memory_at = float("-inf")
                fresh.submit()
            warned.append([line["log_level"] for line in logs if "no memory limit" in line["event"]])
    # Each process says it once.
    assert warned == [["warning"], ["warning"] * 2]
    store = check(jobs.store, jobs.settings, lambda: None)["store"]
    assert store["ok"]
    assert "maxmemory is 0" in str(store["warning"])
    nearly = check(jobs.store, jobs.settings.model_copy(update={"memory_watermark": used / 2}), lambda: None)["store"]
    assert not nearly["ok"]
    jobs.store.client.config_set("maxmemory", "1gb")
    try:
        assert check(jobs.store, jobs.settings, lambda: None)["store"] == {"ok": True, "reason": None}
    finally:
        jobs.store.client.config_set("maxmemory", 0)
