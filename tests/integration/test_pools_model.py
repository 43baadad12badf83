"""Random histories of a cell with two pools against the promises of `docs/fairness.md`, which hold in each of them; and the shares of three
tenants in each. Their long form is `tests/heavy/bar_pools_histories.py`.
"""

from __future__ import annotations

import json
from collections import Counter

from pipeline_jobs.job import Job
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from tests.integration.conftest import Cell
from tests.integration.fair_histories import pretend_it_took
from tests.integration.histories import check_histories
from tests.integration.pool_histories import POOLS, PoolHistory, make_pools_cell
from tests.integration.sights import Floor

#: What random histories are to come to.
FLOORS = {
    "start": Floor(5, 0.5),
    "hop": Floor(1, 0.3),
    "a job is split": Floor(1, 0.3),
    "a join": Floor(1, 0.3),
    "a part is lost with its worker": Floor(1, 0.3),
    "completed": Floor(1, 0.2),
    "crash": Floor(1, 0.1),
    "a hop, and no slot is free where it goes": Floor(1, 0.1),
    "a tenant has slots in both pools": Floor(1, 0.3),
    "a job waits for a limit of its tenant": Floor(1, 0.3),
    "somebody waits while slots of the other pool are idle": Floor(1, 0.2),
    "a dispatch is cancelled": Floor(1, 0.1),
    "hints are lost": Floor(1, 0.1),
}


def test_random_histories_of_two_pools_keep_the_promises(cell: Settings) -> None:
    check_histories(PoolHistory, cell, 16, FLOORS, seeded=1)


#: Weights of three tenants, and what their runs take in each pool, in ms: who is slow in one is quick in the other.
WEIGHTS = {"a": 1, "b": 2, "c": 1}
RUN_MS = {"": {"a": 4000, "b": 1000, "c": 1000}, "gpu": {"a": 500, "b": 500, "c": 3000}}


def test_in_each_pool_three_tenants_have_slot_time_by_their_weights(cell: Settings) -> None:
    """What a tenant uses in one pool changes nothing of its share in the other."""
    one = make_pools_cell(cell.model_copy(update={"max_concurrent_jobs": 100, "announce_seconds": 1000.0, "reserved_slots": 0}))
    for tenant, weight in WEIGHTS.items():
        one.client.set_limits(tenant, TenantLimits(weight=weight))
    for pool in POOLS:
        one.store.announce(f"w{pool}", 2, [], pool=pool)
    for _ in range(120):
        for tenant in WEIGHTS:
            for pipeline in ("sleep", "nap"):
                one.submit(tenant_id=tenant, pipeline=pipeline)
    used = {pool: Counter[str]() for pool in POOLS}
    waiting = {pool: _hinted(one, pool) for pool in POOLS}
    for _ in range(150):
        for pool in POOLS:
            job = one.client.get(waiting[pool].pop(0))
            run = one.store.claim(job.job_id, job.fence, worker=f"w{pool}", run="r", pool=pool)
            assert isinstance(run, Job)
            ms = RUN_MS[pool][job.tenant_id]
            pretend_it_took(one, job.job_id, ms)
            used[pool][job.tenant_id] += ms
            one.store.finish(job.job_id, run.fence, JobStatus.COMPLETED, result={})
            waiting[pool] += _hinted(one, pool)
    one.store.close()
    for pool in POOLS:
        shares = [used[pool][tenant] / weight for tenant, weight in WEIGHTS.items()]
        # Within two of the longest runs, and what is charged in advance.
        assert max(shares) - min(shares) <= 2 * max(RUN_MS[pool].values()) + 5000, used


def _hinted(cell: Cell, pool: str) -> list[str]:
    client, queue = cell.store.client, f"jobs.{pool}" if pool else "jobs"
    found = [json.loads(hint)["id"] for hint in reversed(client.lrange(queue, 0, -1))]
    client.delete(queue)
    return found
