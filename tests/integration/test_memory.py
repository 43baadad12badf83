"""Whose the server's memory is: what each tenant's records take is charged to it, and near the server's limit those above their share go
first."""

from __future__ import annotations

import pytest

from pipeline_jobs.cell import Webhooks
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.recount import differences

#: What has a maximum of its own or is the cell's, and is charged to nobody.
NOT_CHARGED = ("feed", "share", "usage", "counters", "named", "said", "pipelines", "idempotency")


def charged(cell: Cell, tenant: str = "acme") -> int:
    return int(cell.store.client.hget(cell.store.keys("usage", tenant), "store_bytes") or 0)


def used(cell: Cell) -> int:
    """By the server's own account, of all keys of the cell."""
    client, prefix = cell.store.client, cell.store.keys.prefix
    keys = [key for key in client.scan_iter(f"{prefix}*", count=1000) if not key.removeprefix(prefix).startswith(NOT_CHARGED)]
    return sum(int(client.memory_usage(key, samples=0) or 0) for key in keys)


@pytest.fixture
def calm(jobs: Cell) -> Cell:
    """Announcements and leases outlive the test."""
    cell = jobs.with_settings(announce_seconds=600, lease_seconds=600, hint_seconds=600, webhook_allow_private=True)
    cell.slots(0)
    return cell


def ended(cell: Cell, result: object, times: int = 1, **fields: object) -> None:
    cell.slots(10_000)
    for _ in range(times):
        run = cell.start(cell.submit(tenant_id="acme", **fields).job_id)
        cell.store.progress(run.job_id, run.fence, 50.0, "sleep", "half of it")
        cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result=result)


def waiting(cell: Cell, times: int = 1, **fields: object) -> None:
    for _ in range(times):
        cell.submit(tenant_id="acme", **fields)


def batch(cell: Cell, *, cancel: bool = False, **fields: object) -> None:
    batches = Batches(cell.client)
    made = batches.create(NewBatch([NewJob(pipeline="sleep", **fields)] * 200, tenant_id="acme", metadata={"note": "n" * 5000}))  # type: ignore[arg-type]
    if cancel:
        batches.cancel(made.batch.batch_id)


def told(cell: Cell) -> None:
    """With two receivers that are away: the messages wait."""
    endpoints = Webhooks.of(cell.store, cell.settings, lambda: "key").endpoints
    for path in ("a", "b"):
        endpoints.create("acme", f"http://127.0.0.1:9/{path}")
    ended(cell, {"text": "t" * 3000}, 100)


HISTORIES = {
    "jobs that wait": lambda cell: waiting(cell, 300),
    "jobs that wait, with tags and metadata": lambda cell: waiting(cell, 300, tags=("blog", "long"), metadata={"note": "n" * 2000}),
    "jobs that ended": lambda cell: ended(cell, {"words": 3}, 300),
    "jobs that ended with a result": lambda cell: ended(cell, {"text": "t" * 10_000}, 100),
    "a batch": lambda cell: batch(cell),
    "a batch with long parameters that was cancelled": lambda cell: batch(cell, cancel=True, metadata={"note": "n" * 9000}),
    "jobs with webhooks": told,
}


@pytest.mark.parametrize("history", HISTORIES)
def test_a_tenant_is_charged_what_its_records_take_within_a_quarter(calm: Cell, history: str) -> None:
    HISTORIES[history](calm)
    assert 0.75 * used(calm) <= charged(calm) <= 1.25 * used(calm)
    assert differences(calm.store) == []


def test_a_long_log_is_charged_too_up_to_its_maximum(calm: Cell) -> None:
    calm.slots(1)
    run = calm.start(calm.submit(tenant_id="acme").job_id)
    for number in range(400):
        calm.store.progress(run.job_id, run.fence, number / 4, "sleep", f"{number} " + "m" * 400)
    assert 0.75 * used(calm) <= charged(calm) <= 1.25 * used(calm)
    short = calm.with_settings(events_per_job=10)
    before = charged(calm)
    for number in range(100):
        short.store.progress(run.job_id, run.fence, 100.0, "sleep", f"{number}")
    assert charged(calm) == before
    assert differences(calm.store) == []


def test_what_goes_gives_its_charge_back(calm: Cell) -> None:
    told(calm)
    batch(calm, cancel=True)
    calm.store.client.zadd(calm.store.keys("ended"), dict.fromkeys(calm.store.members("ended"), 1))
    while calm.store.purge():
        pass
    assert 0 < charged(calm) < 1.25 * used(calm), "the messages are kept"
    calm.store.client.zadd(calm.store.keys("deliveries_ended"), dict.fromkeys(calm.store.members("deliveries", "acme"), 1))
    Webhooks.of(calm.store, calm.settings, lambda: "key").ledger.purge()
    assert charged(calm) == 0
    assert differences(calm.store) == []
