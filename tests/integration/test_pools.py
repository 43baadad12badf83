"""Several pools: which worker gets a job, and what one pool is to another. (The borders: `test_pool_borders.py`.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.cli.operator_commands import _worker_rows
from pipeline_jobs.job import FOR_POOLS, NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.jobs.executor import Ending
from pipeline_jobs.jobs.pool_gate import CellUpgrading
from pipeline_jobs.operation import canary, conditions
from pipeline_jobs.operation.metrics import StoreMetrics
from pipeline_jobs.operation.roll import roll
from pipeline_jobs.operation.scaling import scaling
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import presence
from pipeline_jobs.store.figures import scrape
from pipeline_jobs.store.runs import Taker
from pipeline_jobs.store.store import ClaimRefused
from pipeline_jobs.tenants import TenantLimits
from tests.integration.clock import set_clock, step_clock
from tests.integration.conftest import Cell
from tests.integration.pool_world import Pools
from tests.integration.recount import differences

#: In ms.
MINUTE = 60_000


@pytest.fixture
def pools(jobs: Cell, tmp_path: Path) -> Pools:
    return Pools(jobs, tmp_path)


def test_a_job_waits_for_a_worker_of_its_pool_while_others_are_idle(pools: Pools) -> None:
    pools.slots("", 5)
    job = pools.submit("heard")
    assert pools.why(job) == "no_worker_for_pool"
    assert pools.cell.client.describe(job.job_id).queue == {
        "position": 1, "reason": "no_worker_for_pool", "limit": None, "current": None, "eta_seconds": None, "pool": "gpu",
    }  # fmt: skip
    pools.slots("gpu", 1)
    assert (pools.hints("jobs.gpu"), pools.hints("jobs")) == ([job.job_id], [])
    assert pools.why(pools.submit("heard")) == "fair_share"
    assert differences(pools.cell.store) == []


def test_a_worker_takes_no_job_of_another_pool(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    job = pools.submit("heard")
    assert pools.start(job, "") == ClaimRefused("pool")
    assert (pools.why(job), len(pools.hints("jobs.gpu"))) == ("dispatched", 1), "as if that hint had not been sent"
    assert pools.start(job, "gpu").pool == "gpu"
    assert differences(pools.cell.store) == []


def test_a_worker_of_the_version_before_refuses_it(pools: Pools) -> None:
    pools.slots("", 1)
    job = pools.submit()
    args: dict[str, Any] = {
        "id": job.job_id,
        "fence": pools.seen(job).fence,
        "worker": "c1",
        "run": "r",
        "run_ms": 9,
        "pipelines": [("*", "")],
    }
    assert pools.cell.store.run("claim", schema=FOR_POOLS - 1, **args).why == "schema"


def test_a_job_that_was_lost_with_its_worker_is_next_in_its_pool(pools: Pools) -> None:
    pools.slots("gpu", 1)
    job, other = pools.submit("heard"), pools.submit("heard", tenant_id="other")
    pools.start(job, "gpu")
    client, keys = pools.cell.store.client, pools.cell.store.keys_of_pools()[1]
    client.zadd(keys("workers"), {"g1": 1})
    client.zadd(keys("leases"), {job.job_id: 1})
    pools.cell.store.rescue()
    assert pools.why(other) == "no_worker_for_pool"
    pools.slots("gpu", 1, worker="g2")
    assert (pools.seen(job).reason, pools.seen(other).reason, pools.seen(job).crashes) == ("dispatched", "fair_share", 1)
    assert differences(pools.cell.store) == []


def test_a_cancel_takes_back_the_hint_from_its_pools_queue(pools: Pools) -> None:
    pools.slots("gpu", 1)
    job, following = pools.submit("heard"), pools.submit("heard")
    pools.cell.client.cancel(job.job_id)
    assert pools.hints("jobs.gpu") == [following.job_id]
    assert differences(pools.cell.store) == []


def test_a_finish_hands_over_a_job_of_its_own_pool(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    film, heard = pools.submit("film"), pools.submit("heard")
    first = pools.start(heard, "gpu")
    second, waits = pools.submit("heard"), pools.submit("film")
    taker = Taker("g1", "next", {"film": None, "heard": None})
    assert pools.cell.store.finish(first.job_id, first.fence, JobStatus.COMPLETED, result={}, taker=taker) is JobStatus.COMPLETED
    assert taker.job is not None
    assert (taker.job.job_id, taker.job.pool) == (second.job_id, "gpu")
    again = Taker("g1", "next", {"film": None, "heard": None})
    pools.cell.store.finish(first.job_id, first.fence, JobStatus.COMPLETED, result={}, taker=again)
    assert again.job is not None
    assert again.job.job_id == second.job_id
    assert (pools.seen(film).reason, pools.seen(waits).reason) == ("dispatched", "fair_share")
    assert differences(pools.cell.store) == []


def test_a_tenants_limit_counts_all_pools_and_what_becomes_free_in_one_is_given_in_another(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    pools.cell.client.set_limits("acme", TenantLimits(max_concurrent=1))
    film, heard = pools.submit("film"), pools.submit("heard")
    assert (pools.why(film), pools.why(heard)) == ("dispatched", "tenant_concurrency")
    assert (pools.cell.client.describe(heard.job_id).queue or {})["current"] == 1
    pools.cell.client.cancel(film.job_id)
    assert pools.why(heard) == "dispatched"
    assert differences(pools.cell.store) == []


def test_a_pipelines_limit_counts_all_pools(pools: Pools) -> None:
    pools.slots("", 5)
    pools.slots("gpu", 5)
    pools.cell.store.set_pipeline_cap("film", 1)
    first, second = pools.submit(), pools.submit()
    assert (pools.why(first), pools.why(second)) == ("dispatched", "pipeline_concurrency")
    pools.run(first, "")
    assert (pools.why(first), pools.why(second)) == ("dispatched", "pipeline_concurrency"), "the pool that had no turn is next"
    assert (pools.cell.client.describe(second.job_id).queue or {})["current"] == 1
    pools.cell.client.cancel(first.job_id)
    assert pools.why(second) == "dispatched", "it waits in the other pool than that in which the slot became free"
    assert differences(pools.cell.store) == []


def test_a_pause_and_its_end_hold_in_every_pool(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    pools.cell.client.set_limits("acme", TenantLimits(paused=True))
    both = pools.submit("film"), pools.submit("heard")
    assert [pools.why(job) for job in both] == ["tenant_paused"] * 2
    pools.cell.client.set_limits("acme", TenantLimits())
    assert [pools.why(job) for job in both] == ["dispatched"] * 2


def test_each_pool_has_a_cap_of_its_own(pools: Pools) -> None:
    pools.slots("", 5)
    pools.slots("gpu", 5)
    pools.cell.store.set_max_concurrent_jobs(1, "gpu")
    heard = [pools.submit("heard") for _ in range(3)]
    assert [pools.why(job) for job in heard] == ["dispatched", "fair_share", "fair_share"]
    assert [pools.why(pools.submit("film")) for _ in range(3)] == ["dispatched"] * 3
    pools.cell.store.set_max_concurrent_jobs(2, "gpu")
    assert [pools.why(job) for job in heard] == ["dispatched", "dispatched", "fair_share"]


def test_the_recount_and_the_reconciler_find_nothing_to_do(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 2)
    jobs = [pools.submit(pipeline) for pipeline in ("film", "heard", "heard", "heard", "film")]
    pools.run(jobs[0], "")
    pools.start(jobs[1], "gpu")
    assert pools.cell.store.recount() == 0
    more = True
    while more:
        page = pools.cell.store.reconcile(limit=2)
        assert (page.jobs, page.counters) == (0, 0)
        more = page.more
    assert differences(pools.cell.store) == []


def test_the_recount_puts_right_what_is_counted_in_a_pool(pools: Pools) -> None:
    pools.slots("gpu", 1)
    pools.start(pools.submit("heard"), "gpu")
    client, keys = pools.cell.store.client, pools.cell.store.keys_of_pools()[1]
    client.hset(keys("share", "acme"), mapping={"n:gpu": 7, "others": 7})
    client.hset(keys("pipelines"), "others:heard", 7)
    client.hset(keys("running"), "g1", 7)
    client.set(keys("capacity"), 7)
    client.set(keys("stranded"), 7)
    assert pools.cell.store.recount() == 6
    assert differences(pools.cell.store) == []


def test_a_lost_lease_and_a_lost_place_are_repaired_in_their_pool(pools: Pools) -> None:
    pools.slots("gpu", 1)
    running, waiting = pools.submit("heard"), pools.submit("heard")
    pools.start(running, "gpu")
    client, keys = pools.cell.store.client, pools.cell.store.keys_of_pools()[1]
    client.zrem(keys("leases"), running.job_id)
    client.delete(keys("ready", "acme", "main", "heard"))
    while pools.cell.store.reconcile(limit=10).more:
        pass
    pools.cell.store.recount()
    assert client.zscore(keys("leases"), running.job_id) is not None
    pools.cell.store.rescue()
    assert {pools.seen(job).status for job in (running, waiting)} == {JobStatus.QUEUED}
    assert differences(pools.cell.store) == []


def test_what_waits_and_runs_in_a_pool_is_shown_by_pool(pools: Pools) -> None:
    pools.slots("", 3)
    pools.slots("gpu", 1)
    for pipeline in ("heard", "heard", "heard", "film"):
        pools.submit(pipeline)
    found = {pool.pool: pool for pool in scrape(pools.cell.store).pools}
    assert (found["gpu"].capacity, found["gpu"].hinted, found["gpu"].reasons) == (1, 1, {"dispatched": 1, "fair_share": 2})
    assert (found[""].capacity, found[""].reasons["dispatched"], found[""].reasons["fair_share"]) == (3, 1, 0)
    settings = pools.cell.settings
    assert scaling(pools.cell.store, settings, "gpu").wanted == 3
    assert (scaling(pools.cell.store, settings).ready, scaling(pools.cell.store, settings, "tpu").slots) == (1, 0)
    text = StoreMetrics(pools.cell.store, settings).text().decode()
    assert 'pipeline_pool_queued{pool="gpu"} 3.0' in text
    assert 'pipeline_pool_slots{pool="default"} 3.0' in text


def test_each_pool_with_workers_has_a_canary(pools: Pools) -> None:
    pools.cell.client.registry.register(canary.PIPELINE)
    sings = canary.Canary(pools.cell.client, 60)
    assert sings.run_once() == {"returned": 0, "sent": 1}
    pools.slots("", 1)
    pools.slots("gpu", 1)
    assert sings.run_once() == {"returned": 0, "sent": 1}, "that of the pool that has workers by now"
    keys = pools.cell.store.keys_of_pools()[1]
    job = pools.cell.client.get(str(pools.cell.store.client.get(keys("canary"))))
    assert (job.pool, pools.run(job, "gpu").ending) == ("gpu", Ending.COMPLETED)
    assert sings.run_once()["returned"] == 1
    assert [pool.canary_seconds is None for pool in scrape(pools.cell.store).pools] == [True, False]
    pools.cell.store.client.set(keys("heartbeat", "canary:gpu"), 1)
    pools.cell.store.set_text(str(pools.cell.store.now()), "heartbeat", "canary")
    found = conditions.look(pools.cell.store, pools.cell.settings, {}).found
    assert [one.detail.partition(" came")[0] for one in found if one.name == "canary_late"] == ["that of the pool gpu"]


def test_while_a_process_of_an_earlier_version_is_there_no_job_that_needs_pools_is_accepted(pools: Pools) -> None:
    store = pools.cell.store
    presence.announce(store, "old@host/1", presence.About("maintenance"))
    for submit in (lambda: pools.submit(), lambda: Batches(pools.cell.client).create(NewBatch([NewJob(pipeline="heard")]))):
        with pytest.raises(CellUpgrading, match="old@host"):
            submit()
    assert pools.submit("sleep").reason == "fair_share", "others are"
    presence.announce(store, "old@host/1", presence.About("maintenance", schema=FOR_POOLS))
    assert pools.submit().schema == FOR_POOLS


def test_a_batch_of_jobs_of_several_pools_waits_in_each(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    jobs = [NewJob(pipeline=name, tenant_id="acme") for name in ("film", "heard", "sleep", "heard")]
    Batches(pools.cell.client).create(NewBatch(jobs, tenant_id="acme"))
    assert (len(pools.hints("jobs")), len(pools.hints("jobs.gpu"))) == (1, 1)
    assert differences(pools.cell.store) == []
    Batches(pools.cell.client).create(NewBatch([NewJob(pipeline="heard", tenant_id="acme")] * 3, tenant_id="acme"))
    assert differences(pools.cell.store) == []


@pytest.mark.parametrize("first", ["a beat of another pool", "a rescue"])
def test_a_gap_of_the_clock_ends_no_lease_and_no_hint_in_any_pool(pools: Pools, first: str) -> None:
    pools.cell.store.rescue()
    pools.slots("", 1)
    pools.slots("gpu", 2)
    running, hinted = pools.submit("heard"), pools.submit("heard")
    run = pools.start(running, "gpu")
    set_clock(pools.cell.store, 3_600_000)
    done = pools.slots("", 1) if first == "a beat of another pool" else pools.cell.store.rescue()
    assert done == []
    assert pools.slots("gpu", 2, runs=(run,)) == ["ok"]
    assert pools.cell.store.rescue() == []
    assert (pools.seen(running).status, pools.seen(hinted).reason) == (JobStatus.RUNNING, "dispatched")
    assert differences(pools.cell.store) == []


def test_a_tenant_over_its_start_rate_comes_back_in_every_pool(pools: Pools) -> None:
    pools.slots("", 5)
    pools.slots("gpu", 5)
    pools.cell.client.set_limits("acme", TenantLimits(start_rate=0.01))
    film, heard = pools.submit("film"), pools.submit("heard")
    assert [pools.why(job) for job in (film, heard)] == ["dispatched", "tenant_rate"]
    step_clock(pools.cell.store, 200_000)
    pools.cell.store.rescue()
    assert pools.why(heard) == "dispatched"
    assert differences(pools.cell.store) == []


def test_a_token_that_is_given_back_brings_its_tenant_back_in_every_pool(pools: Pools) -> None:
    """The only worker of `default` leaves before it takes the job that it was sent."""
    pools.slots("", 5)
    pools.slots("gpu", 5)
    pools.cell.client.set_limits("acme", TenantLimits(start_rate=0.01))
    _, heard = pools.submit("film"), pools.submit("heard")
    assert pools.why(heard) == "tenant_rate"
    pools.slots("", 0)
    pools.cell.let_leases_end()
    pools.cell.store.rescue()
    assert pools.why(heard) == "dispatched"
    assert differences(pools.cell.store) == []


def test_the_roll_and_the_command_line_say_which_pool_a_worker_serves(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    pools.start(pools.submit("heard"), "gpu")
    found = {row.name: row for row in roll(pools.cell.store)}
    assert {name: (row.pool, row.slots, len(row.jobs)) for name, row in found.items()} == {"c1": ("default", 1, 0), "g1": ("gpu", 1, 1)}
    assert _worker_rows(found["g1"])[0][1] == "jobs (gpu)"
