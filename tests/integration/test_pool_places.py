"""Jobs whose worker died go first (`lua/lib/fair.lua`, `next_lost`) in the pool where they wait and in no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_jobs.job import Job
from pipeline_jobs.jobs.executor import Ending
from pipeline_jobs.store.store import ClaimRefused
from tests.integration.conftest import Cell
from tests.integration.pool_world import Pools
from tests.integration.recount import differences


@pytest.fixture
def pools(jobs: Cell, tmp_path: Path) -> Pools:
    """Two slots of `default` are idle all the time."""
    world = Pools(jobs, tmp_path)
    world.slots("", 2)
    world.slots("gpu", 1)
    return world


def put(pools: Pools, pool: str, index: str, member: str, score: int = 1) -> None:
    """Write into an index of this pool: with the score 1, as if a time had come."""
    (keys,) = [keys for keys, name in zip(pools.cell.store.keys_of_pools(), pools.cell.store.pools(), strict=True) if name == pool]
    pools.cell.store.client.zadd(keys(index), {member: score})


def lost(pools: Pools, job: Job) -> Job:
    """The worker of the gpu dies with this job, and a lease later it waits again."""
    pools.start(job, "gpu")
    put(pools, "gpu", "workers", "g1")
    put(pools, "gpu", "leases", job.job_id)
    pools.cell.store.rescue()
    assert (pools.seen(job).crashes, pools.seen(job).pool) == (1, "gpu")
    return job


def places(pools: Pools) -> list[list[str]]:
    """The jobs that have a place before all others: in `default`, in the pool `gpu`."""
    client = pools.cell.store.client
    return [[place.partition(" ")[0] for place in client.zrange(keys("lost"), 0, -1)] for keys in pools.cell.store.keys_of_pools()]


def reasons(pools: Pools, *jobs: Job) -> list[str | None]:
    return [pools.seen(job).reason for job in jobs]


def test_a_lost_job_is_next_in_its_own_pool(pools: Pools) -> None:
    job = lost(pools, pools.submit("heard"))
    newcomer = pools.submit("heard", tenant_id="other")
    assert (places(pools), pools.hints("jobs")) == ([[], [job.job_id]], []), "though slots are free in the other"
    pools.slots("gpu", 1, worker="g2")
    assert reasons(pools, job, newcomer) == ["dispatched", "fair_share"]
    assert differences(pools.cell.store) == []


def test_a_place_that_was_left_behind_takes_no_job_into_another_pool(pools: Pools) -> None:
    """A process of an earlier version deleted a job and left its place; its pipeline has another pool since, and its id is used again."""
    pools.slots("gpu", 0)
    job = pools.submit("heard")
    put(pools, "", "lost", f"{job.job_id} heard", job.order)
    pools.slots("", 2)
    assert (pools.hints("jobs"), places(pools)) == ([], [[], []])
    pools.slots("gpu", 1)
    assert (pools.hints("jobs"), pools.hints("jobs.gpu")) == ([], [job.job_id])
    assert pools.start(job, "gpu").pool == "gpu"
    assert differences(pools.cell.store) == []


def test_a_place_goes_with_its_job(pools: Pools) -> None:
    job = lost(pools, pools.submit("heard"))
    pools.cell.client.cancel(job.job_id)
    assert places(pools) == [[], []]
    assert differences(pools.cell.store) == []


@pytest.mark.parametrize("how", ["its time is over", "a worker of the other pool refuses it"])
def test_a_lost_job_whose_hint_leads_to_no_run_is_next_once_more(pools: Pools, how: str) -> None:
    job = lost(pools, pools.submit("heard"))
    newcomer = pools.submit("heard", tenant_id="other")
    pools.slots("gpu", 1, worker="g2")
    before = pools.seen(job)
    if how == "its time is over":
        put(pools, "gpu", "hints", job.job_id)
        pools.cell.store.rescue()
    else:
        assert pools.start(job, "") == ClaimRefused("pool")
    assert reasons(pools, job, newcomer) == ["dispatched", "fair_share"]
    assert pools.seen(job).fence > before.fence
    assert differences(pools.cell.store) == []


def test_a_lost_job_that_goes_on_in_another_pool_has_no_place_there_or_where_it_was(pools: Pools) -> None:
    film = pools.submit("film")
    pools.run(film, "")
    lost(pools, film)
    pools.slots("gpu", 1)
    pools.run(film, "gpu")
    assert (pools.seen(film).pool, places(pools)) == (None, [[], []])
    assert pools.run(film, "").ending is Ending.COMPLETED
    assert differences(pools.cell.store) == []
