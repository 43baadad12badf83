"""Several pools beside each other: what one takes from another, what is repaired, what is shown, and what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.job import FOR_POOLS, NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.jobs.executor import Executor
from pipeline_jobs.jobs.pipeline_limits import declare_max_concurrent_jobs
from pipeline_jobs.jobs.pool_gate import CellUpgrading
from pipeline_jobs.jobs.signals import SignalLinks
from pipeline_jobs.operation import canary, conditions
from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.operation.scaling import scaling
from pipeline_jobs.pipelines import NoParams, Pipeline, Registry, RetryPolicy, Stage
from pipeline_jobs.schedules.scheduler import NewSchedule, Scheduler
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import presence
from pipeline_jobs.store.figures import load, scrape
from pipeline_jobs.store.keys import Keys
from pipeline_jobs.store.runs import Taker
from pipeline_jobs.store.store import ClaimRefused
from pipeline_jobs.tenants import TenantLimits
from tests.integration.clock import step_clock
from tests.integration.conftest import Cell, tired_scripts
from tests.integration.pool_world import Pools
from tests.integration.recount import differences

#: After so many starts of others a job that waits for the same limit has had its turn.
SOON = 3
HOUR = 3_600_000


@pytest.fixture
def pools(jobs: Cell, tmp_path: Path) -> Pools:
    return Pools(jobs, tmp_path)


def repaired(pools: Pools) -> None:
    """All that maintenance does."""
    store = pools.cell.store
    store.recount()
    while store.reconcile(limit=50).more:
        pass
    store.rescue()


def batch(pools: Pools, pipeline: str, n: int) -> None:
    Batches(pools.cell.client).create(NewBatch([NewJob(pipeline=pipeline, tenant_id="acme")] * n, tenant_id="acme"))


# -- limits that count over all pools: whose turn it is between the pools


def test_behind_a_border_a_tenant_gets_its_turn_of_a_full_pipeline(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    pools.cell.store.set_pipeline_cap("film", 1)
    film = pools.submit("film", tenant_id="b")
    backlog = [pools.submit("film", tenant_id="a") for _ in range(6)]
    run = pools.start(film, "")
    pools.cell.store.advance(run.job_id, run.fence, "gpu", "next: gpu", stage="hear")
    for _ in range(SOON):
        if pools.seen(film).reason != "dispatched":
            pools.end_first(backlog)
    assert pools.why(film) == "dispatched", "whatever comes to `default` goes first"


def test_the_oldest_job_of_a_tenant_at_its_limit_gets_its_turn_in_another_pool(pools: Pools) -> None:
    pools.slots("", 5)
    pools.slots("gpu", 5)
    pools.cell.client.set_limits("acme", TenantLimits(max_concurrent=1))
    jobs = [pools.submit("film")]
    heard = pools.submit("heard")
    jobs += [pools.submit("film") for _ in range(6)]
    for _ in range(SOON):
        if pools.seen(heard).reason != "dispatched":
            pools.end_first(jobs)
    assert pools.why(heard) == "dispatched"


def test_the_oldest_job_of_a_tenant_at_its_start_rate_gets_its_turn_in_another_pool(pools: Pools) -> None:
    pools.slots("", 50)
    pools.slots("gpu", 5)
    pools.cell.client.set_limits("acme", TenantLimits(start_rate=0.01))
    pools.submit("film")
    heard = pools.submit("heard")
    for _ in range(6):
        pools.submit("film")
    for _ in range(SOON):
        step_clock(pools.cell.store, 200_000)
        pools.cell.store.rescue()
    assert pools.why(heard) == "dispatched"


def test_a_job_that_was_lost_with_its_worker_is_next_for_its_tenants_limit(pools: Pools) -> None:
    """Rule 6 of docs/fairness.md: they are the next to start."""
    pools.slots("gpu", 1)
    pools.cell.client.set_limits("acme", TenantLimits(max_concurrent=1))
    lost = pools.submit("heard")
    pools.start(lost, "gpu")
    pools.submit("film")
    pools.slots("", 1)
    pools.slots("gpu", 1, worker="g2")
    keys = pools.cell.store.keys_of_pools()[1]
    pools.cell.store.client.zadd(keys("workers"), {"g1": 1})
    pools.cell.store.client.zadd(keys("leases"), {lost.job_id: 1})
    pools.cell.store.rescue()
    assert pools.seen(lost).reason == "dispatched", "a job of `default` that came later has the slot"


# -- what is repaired


@pytest.mark.parametrize("pool", ["", "gpu"])
def test_slots_that_no_job_has_are_taken_back(pools: Pools, pool: str) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    share = pools.cell.store.keys("share", "acme")
    pools.cell.store.client.hset(share, mapping={"n": 1} if not pool else {"n:gpu": 1, "others": 1})
    pools.cell.client.set_limits("acme", TenantLimits(max_concurrent=1))
    film = pools.submit("film")
    assert pools.why(film) == "tenant_concurrency"
    repaired(pools)
    assert (pools.why(film), differences(pools.cell.store)) == ("dispatched", [])


def test_slots_that_no_job_of_default_has_are_taken_back_while_one_runs_elsewhere(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    pools.start(pools.submit("heard"), "gpu")
    pools.cell.store.client.hset(pools.cell.store.keys("share", "acme"), "n", 1)
    pools.submit("film", tenant_id="other")
    pools.submit("film")
    repaired(pools)
    assert differences(pools.cell.store) == []


@pytest.mark.parametrize("runs", [False, True], ids=["nothing runs", "one runs in the other pool"])
def test_a_tenant_that_fell_out_of_a_ring_comes_back(pools: Pools, runs: bool) -> None:
    pools.slots("", 1)
    if runs:
        pools.start(pools.submit("film"), "")
    heard = pools.submit("heard")
    pools.cell.store.client.zrem(pools.cell.store.keys_of_pools()[1]("ring"), "acme")
    pools.slots("gpu", 1)
    repaired(pools)
    assert pools.why(heard) == "dispatched"


def test_what_a_refused_schema_frees_is_given_away_in_another_pool(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    pools.cell.client.set_limits("acme", TenantLimits(max_concurrent=1))
    film, heard = pools.submit("film"), pools.submit("heard")
    claim: dict[str, Any] = {"worker": "c1", "run": "r", "run_ms": 9, "pipelines": [("*", "")]}
    refused = pools.cell.store.run("claim", id=film.job_id, fence=pools.seen(film).fence, schema=FOR_POOLS - 1, **claim)
    assert refused.why == "schema"
    pools.slots("", 1)
    pools.slots("gpu", 1)
    assert pools.why(heard) == "dispatched"


# -- one script


def test_one_script_dispatches_as_many_jobs_in_all_pools_as_in_one(pools: Pools) -> None:
    for pool in ("", "gpu"):
        pools.slots(pool, 200)
        pools.cell.store.set_max_concurrent_jobs(200, pool)
    pools.cell.client.set_limits("acme", TenantLimits(paused=True))
    for pipeline in ("film", "heard"):
        batch(pools, pipeline, 150)
    pools.cell.client.set_limits("acme", TenantLimits())
    assert len(pools.hints("jobs")) + len(pools.hints("jobs.gpu")) <= 150


# -- what is shown


def test_many_tenants_of_default_hide_no_backlog_of_another_pool(pools: Pools) -> None:
    """Else whatever starts workers (KEDA) starts none there, for as long as they wait."""
    pools.submit("heard")
    for n in range(40):
        pools.submit("film", tenant_id=f"t{n}")
    assert scaling(pools.cell.store, pools.cell.settings, "gpu").wanted == 1
    with tired_scripts():
        assert scaling(pools.cell.with_settings().store, pools.cell.settings, "gpu").wanted == 1


def test_an_older_backlog_of_default_hides_not_how_long_another_pools_job_waits(pools: Pools) -> None:
    batch(pools, "film", 200)
    heard = pools.submit("heard")
    store = pools.cell.store
    for job_id, at in store.client.zrange(store.keys("ready_since"), 0, -1, withscores=True):
        store.client.zadd(store.keys("ready_since"), {job_id: at - (HOUR if job_id == heard.job_id else 2 * HOUR)})
    assert scaling(store, pools.cell.settings, "gpu").oldest_seconds > 0


def test_a_paused_worker_of_another_pool_is_seen(pools: Pools) -> None:
    pools.cell.store.announce("g1", 0, [], pool="gpu", paused="the disk is full", warning="old glibc")
    now = load(pools.cell.store)
    assert (now.paused, now.warnings) == ({"g1": "the disk is full"}, {"g1": "old glibc"})
    assert [worker.paused for worker in scrape(pools.cell.store).workers] == ["the disk is full"]


# -- settings


def test_a_cap_that_was_taken_out_of_the_setting_is_none_any_more(pools: Pools) -> None:
    pools.slots("gpu", 5)
    for caps in ("gpu=1", ""):
        declare_max_concurrent_jobs(pools.cell.store, pools.cell.with_settings(pool_caps_setting=caps).settings)
    assert [pools.why(pools.submit("heard")) for _ in range(2)] == ["dispatched"] * 2


def test_no_cap_is_kept_for_what_is_no_pool(pools: Pools) -> None:
    store = pools.cell.store
    with pytest.raises(ConfigurationError, match="PIPELINE_POOL_CAPS"):
        declare_max_concurrent_jobs(store, pools.cell.with_settings(pool_caps_setting="default=1").settings)
    assert store.client.exists(Keys(store.keys.prefix, "default")("max_concurrent_jobs")) == 0


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="docs/decisions/0016-pools.md, what is left")
def test_a_pool_that_nobody_serves_or_waits_for_is_forgotten(pools: Pools) -> None:
    """`-Q jobs.gpuu`, once: each script asks for it, and each scrape shows it, for good."""
    store = pools.cell.store
    pools.slots("gpuu", 1, worker="t1")
    store.client.zadd(Keys(store.keys.prefix, "gpuu")("workers"), {"t1": 1})
    repaired(pools)
    assert "gpuu" not in store.pools()


# -- a mixed fleet


@pytest.fixture
def mixed(pools: Pools) -> Pools:
    presence.announce(pools.cell.store, "old@host/1", presence.About("maintenance"))
    return pools


def test_a_schedule_makes_no_job_that_needs_pools_beside_an_earlier_version(mixed: Pools) -> None:
    scheduler = Scheduler(mixed.cell.client)
    made = scheduler.create(NewSchedule("0 * * * *", NewJob(pipeline="film", tenant_id="acme"))).schedule
    with pytest.raises(CellUpgrading):
        scheduler.run_now(made.schedule_id)


def test_a_canary_is_not_sent_to_another_pool_beside_an_earlier_version(mixed: Pools) -> None:
    mixed.cell.client.registry.register(canary.PIPELINE)
    mixed.slots("gpu", 1)
    canary.Canary(mixed.cell.client, 60).run_once()
    assert mixed.hints("jobs.gpu") == []


def test_a_job_does_not_go_to_and_fro_between_workers_that_place_its_stage_differently(pools: Pools) -> None:
    """In the middle of a deploy that moves `hear` to `default`: the worker of `gpu` knows it already, that of `default` does not."""
    pools.slots("", 1)
    pools.slots("gpu", 1)
    newer = Registry()
    stages = [Stage(name, pools.stage(name)) for name in ("fetch", "cut", "hear", "join")]
    newer.register(Pipeline("film", tuple(stages), NoParams, needs_url=False, retry=RetryPolicy(2, 0)))
    there = Executor(pools.cell.store, newer, pools.cell.settings, pools.artifacts, links=SignalLinks("http://x", lambda: "k"))
    there.pool = "gpu"
    pools.executors["gpu"] = there
    job, hops = pools.submit("film"), 0
    while hops < 8 and pools.seen(job).reason == "dispatched":
        pools.run(job, pools.seen(job).pool or "")
        hops += 1
    assert hops < 8, "at full speed, with no stage run and no attempt counted"


# -- sent again, ids used again, nothing left


@pytest.mark.parametrize(("pool", "pipeline"), [("", "sleep"), ("gpu", "heard")])
def test_a_finish_that_is_sent_again_hands_over_the_same_job_though_the_first_was_removed(pools: Pools, pool: str, pipeline: str) -> None:
    pools.slots(pool, 1)
    first = pools.start(pools.submit(pipeline), pool)
    second = pools.submit(pipeline)
    found = []
    for _ in range(2):
        taker = Taker("g1" if pool else "c1", "next", {"sleep": None, "heard": None})
        pools.cell.store.finish(first.job_id, first.fence, JobStatus.COMPLETED, result={}, taker=taker)
        found.append(taker.job and taker.job.job_id)
        if len(found) == 1:
            pools.cell.client.delete(first.job_id)
    assert found == [second.job_id] * 2


def test_an_id_is_used_again_in_another_pool(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    first = pools.cell.client.submit(NewJob(pipeline="heard", tenant_id="acme"), job_id="mine")
    before = pools.seen(first).fence
    pools.cell.client.cancel("mine")
    pools.cell.client.delete("mine")
    again = pools.cell.client.submit(NewJob(pipeline="film", tenant_id="acme"), job_id="mine")
    refused = pools.cell.store.claim("mine", before, worker="g1", run="r", pool="gpu")
    assert isinstance(refused, ClaimRefused)
    assert pools.start(again, "").pool is None
    assert (pools.hints("jobs.gpu"), differences(pools.cell.store)) == ([], [])


def test_dependents_changes_and_ends_across_pools_leave_every_index_right(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 2)
    film = pools.submit("film")
    after = pools.submit("heard", depends_on=(film.job_id,), on_dependency_failure="run")
    run = pools.start(film, "")
    pools.cell.store.advance(run.job_id, run.fence, "gpu", "next: gpu", stage="hear")
    late = pools.submit("heard", priority=-5)
    waits = pools.submit("heard")
    pools.cell.client.change(waits.job_id, priority=50)
    pools.cell.client.change(waits.job_id, run_at=pools.cell.store.now() + HOUR)
    pools.cell.client.cancel(film.job_id)
    assert [pools.seen(one).reason for one in (after, late, waits)].count("dispatched") == 2
    pools.cell.client.change(waits.job_id, run_at=0)
    assert differences(pools.cell.store) == []
    pools.cell.client.cancel(waits.job_id)
    assert differences(pools.cell.store) == []


@pytest.mark.parametrize("limits", [TenantLimits(max_concurrent=1), TenantLimits(start_rate=0.001)], ids=["concurrency", "rate"])
def test_an_erased_tenant_is_in_no_key_of_any_pool(pools: Pools, limits: TenantLimits) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    pools.cell.client.set_limits("acme", limits)
    pools.cell.store.set_pipeline_cap("heard", 1)
    for pipeline in ("heard", "film", "heard", "asked"):
        pools.submit(pipeline)
    assert erase_tenant(pools.cell.store, pools.artifacts, "acme", dry_run=False).done
    store = pools.cell.store
    named = [key for key in store.client.scan_iter(f"{store.keys.prefix}*") if "acme" in key and "audit" not in key]
    listed = [
        keys(name)
        for keys in store.keys_of_pools()
        for name in ("ring", "waiting", "parked")
        for member in (store.client.smembers(keys(name)) if name == "waiting" else store.client.zrange(keys(name), 0, -1))
        if member == "acme"
    ]
    assert (named, listed) == ([], [])


# -- what crosses a border


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="docs/decisions/0016-pools.md, what is left")
def test_a_file_that_a_stage_removed_is_gone_behind_the_border_too(pools: Pools) -> None:
    """docs/howto/own-pipeline.md: the next run finds the files as the last stage left them; remove what the other pool does not need."""
    pools.slots("", 1)
    pools.slots("gpu", 1)
    found: list[bool] = []
    pools.meanwhile["fetch"] = lambda context: (context.workdir / "film").write_text("x")
    pools.meanwhile["cut"] = lambda context: (context.workdir / "film").unlink()
    pools.meanwhile["hear"] = lambda context: found.append((context.workdir / "film").exists())
    job = pools.submit("film")
    pools.run(job, "")
    pools.run(job, "gpu")
    assert found == [False]


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="docs/decisions/0016-pools.md, what is left")
def test_an_empty_folder_that_a_stage_made_crosses_the_border(pools: Pools) -> None:
    pools.slots("", 1)
    pools.slots("gpu", 1)
    found: list[bool] = []
    pools.meanwhile["fetch"] = lambda context: (context.workdir / "frames").mkdir()
    pools.meanwhile["hear"] = lambda context: found.append((context.workdir / "frames").is_dir())
    job = pools.submit("film")
    pools.run(job, "")
    pools.run(job, "gpu")
    assert found == [True]


def test_default_without_workers_is_told_though_another_pool_has_some(pools: Pools) -> None:
    pools.slots("gpu", 1)
    pools.submit("film")
    found = conditions.look(pools.cell.store, pools.cell.settings, {}).found
    assert "workers_away" in {one.name for one in found}
