"""What waits and runs now, counted over a real store."""

from __future__ import annotations

from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.operation import overview

from .conftest import Cell


def test_counts_are_of_all_or_of_a_tenant(jobs: Cell) -> None:
    store, settings = jobs.store, jobs.settings
    assert overview.now(store, settings) == overview.Now(0, 0, 0, None)
    assert overview.tenants(store, 10) == []
    jobs.slots(2)
    first, *_ = [jobs.submit(tenant_id=tenant) for tenant in ("acme", "acme", "globex", "acme")]
    jobs.start(first.job_id)
    everything, one = overview.now(store, settings), overview.now(store, settings, "acme")
    assert (everything.queued, everything.running, everything.slots) == (3, 1, 2)
    assert (one.queued, one.running, one.slots) == (2, 1, 2)
    assert (everything.oldest_seconds is None, one.oldest_seconds is None) == (False, False)
    assert overview.now(store, settings, "nobody") == overview.Now(0, 0, 2, None)
    assert overview.tenants(store, 10) == ["acme", "globex"]
    assert overview.tenants(store, 1) == ["acme"]


def test_the_largest_tenants_are_told_by_sixteens_of_a_day(jobs: Cell) -> None:
    def figure() -> dict[str, int]:
        return jobs.store.top(9, "tenants")

    for n in range(1, 20):
        jobs.submit(tenant_id="acme")
        assert figure() == {"acme": max(told for told in (1, 2, 4, 8, 16) if told <= n)}
    Batches(jobs.client).create(NewBatch((NewJob(pipeline="sleep", tenant_id="acme"),) * 30, tenant_id="acme"))
    assert figure() == {"acme": 48}
    # An erased tenant that comes again is there with its first job.
    for job in jobs.client.list(JobQuery(tenant_id="acme", limit=100)).items:
        jobs.client.cancel(job.job_id)
        jobs.client.delete(job.job_id)
    assert jobs.store.forget_tenant("acme")
    assert figure() == {}
    jobs.submit(tenant_id="acme")
    assert figure() == {"acme": 1}


def test_slots_are_within_the_cap_and_none_without_a_worker(jobs: Cell) -> None:
    settings = jobs.settings.model_copy(update={"max_concurrent_jobs": 3})
    jobs.slots(100)
    assert overview.now(jobs.store, settings).slots == 3
    jobs.store.announce("w1", 100, [], leaving=True)
    assert overview.now(jobs.store, settings).slots == 0
