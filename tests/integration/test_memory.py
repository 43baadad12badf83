"""Whose the server's memory is: what each tenant's records take is charged to it, and near the server's limit those above their share go
first."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.cell import Webhooks
from pipeline_jobs.exceptions import JobGone, MemoryFull, StoreFull
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.uploads import Uploads
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.operation.health import check
from pipeline_jobs.operation.maintenance import Purge
from pipeline_jobs.schedules.scheduler import NewSchedule, Scheduler
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.guard import full_at, share_of_memory
from pipeline_jobs.store.idempotency import idempotency
from pipeline_jobs.tenants import TenantLimits
from tests.integration.conftest import Cell
from tests.integration.recount import REMEMBERED_BYTES, differences

FAR = 2_900_000_000_000
#: What has a maximum of its own or is the cell's, and is charged to nobody.
NOT_CHARGED = ("feed", "share", "usage", "counters", "named", "said", "pipelines", "trash")


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
        cell.submit(**{"tenant_id": "acme", **fields})


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


def keyed(cell: Cell, times: int) -> None:
    for number in range(times):
        cell.client.accept(NewJob(pipeline="sleep", tenant_id="acme", run_at=FAR), idempotency_key=f"{number}")


def uploads(cell: Cell, times: int, parts: int) -> None:
    for _ in range(times):
        made = cell.cell.uploads.create("acme", "main", 1000, {"filename": "a film.mp4"})
        for offset in range(parts):
            cell.cell.uploads.write(made, offset, io.BytesIO(b"x").read)


HISTORIES: dict[str, Callable[[Cell], None]] = {
    "jobs that wait": lambda cell: waiting(cell, 300),
    "jobs that wait, with tags and metadata": lambda cell: waiting(cell, 300, tags=("blog", "long"), metadata={"note": "n" * 2000}),
    "jobs that ended": lambda cell: ended(cell, {"words": 3}, 300),
    "jobs that ended with a result": lambda cell: ended(cell, {"text": "t" * 10_000}, 100),
    "a batch": lambda cell: batch(cell),
    "a batch with long parameters that was cancelled": lambda cell: batch(cell, cancel=True, metadata={"note": "n" * 9000}),
    "jobs with webhooks": told,
    "jobs with Idempotency-Keys": lambda cell: keyed(cell, 300),
    "uploads with many parts": lambda cell: uploads(cell, 12, 60),
    "uploads that have just begun": lambda cell: uploads(cell, 300, 0),
}


@pytest.mark.parametrize("history", HISTORIES)
def test_a_tenant_is_charged_what_its_records_take_within_a_quarter(calm: Cell, history: str) -> None:
    HISTORIES[history](calm)
    assert 0.75 * used(calm) <= charged(calm) <= 1.25 * used(calm)
    assert differences(calm.store) == []


@pytest.mark.parametrize("seed", range(8))
def test_and_in_random_histories(calm: Cell, seed: int) -> None:
    """Jobs and batches with texts of any length, around the lengths at which the server stores them otherwise; some of them removed."""
    draw = random.Random(seed)
    actions: tuple[Callable[[int, dict[str, str]], None], ...] = (
        lambda n, note: waiting(calm, n, run_at=FAR, metadata=note, tags=draw.choice([(), ("a",), ("a", "b", "c")])),
        lambda n, note: ended(calm, {"text": note}, n),
        lambda n, note: batch(calm, cancel=draw.random() < 0.5, run_at=FAR, metadata=note),
        lambda n, note: ended(calm, {}, n, metadata=note, webhook={"url": "http://127.0.0.1:9/own"}),
        lambda n, note: keyed(calm, n),
        lambda n, note: uploads(calm, n // 4, draw.randrange(40)),
    )
    for _ in range(5):
        note = {"note": "n" * draw.choice([0, 40, 900, 1023, 1100, 3000, 12_000])}
        draw.choice(actions)(draw.randrange(40, 90), note)
        for job_id in draw.sample(gone := calm.store.members("ended"), len(gone) // 3):
            calm.client.delete(job_id)
        for upload_id in draw.sample(begun := calm.store.members("tenant_uploads", "acme"), len(begun) // 3):
            calm.cell.uploads.delete(upload_id)
        # Of few records the indexes are packed, and take less.
        assert used(calm) < 300_000 or 0.75 * used(calm) <= charged(calm) <= 1.25 * used(calm)
    assert differences(calm.store) == []


def test_what_a_key_is_charged_is_given_back_when_its_day_is_over_and_not_before(calm: Cell, tmp_path: Path) -> None:
    client, keys = calm.store.client, calm.store.keys
    purge = Purge(calm.store, ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k"), calm.settings)
    keyed(calm, 40)
    Scheduler(calm.client).create(NewSchedule("* * * * *", NewJob(pipeline="sleep", tenant_id="b"), name="x"), idempotency_key="k")
    for job_id in calm.store.members("status", JobStatus.QUEUED):
        calm.client.cancel(job_id)
        calm.client.delete(job_id)
    purge.run_once()
    assert (charged(calm), charged(calm, "b")) == (40 * REMEMBERED_BYTES, REMEMBERED_BYTES)
    with pytest.raises(JobGone):
        keyed(calm, 1)
    for tenant, n in (("acme", 30), ("b", 1)):
        for key in calm.store.members("remembered", tenant)[-n:]:
            client.zadd(keys("remembered", tenant), {key: 1})
            client.delete(keys("idempotency", tenant, key))
    purge.run_once()
    assert (charged(calm), charged(calm, "b")) == (10 * REMEMBERED_BYTES, 0)
    # Used again before cleanup saw that it is over, it is charged once.
    first = idempotency("0", None, "")
    assert first is not None
    key = first[0]
    client.zadd(keys("remembered", "acme"), {key: 1})
    client.delete(keys("idempotency", "acme", key))
    with suppress(JobGone):
        keyed(calm, 40)
    assert client.zscore(keys("remembered", "acme"), key) > 1
    assert differences(calm.store) == []


def test_kept_outputs_are_charged_as_they_are_now(calm: Cell) -> None:
    calm.slots(1)
    run = calm.start(calm.submit(tenant_id="acme").job_id)
    before = charged(calm)
    for length in (20_000, 5_000, 9_000):
        assert calm.store.keep_outputs(run.job_id, run.fence, "x" * length, "")
        assert length <= charged(calm) - before <= 1.25 * length
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


def test_what_a_version_before_did_not_give_back_is_put_right_when_nothing_is_left(calm: Cell, tmp_path: Path) -> None:
    purge = Purge(calm.store, ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k"), calm.settings)
    job = calm.submit(tenant_id="acme")
    calm.store.client.hincrby(calm.store.keys("usage", "acme"), "store_bytes", 5000)
    purge.run_once()
    assert charged(calm) > 5000
    calm.client.cancel(job.job_id)
    calm.client.delete(job.job_id)
    purge.run_once()
    assert differences(calm.store) == []


@pytest.mark.parametrize("what", ["message", "folder", "upload"])
def test_what_is_left_of_a_tenant_without_jobs_keeps_its_charge(calm: Cell, tmp_path: Path, what: str) -> None:
    artifacts = ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k")
    if what == "upload":
        calm.submit(tenant_id="acme")
        Uploads(calm.store, calm.settings, artifacts).create("acme", "main", 100)
        calm.client.cancel(calm.store.members("tenant_status", "acme", JobStatus.QUEUED)[0])
    else:
        if what == "message":
            Webhooks.of(calm.store, calm.settings, lambda: "key").endpoints.create("acme", "http://127.0.0.1:9/a")
        calm.slots(1)
        run = calm.start(calm.submit(tenant_id="acme").job_id)
        files: dict[str, Any] = {} if what == "message" else {"artifacts": f"acme/main/{run.job_id}/{run.fence}", "artifact_bytes": 100}
        calm.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}, **files)
    calm.store.client.zadd(calm.store.keys("ended"), dict.fromkeys(calm.store.members("ended"), 1))
    for _ in range(2):
        Purge(calm.store, artifacts, calm.settings).run_once()
    assert calm.store.members("ended") == []
    assert charged(calm) > 0
    assert differences(calm.store) == []


def test_records_of_a_version_that_knows_no_charges_are_removed_like_others(calm: Cell, tmp_path: Path) -> None:
    """A job, a batch and a delivery."""
    client, keys = calm.store.client, calm.store.keys
    webhooks = Webhooks.of(calm.store, calm.settings, lambda: "key")
    webhooks.endpoints.create("acme", "http://127.0.0.1:9/a")
    ended(calm, {"words": 3})
    calm.slots(0)
    batch(calm, cancel=True)
    for name in ("job", "batch", "delivery", "webhook_event"):
        for key in client.scan_iter(keys(name, "*"), _type="hash", count=1000):
            client.hdel(key, "store_bytes")
    client.hdel(keys("usage", "acme"), "store_bytes")
    client.zadd(keys("ended"), dict.fromkeys(calm.store.members("ended"), 1))
    client.zadd(keys("deliveries_ended"), dict.fromkeys(calm.store.members("deliveries", "acme"), 1))
    assert Purge(calm.store, ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k"), calm.settings).run_once()["purged"] == 201
    assert webhooks.ledger.purge() > 0
    assert list(client.scan_iter(keys("batch", "*"))) == []
    assert differences(calm.store) == []


@pytest.mark.parametrize(("used", "share"), [(0, None), (750, None), (751, 298), (800, 200), (890, 20), (900, 0), (1000, 0)])
def test_the_share_shrinks_as_the_server_fills(used: int, share: int | None) -> None:
    assert share_of_memory({"used_memory": used, "maxmemory": 1000, "total_system_memory": 1}, 0.75) == share
    assert share_of_memory({"used_memory": used, "maxmemory": 0, "total_system_memory": 1000}, 0.75) == share


def test_a_server_that_tells_no_limit_has_none() -> None:
    assert share_of_memory({"used_memory": 5}, 0.75) is None
    assert full_at(0.75) == 0.9


@pytest.fixture
def nearly_full(calm: Cell) -> Iterator[Cell]:
    """Most of the server's memory is used, by the cancelled batches of acme; it would take some MB less or more to be otherwise."""
    ended(calm, {"text": "t" * 100}, 3)
    calm.slots(0)
    for _ in range(8):
        batch(calm, cancel=True, metadata={"note": "n" * 9000})
    client = calm.store.client
    # Not of the tenants: what the server has of requests that it has read.
    client.connection_pool.disconnect()
    client.config_set("maxmemory", int(int(client.info("memory")["used_memory"]) / 0.84))
    yield calm.with_settings()
    client.config_set("maxmemory", 0)


def test_near_the_limit_those_above_their_share_are_refused_and_the_others_are_not(nearly_full: Cell) -> None:
    cell, limit = nearly_full, int(nearly_full.store.client.config_get("maxmemory")["maxmemory"])
    assert charged(cell) > 0.25 * limit
    with pytest.raises(MemoryFull) as refused:
        cell.submit(tenant_id="acme")
    assert refused.value.retry_after > 0
    with pytest.raises(MemoryFull):
        batch(cell)
    cell.submit(tenant_id="other")
    cell.submit(tenant_id="other")
    health = check(cell.store, cell.settings, lambda: None)["store"]
    assert health["ok"]
    assert "nearly full" in str(health["warning"])
    uploads_of = Uploads(cell.store, cell.settings, cell.cell.artifacts)
    begun = uploads_of.create("other", "main", 2)
    uploads_of.write(begun, 0, io.BytesIO(b"x").read)
    with pytest.raises(MemoryFull):
        uploads_of.create("acme", "main", 1)
    # Neither may one that began before grow by one part after the other.
    cell.store.client.hset(cell.store.keys("upload", begun.upload_id), "tenant_id", "acme")
    with pytest.raises(MemoryFull):
        uploads_of.write(begun, 1, io.BytesIO(b"x").read)
    cell.store.client.hset(cell.store.keys("upload", begun.upload_id), "tenant_id", "other")
    endpoints = cell.cell.webhooks.endpoints
    tested = {tenant: endpoints.create(tenant, "https://hooks.example/x")[0].endpoint_id for tenant in ("acme", "other")}
    endpoints.test(tested["other"])
    with pytest.raises(MemoryFull):
        endpoints.test(tested["acme"])
    # Records go, and so does the refusal.
    for job_id in cell.store.members("ended"):
        cell.client.delete(job_id)
    cell.submit(tenant_id="acme")
    assert differences(cell.store) == []


def test_cleanup_gives_one_above_its_share_the_room_of_what_was_cancelled_unstarted(nearly_full: Cell, tmp_path: Path) -> None:
    cell = nearly_full
    kept = cell.submit(tenant_id="other")
    cell.client.cancel(kept.job_id)
    purge = Purge(cell.store, ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k"), cell.settings)
    assert purge.run_once()["purged"] > 0
    sizes = cell.store.sizes([("tenant_status", "acme", "completed"), ("tenant_status", "other", "cancelled")])
    assert sizes == [3, 1], "whoever has a result keeps it, and so does whoever holds little"
    cell.with_settings().submit(tenant_id="acme")
    assert differences(cell.store) == []


def test_of_more_ended_jobs_than_a_tenant_may_keep_those_that_ended_first_go(calm: Cell, tmp_path: Path) -> None:
    cell = calm.with_settings(max_ended_per_tenant=60)
    cell.slots(10_000)
    long, live = cell.start(cell.submit(tenant_id="acme").job_id), cell.submit(tenant_id="acme", run_at=FAR)
    ended(cell, {}, 130)
    ended_by_now = cell.store.members("tenant_status", "acme", "completed")
    for job in (cell.submit(tenant_id="acme"), cell.submit(tenant_id="other")):
        cell.client.cancel(job.job_id)
    cell.store.finish(long.job_id, long.fence, JobStatus.COMPLETED, result={})
    purge = Purge(cell.store, ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k"), cell.settings)
    assert purge.run_once()["purged"] == 130 + 2 - 60
    left = cell.store.members("tenant_status", "acme", "completed")
    # The one that came first ended last.
    assert left == [long.job_id, *ended_by_now[-58:]]
    assert cell.store.sizes([("tenant_status", "acme", "cancelled"), ("tenant_status", "other", "cancelled")]) == [1, 1]
    assert cell.client.get(live.job_id).status is JobStatus.QUEUED
    cell.client.set_limits("acme", TenantLimits(max_ended=10))
    assert purge.run_once()["purged"] == 50
    assert differences(cell.store) == []


def test_names_of_workspaces_do_not_stay_for_good(calm: Cell, tmp_path: Path) -> None:
    cell, keys = calm, calm.store.keys
    cell.slots(1)
    for number in range(1100):
        cell.client.cancel(cell.submit(tenant_id="acme", workspace_id=f"w{number}").job_id)
    assert sum(name.startswith("w:") for name in cell.store.record("share", "acme")) > 1000
    kept = cell.submit(tenant_id="acme", workspace_id="busy"), cell.submit(tenant_id="acme", workspace_id="busy")
    for job_id in cell.store.members("ended"):
        cell.client.delete(job_id)
    Purge(cell.store, ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k"), cell.settings).run_once()
    named = [name for name in cell.store.record("share", "acme") if name.startswith("w:")]
    assert "w:busy" in named
    assert len(named) < 500
    grown = {key: cell.store.client.memory_usage(key, samples=0) for key in cell.store.client.scan_iter(keys("counters") + "*")}
    assert sum(grown.values()) < 10_000
    assert cell.start(kept[0].job_id).workspace_id == "busy"
    assert differences(cell.store) == []


def test_a_slot_of_a_schedule_is_skipped_for_the_same_reason(nearly_full: Cell) -> None:
    scheduler = Scheduler(nearly_full.client)
    made = scheduler.create(NewSchedule("* * * * *", NewJob(pipeline="sleep", tenant_id="acme"), name="x")).schedule
    with pytest.raises(MemoryFull):
        scheduler.run_now(made.schedule_id)


def until_refused(cell: Cell, tenant: str) -> None:
    while True:
        cell.client.guard._memory_at = float("-inf")
        waiting(cell, tenant_id=tenant, metadata={"note": "n" * 15_000})


def test_a_tenant_that_comes_last_finds_room(nearly_full: Cell) -> None:
    """The greedy one holds what it holds; each that comes gets a part of what is left, and nobody all of it."""
    held = []
    for tenant in ("b", "c", "d"):
        with pytest.raises((MemoryFull, StoreFull)):
            until_refused(nearly_full, tenant)
        held.append(charged(nearly_full, tenant))
    # Not one less than the other: what the server itself needs comes and goes by as much.
    assert min(held) > 15_000
