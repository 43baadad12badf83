"""What should never be wrong is put right, and a restarted server takes nobody's job away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline_jobs.operation.maintenance import Reconcile, Rescue
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell, make_cell, tired_scripts
from tests.integration.recount import differences
from tests.servers import Server


def test_a_cell_that_is_right_is_left_alone(jobs: Cell) -> None:
    jobs.running()
    jobs.submit()
    assert Reconcile(jobs.store).run_once() == {"counters": 0, "jobs": 0}


@pytest.mark.parametrize("key", ["capacity", "stranded"])
def test_a_counter_that_drifted_is_recounted(jobs: Cell, key: str) -> None:
    jobs.running()
    jobs.store.client.set(jobs.store.keys(key), 77)
    assert Reconcile(jobs.store).run_once() == {"counters": 1, "jobs": 0}
    assert differences(jobs.store) == []


def test_leases_counted_for_the_wrong_worker_are_recounted(jobs: Cell) -> None:
    jobs.running()
    jobs.store.client.hset(jobs.store.keys("running"), mapping={"w1": 5, "ghost": 2})
    Reconcile(jobs.store).run_once()
    assert differences(jobs.store) == []


def test_a_queued_job_that_no_queue_knows_and_a_running_one_without_a_lease_come_back(jobs: Cell) -> None:
    jobs = jobs.with_settings(max_concurrent_jobs=50)
    run = jobs.running()
    jobs.slots(0)
    waiting = [jobs.submit() for _ in range(5)]
    jobs.store.client.delete(jobs.store.keys("ready", "default", "main", "sleep"), jobs.store.keys("leases"), jobs.store.keys("running"))
    # Without a lease it counts for no pipeline either.
    assert jobs.store.recount() == 1
    pages = [jobs.store.reconcile(limit=2)]
    while pages[-1].more:
        pages.append(jobs.store.reconcile(limit=2))
    assert (sum(page.jobs for page in pages), len(pages)) == (6, 4)
    jobs.store.recount()
    assert differences(jobs.store) == []
    assert [one.became for one in jobs.store.rescue()] == ["queued"]
    jobs.slots(10)
    assert all(jobs.client.get(job.job_id).reason == "dispatched" for job in [run, *waiting])


def test_a_pass_over_many_jobs_takes_several_ticks_and_each_counts_again(jobs: Cell) -> None:
    jobs = jobs.with_settings(max_concurrent_jobs=50)
    waiting = [jobs.submit() for _ in range(7)]
    jobs.store.client.delete(jobs.store.keys("ready", "default", "main", "sleep"))
    jobs.store.client.set(jobs.store.keys("capacity"), 77)
    tick = Reconcile(jobs.store, 1, page=3)
    assert tick.run_once() == {"counters": 1, "jobs": 3}
    # A page that is sent twice is the next page: another maintenance worker may tick as well.
    assert Reconcile(jobs.store, 1, page=3).run_once() == {"counters": 0, "jobs": 3}
    assert tick.run_once() == {"counters": 0, "jobs": 1}
    assert tick.run_once() == {"counters": 0, "jobs": 0}
    assert differences(jobs.store) == []
    jobs.slots(10)
    assert all(jobs.client.get(job.job_id).reason == "dispatched" for job in waiting)


def test_pages_are_as_short_as_their_work_and_none_is_passed_over(jobs: Cell) -> None:
    with tired_scripts():
        tired = make_cell(jobs.settings.model_copy(update={"max_concurrent_jobs": 50}))
        tired.running()
        tired.slots(0)
        for _ in range(12):
            tired.submit()
        keys = tired.store.keys
        tired.store.client.delete(keys("ready", "default", "main", "sleep"), keys("leases"), keys("running"))
        page = tired.store.reconcile()
        assert (0 < page.jobs == page.looked_at < 12, page.more) == (True, True)
        assert page.jobs + Reconcile(tired.store).run_once()["jobs"] == 13
        assert differences(tired.store) == []


def test_slots_that_a_tenant_does_not_have_are_taken_back(jobs: Cell) -> None:
    """It would wait at its limit for the end of a job that there is not."""
    jobs.store.set_limits("acme", {"max_concurrent": 1})
    jobs.store.client.hset(jobs.store.keys("share", "acme"), "n", 1)
    job = jobs.submit(tenant_id="acme")
    jobs.slots(5)
    assert jobs.client.get(job.job_id).reason == "fair_share"
    assert Reconcile(jobs.store).run_once() == {"counters": 1, "jobs": 1}
    assert jobs.client.get(job.job_id).reason == "dispatched"
    assert Reconcile(jobs.store).run_once() == {"counters": 0, "jobs": 0}


def test_a_tenant_with_a_hint_and_nothing_running_has_its_slot(jobs: Cell) -> None:
    jobs.slots(1)
    first, second = jobs.submit(tenant_id="acme"), jobs.submit(tenant_id="acme")
    assert (jobs.client.get(first.job_id).reason, jobs.client.get(second.job_id).reason) == ("dispatched", "fair_share")
    assert Reconcile(jobs.store).run_once() == {"counters": 0, "jobs": 0}
    assert differences(jobs.store) == []


@pytest.mark.parametrize("leases_long", [1.0, 0.2], ids=["longer than between two looks", "no longer than that"])
def test_after_a_restart_of_the_server_leases_are_longer_by_the_time_it_was_away(tmp_path: Path, jobs: Cell, leases_long: float) -> None:
    own = Server(tmp_path / "own").start()
    try:
        cell = make_cell(jobs.settings.model_copy(update={"redis_url": own.url}))
        rescue = Rescue(cell.store, cell.settings)
        rescue.run_once()
        run = cell.running(tenant_id="acme")
        waiting = cell.submit()
        own.kill()
        own.start()
        # It was away for twice as long as the lease had left.
        lease, keys = cell.settings.lease_seconds * 1000, cell.store.keys
        now, away = time.time() * 1000, leases_long * lease
        server = cell.store.client.get(keys("server")).split()[0]
        cell.store.client.set(keys("server"), f"{server} {int(now - away)}")
        cell.store.client.set(keys("seen"), int(now - away))
        cell.store.client.zadd(keys("leases"), {run.job_id: int(now - away / 2)})
        assert cell.client.get(waiting.job_id) == waiting
        assert rescue.run_once()["queued"] == 0
        assert now + 0.4 * away < cell.store.client.zscore(keys("leases"), run.job_id) < now + 0.6 * lease
        assert cell.store.announce("w1", 5, [(run.job_id, run.fence)]) == ["ok"]
        assert cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}) is JobStatus.COMPLETED
        cell.let_leases_end()
        assert rescue.run_once()["hint"] == 1
        assert differences(cell.store) == []
        cell.store.close()
    finally:
        own.stop()
