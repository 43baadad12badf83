"""Jobs that were lost with their worker and whose turn it is between pools, where many meet: what an attack found."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from examples.demo_pipelines import SLEEP
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import SCHEMA, Job, NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.jobs.executor import Executor
from pipeline_jobs.jobs.signals import SignalLinks
from pipeline_jobs.pipelines import NoParams, Pipeline, Registry, RetryPolicy, Stage, WorkerClass
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from tests.commands import commands_of
from tests.integration.clock import set_clock
from tests.integration.conftest import Cell
from tests.integration.lost_runs import dispatched, kill, started
from tests.integration.pool_world import Pools

#: After so many starts of others a job that waits for the same limit has had its turn.
SOON = 4
HOUR = 3_600_000
#: Of the jobs that go first: as many as a script reads, and more.
FEW, MANY = 60, 900


@pytest.fixture
def roomy(jobs: Cell) -> Cell:
    return jobs.with_settings(max_concurrent_jobs=1000, lease_seconds=60.0, announce_seconds=1000.0, hint_seconds=900.0)


@pytest.fixture
def pools(jobs: Cell, tmp_path: Path) -> Pools:
    return Pools(jobs, tmp_path)


# -- many jobs that go first and may not start


def batch(cell: Cell, pipeline: str, n: int) -> list[Job]:
    made = Batches(cell.client).create(NewBatch([NewJob(pipeline=pipeline, tenant_id="a")] * n, tenant_id="a"))
    return [cell.client.get(job_id) for job_id in made.job_ids if job_id]


def lost(cell: Cell, pipeline: str, kind: WorkerClass, n: int) -> list[Job]:
    """So many jobs of a tenant whose worker died."""
    made = batch(cell, pipeline, n)
    while len(dispatched(cell, made)) < n:
        cell.store.announce("w0", n + 1, [], kind=kind)
    kill(cell, "w0", started(cell, "w0", made), kind=kind)
    return made


@pytest.mark.parametrize("n", [FEW, MANY])
def test_lost_jobs_of_a_pipeline_that_no_worker_is_left_for_stop_nobody_else(roomy: Cell, n: int) -> None:
    roomy.client.registry.register(replace(SLEEP, name="nap"))
    lost(roomy, "nap", WorkerClass.of(["nap", "sleep"]), n)
    others = [roomy.submit(tenant_id=tenant) for tenant in ("b", "c", "d")]
    # At first nobody knows that they stay; in the end it is known of all.
    for extra in range(11):
        roomy.store.announce("w1", 20, [], kind=WorkerClass.of(["sleep"]))
        assert dispatched(roomy, others) == others, "slots are free, and nothing starts in the whole cell"
        others.append(roomy.submit(tenant_id=f"e{extra}"))


@pytest.mark.parametrize("n", [FEW, MANY])
def test_a_newcomer_has_the_last_slot_however_many_jobs_of_another_tenant_were_lost(roomy: Cell, n: int) -> None:
    kind = WorkerClass.of(["sleep"])
    roomy.store.announce("w0", 1, [], kind=kind)
    (other,) = started(roomy, "w0", [roomy.submit(tenant_id="c")])
    roomy.store.finish(other.job_id, other.fence, JobStatus.COMPLETED, result={})
    lost(roomy, "sleep", kind, n)
    first = roomy.submit(tenant_id="b")
    roomy.store.announce("w1", 5, [], kind=kind)
    assert dispatched(roomy, [first]) == [first], "the slot that is kept for it stays free"


def test_a_lost_job_for_which_a_worker_comes_is_next_though_others_still_wait_for_theirs(roomy: Cell) -> None:
    for name in ("nap", "doze"):
        roomy.client.registry.register(replace(SLEEP, name=name))
    kind = WorkerClass.of(["sleep", "nap", "doze"])
    roomy.store.announce("w0", 2, [], kind=kind)
    made = [roomy.submit(tenant_id=tenant, pipeline=pipeline) for tenant, pipeline in (("a", "nap"), ("b", "doze"))]
    kill(roomy, "w0", started(roomy, "w0", made), kind=kind)
    roomy.store.announce("w1", 1, [], kind=WorkerClass.of(["sleep"]))
    others = [roomy.submit(tenant_id=tenant) for tenant in ("c", "d")]
    roomy.store.announce("w2", 1, [], kind=WorkerClass.of(["sleep", "doze"]))
    assert dispatched(roomy, [*made, *others]) == [made[1], others[0]]


# -- whose turn it is between the pools


@pytest.mark.parametrize("busy", [False, True], ids=["alone", "beside another"])
def test_another_tenant_under_a_limit_of_its_own_takes_no_turn_from_this_one(pools: Pools, busy: bool) -> None:
    pools.slots("", 9)
    pools.slots("gpu", 9)
    for tenant in ("a", "b"):
        pools.cell.client.set_limits(tenant, TenantLimits(max_concurrent=1))
    mine = [pools.submit("heard", tenant_id="a")]
    film = pools.submit("film", tenant_id="a")
    mine += [pools.submit("heard", tenant_id="a") for _ in range(SOON + 1)]
    others = [pools.submit("film", tenant_id="b") for _ in range(SOON + 2)]
    for _ in range(SOON):
        if busy:
            pools.end_first(others)
        if pools.seen(film).reason != "dispatched":
            pools.end_first(mine)
    assert pools.why(film) == "dispatched", "each start of b in `default` makes it the turn of gpu, for a as well"


def test_a_job_of_another_tenant_that_starts_apart_takes_no_turn(pools: Pools) -> None:
    """It waits for its time, for up to an hour, and its pool would be first as long."""
    pools.slots("", 9)
    pools.slots("gpu", 9)
    pools.cell.client.set_limits("a", TenantLimits(max_concurrent=1))
    apart = [pools.submit("heard", tenant_id="b") for _ in range(2)]
    for job in apart:
        pools.cell.store.client.hset(pools.cell.store.keys("job", job.job_id), "crashes", 3)
        pools.start(job, "gpu")
    keys = pools.cell.store.keys_of_pools()[1]
    pools.cell.store.client.zadd(keys("workers"), {"g1": 1})
    pools.cell.store.client.zadd(keys("leases"), {job.job_id: 1 for job in apart})
    pools.cell.store.rescue()
    pools.slots("gpu", 9)
    (first,) = (job for job in apart if pools.seen(job).reason == "dispatched")
    pools.start(first, "gpu")
    mine = [pools.submit("heard", tenant_id="a")]
    film = pools.submit("film", tenant_id="a")
    mine += [pools.submit("heard", tenant_id="a") for _ in range(SOON + 1)]
    for _ in range(SOON):
        if pools.seen(film).reason != "dispatched":
            pools.end_first(mine)
    assert pools.why(film) == "dispatched"


@pytest.mark.xfail(strict=True, reason="it is a job of its lane again, docs/fairness.md, rule 6")
def test_a_lost_job_whose_tenant_is_at_its_limit_for_a_moment_keeps_its_place(pools: Pools) -> None:
    """docs/reliability.md, promise 4: it goes before all other jobs, and keeps its place until it has started."""
    pools.slots("", 1)
    pools.slots("gpu", 1)
    pools.cell.client.set_limits("acme", TenantLimits(max_concurrent=1))
    lost_one = pools.submit("heard")
    pools.start(lost_one, "gpu")
    film = pools.submit("film")
    keys = pools.cell.store.keys_of_pools()[1]
    pools.cell.store.client.zadd(keys("workers"), {"g1": 1})
    pools.cell.store.client.zadd(keys("leases"), {lost_one.job_id: 1})
    pools.cell.store.rescue()
    assert pools.seen(film).reason == "dispatched"
    crowd = [pools.submit("heard", tenant_id=f"new{n}") for n in range(4)]
    pools.slots("gpu", 1)
    pools.cell.client.cancel(film.job_id)
    pools.end_first(crowd)
    assert pools.why(lost_one) == "dispatched", "newcomers are before it"


# -- borders


def serve_gpu(pools: Pools, registry: Registry, artifacts: ArtifactStore) -> None:
    """The workers of `gpu` know these pipelines and have these artifacts."""
    links = SignalLinks("http://x", lambda: "k")
    pools.executors["gpu"] = Executor(pools.cell.store, registry, pools.cell.settings, artifacts, links=links)
    pools.executors["gpu"].pool = "gpu"


def hops_of(pools: Pools, job: Job, most: int) -> int:
    """How often the job was run without a pause, up to `most`."""
    hops = 0
    while hops < most and pools.seen(job).reason == "dispatched":
        pools.run(job, pools.seen(job).pool or "")
        hops += 1
    return hops


def test_a_job_does_not_go_to_and_fro_between_workers_that_name_its_stages_differently(pools: Pools) -> None:
    """In the middle of a deploy in which `cut` becomes `trim`: the worker of `gpu` has it already."""
    pools.slots("", 1)
    pools.slots("gpu", 1)
    newer = Registry()
    stages = [Stage(name, pools.stage(name), pool="gpu" if name == "hear" else "") for name in ("fetch", "trim", "hear", "join")]
    newer.register(Pipeline("film", tuple(stages), NoParams, needs_url=False, retry=RetryPolicy(2, 0)))
    serve_gpu(pools, newer, pools.artifacts)
    assert hops_of(pools, pools.submit("film"), 12) < 12, f"at full speed, with {pools.ran}"


def test_a_machine_that_has_another_folder_in_the_place_of_the_artifacts_sends_no_job_to_and_fro(pools: Pools, tmp_path: Path) -> None:
    """The share is not mounted on the one machine of the pool: all that was kept is `lost` there, and made again, for ever."""
    pools.slots("", 1)
    pools.slots("gpu", 1)
    (tmp_path / "not mounted").mkdir()
    elsewhere = ArtifactStore((tmp_path / "not mounted").as_uri(), "http://x", lambda: "k")
    serve_gpu(pools, pools.cell.client.registry, elsewhere)
    assert hops_of(pools, pools.submit("film"), 12) < 12, f"at full speed, with {pools.ran}"


# -- which job killed its worker


def go_on(cell: Cell, ms: int) -> None:
    """So much time passes, and nobody renews a lease."""
    client, keys = cell.store.client, cell.store.keys
    for key in ("leases", "workers", "delayed"):
        for member, at in client.zrange(keys(key), 0, -1, withscores=True):
            client.zadd(keys(key), {member: at - ms})
    for job_id in client.zrange(keys("leases"), 0, -1):
        client.hincrby(keys("job", job_id), "started_at", -ms)


def restarts(cell: Cell, before: str, after: str, run: Job, lived_ms: int) -> None:
    """The worker renews its lease, dies, and another one is there four seconds later; on the same node its leases are cut short."""
    cell.store.client.hset(cell.store.keys("job", run.job_id), "started_at", int(time.time() * 1000) - lived_ms)
    cell.slots(1, before)
    cell.store.announce(before, 1, [(run.job_id, run.fence)])
    go_on(cell, 4_000)
    for _ in range(2):
        cell.slots(1, after)
    go_on(cell, 4_000 if after.startswith("jobs@n/") else 60_000)
    cell.store.rescue()


@pytest.fixture
def node(jobs: Cell) -> Cell:
    """The default settings of leases."""
    return jobs.with_settings(max_concurrent_jobs=100, lease_seconds=60.0, announce_seconds=1.0)


@pytest.mark.parametrize("host", ["m", "n"], ids=["on another node", "on its node"])
def test_a_run_that_outlived_its_time_is_cleared_though_a_worker_is_there_again_at_once(node: Cell, host: str) -> None:
    """Its lease is cut short then; the time of the last renewal is not another one for that."""
    job = node.submit(tenant_id="a")
    node.store.client.hset(node.store.keys("job", job.job_id), "crashes", 2)
    workers = ["jobs@n/0", f"jobs@{host}/1", f"jobs@{'n' if host == 'n' else 'o'}/2"]
    node.slots(1, workers[0])
    for n, (time_apart, lived) in enumerate([(60_000, 100_000), (120_000, 160_000)]):
        run = node.start(job.job_id, worker=workers[n], run=f"r{n}")
        node.store.client.hset(node.store.keys("job", job.job_id), "apart_ms", time_apart)
        restarts(node, workers[n], workers[n + 1], run, lived)
        node.slots(1, workers[n + 1])
    assert node.client.get(job.job_id).status is JobStatus.QUEUED, "two restarts of a machine, and an innocent job has failed"


@pytest.mark.parametrize("host", ["m", "n"], ids=["on another node", "on its node"])
def test_who_kills_its_workers_pays_for_it_though_one_is_there_again_at_once(node: Cell, host: str) -> None:
    """Else such a tenant has the slots for nothing (docs/fairness.md, rule 6)."""
    job = node.submit(tenant_id="evil")
    node.store.client.hset(node.store.keys("job", job.job_id), "crashes", 1)
    node.slots(1, "jobs@n/0")
    run = node.start(job.job_id, worker="jobs@n/0", run="r")
    restarts(node, "jobs@n/0", f"jobs@{host}/1", run, 40_000)
    assert float(node.store.client.hget(node.store.keys("share", "evil"), "time") or 0) >= 40_000, "its clock says that it ran for nothing"


def test_a_job_that_met_two_power_cuts_does_not_fail_as_its_process_dies_once(roomy: Cell) -> None:
    """docs/reliability.md: the third death of its process ends a job; an infrastructure fault does not."""
    job = roomy.submit(tenant_id="a")
    for n in range(2):
        roomy.slots(1, f"w{n}")
        kill(roomy, f"w{n}", started(roomy, f"w{n}", [job]))
    roomy.slots(1, "w2")
    (run,) = started(roomy, "w2", [job])
    assert roomy.store.requeue(run.job_id, run.fence, "crash") is JobStatus.QUEUED


def crashed_before(cell: Cell, tenant: str, n: int, crashes: int) -> list[Job]:
    made = [cell.submit(tenant_id=tenant) for _ in range(n)]
    for job in made:
        cell.store.client.hset(cell.store.keys("job", job.job_id), "crashes", crashes)
    return made


def delay_ms(cell: Cell, job: Job) -> float:
    """In how many ms it may start."""
    return float(cell.store.client.zscore(cell.store.keys("delayed"), job.job_id) or 0) - time.time() * 1000


@pytest.mark.xfail(strict=True, reason="a bound lets jobs start together, and innocent ones fail: docs/decisions/0017")
def test_jobs_of_one_tenant_that_start_apart_hold_up_another_tenants_for_no_more_than_hours(roomy: Cell) -> None:
    """Thirty jobs that kill late; the innocent one has met four deaths of its workers."""
    evil, (innocent,) = crashed_before(roomy, "evil", 30, 9), crashed_before(roomy, "b", 1, 4)
    roomy.slots(100, "w0")
    roomy.slots(100, "w1")
    runs, own = started(roomy, "w0", evil), started(roomy, "w1", [innocent])
    kill(roomy, "w0", runs, lived_ms=HOUR)
    kill(roomy, "w1", own, lived_ms=HOUR)
    assert delay_ms(roomy, innocent) <= 2 * HOUR


def test_after_the_clock_was_set_back_no_job_waits_for_what_its_worker_lost_before(roomy: Cell) -> None:
    first, second = crashed_before(roomy, "a", 2, 2)
    roomy.slots(100, "w0")
    runs = started(roomy, "w0", [first, second])
    kill(roomy, "w0", runs[:1])
    set_clock(roomy.store, -24 * HOUR)
    left = roomy.store.keys("apart", "w0")
    roomy.store.client.set(left, " ".join(str(int(at) + 24 * HOUR) for at in str(roomy.store.client.get(left)).split()))
    roomy.store.rescue()
    kill(roomy, "w0", runs[1:])
    assert delay_ms(roomy, second) <= HOUR


def test_who_starts_apart_is_not_brought_forward_by_its_tenant(roomy: Cell) -> None:
    """Two jobs that kill their workers would always die together, so neither is ever shown to do it, and they kill for ever."""
    made = crashed_before(roomy, "evil", 2, 3)
    roomy.slots(100, "w0")
    runs = started(roomy, "w0", made)
    for n in range(1, 9):
        for job in made:
            roomy.store.client.hset(roomy.store.keys("job", job.job_id), "apart_ms", HOUR)
        kill(roomy, f"w{n - 1}", runs)
        for job in made:
            roomy.client.change(job.job_id, run_at=0)
        roomy.slots(100, f"w{n}")
        runs = started(roomy, f"w{n}", dispatched(roomy, made))
        if len(runs) < 2:
            break
    assert len(runs) < 2, "eight workers later both run at once, and neither is known"


# -- one script


def test_one_script_sets_apart_no_more_jobs_than_it_may_look_at(roomy: Cell) -> None:
    """A release was taken back: its workers are gone, and its tenants' jobs are newer than those that are left."""
    roomy.store.set_limits("a", {"paused": True})
    made = batch(roomy, "sleep", 500)
    for job in made:
        roomy.store.client.hset(roomy.store.keys("job", job.job_id), "schema", SCHEMA + 1)
    for name in ("sleep", "nap"):
        roomy.store.announce(f"w-{name}", 5, [], kind=WorkerClass.of([name]))
    roomy.store.announce("newer", 0, [], kind=WorkerClass.of(["sleep"], SCHEMA + 1))
    given = commands_of(roomy.store.client, lambda: roomy.store.set_limits("a", {"paused": False}))
    assert sum(given.values()) < 2_400, "twice what a script may do"
