"""A tenant's figures, limits, idempotency keys and end."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.exceptions import InvalidInput, KeyReused, QueueFull, RateLimited, StorageFull, UnknownJob
from pipeline_jobs.files import copies
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.uploads import Uploads
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.operation import usage
from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.rates import Rate, Sender
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import TenantLimits
from tests.integration.conftest import Cell
from tests.integration.recount import differences


def test_five_hundred_parallel_submits_with_one_key_make_one_job(jobs: Cell) -> None:
    made: list[str] = []
    replayed: list[str] = []

    def submit() -> None:
        for _ in range(25):
            accepted = jobs.client.accept(NewJob(pipeline="sleep", tenant_id="acme"), idempotency_key="k")
            (replayed if accepted.replayed else made).append(accepted.job.job_id)

    threads = [threading.Thread(target=submit) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert (set(replayed), len(replayed)) == (set(made), 499)


def test_a_key_belongs_to_a_tenant_and_to_one_request(jobs: Cell) -> None:
    first = jobs.client.submit(NewJob(pipeline="sleep", tenant_id="a"), idempotency_key="k")
    other = jobs.client.submit(NewJob(pipeline="sleep", tenant_id="b"), idempotency_key="k")
    assert first.job_id != other.job_id
    with pytest.raises(KeyReused):
        jobs.client.submit(NewJob(pipeline="sleep", tenant_id="a", priority=1), idempotency_key="k")
    odd = "key with spaces: \u00e9\n" * 20
    jobs.client.submit(NewJob(pipeline="sleep", tenant_id="a"), idempotency_key=odd)


def test_a_key_is_its_routes_and_its_workspaces_own(jobs: Cell) -> None:
    made = [
        jobs.client.submit(NewJob(pipeline="sleep", tenant_id="a"), idempotency_key="k", sender=Sender(scope=scope)).job_id
        for scope in ("jobs\n", "run\n", "jobs\nw1", "jobs\nw2")
    ]
    assert len(set(made)) == 4
    again = jobs.client.accept(NewJob(pipeline="sleep", tenant_id="a"), idempotency_key="k", sender=Sender(scope="jobs\nw1"))
    assert (again.job.job_id, again.replayed) == (made[2], True)


def test_a_sender_has_a_rate_of_its_own_besides_the_tenants(jobs: Cell) -> None:
    cell = jobs.with_settings(submit_rate_per_key=2.0)
    cell.client.set_limits("acme", TenantLimits(submit_rate=1000))
    first = cell.client.accept(NewJob(pipeline="sleep", tenant_id="acme"), sender=Sender("key:one"))
    assert [(rate.name, rate.quota, rate.window, rate.left) for rate in first.rates] == [("tenant", 1000, 1, 999), ("key", 2, 1, 1)]
    refused: list[RateLimited] = []
    for _ in range(50):
        try:
            cell.client.submit(NewJob(pipeline="sleep", tenant_id="acme"), sender=Sender("key:one"))
        except RateLimited as error:
            refused.append(error)
    assert 0 < len(refused) < 50
    assert {(error.whose, error.limit, error.retry_after) for error in refused} == {("key", 2, 1)}
    for other in (Sender("key:two"), Sender("address:::1"), None):
        cell.client.submit(NewJob(pipeline="sleep", tenant_id="acme"), sender=other)


def test_a_slow_rate_says_how_long_its_quota_takes(jobs: Cell) -> None:
    jobs.client.set_limits("acme", TenantLimits(submit_rate=0.25))
    (rate,) = jobs.client.accept(NewJob(pipeline="sleep", tenant_id="acme"), sender=Sender("key:one")).rates
    assert rate == Rate("tenant", 0.25, left=0, reset=4)
    assert (rate.quota, rate.window) == (1, 4)


def test_limits_are_kept_replaced_and_checked(jobs: Cell) -> None:
    limits = TenantLimits(weight=2.5, max_concurrent=3, paused=True)
    assert jobs.client.set_limits("acme", limits) == limits
    assert jobs.client.set_limits("acme", TenantLimits(max_queued=1)) == TenantLimits(max_queued=1)
    jobs.submit(tenant_id="acme")
    with pytest.raises(QueueFull):
        jobs.submit(tenant_id="acme")
    for wrong in ({"weight": 0}, {"max_concurrent": -1}, {"submit_rate": float("nan")}):
        with pytest.raises(InvalidInput):
            TenantLimits(**wrong)


def test_a_submit_rate_refuses_with_the_time_after_which_to_come_again(jobs: Cell) -> None:
    jobs.client.set_limits("acme", TenantLimits(submit_rate=2))
    refused: list[RateLimited] = []
    for _ in range(50):
        try:
            jobs.submit(tenant_id="acme")
        except RateLimited as error:
            refused.append(error)
    assert 0 < len(refused) < 50
    assert {(error.retry_after, error.limit) for error in refused} == {(1, 2)}
    jobs.submit(tenant_id="other")


def test_a_tenant_over_its_storage_quota_gets_no_new_job(jobs: Cell) -> None:
    jobs.client.set_limits("acme", TenantLimits(max_storage_bytes=100))
    run = jobs.running(tenant_id="acme")
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}, artifacts="acme/main/x/1", artifact_bytes=100)
    with pytest.raises(StorageFull):
        jobs.submit(tenant_id="acme")
    jobs.client.delete(run.job_id)
    jobs.submit(tenant_id="acme")


def _kept(jobs: Cell, size: int, tenant_id: str) -> str:
    """A job that ended with so many bytes of artifacts."""
    run = jobs.running(tenant_id=tenant_id)
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}, artifacts="x/main/x/1", artifact_bytes=size)
    return run.job_id


def test_a_tenant_without_a_quota_of_its_own_has_the_installations(jobs: Cell) -> None:
    most = jobs.settings.max_storage_bytes_per_tenant
    assert most == 50 * 1024**3
    job_id = _kept(jobs, most, "acme")
    with pytest.raises(StorageFull):
        jobs.submit(tenant_id="acme")
    with pytest.raises(StorageFull):
        Batches(jobs.client).create(NewBatch([NewJob(pipeline="sleep")], "acme"))
    jobs.submit(tenant_id="other")
    # 0 is no limit, a limit of its own or of all tenants outranks it, and what is kept can go.
    jobs.with_settings(max_storage_bytes_per_tenant=0).submit(tenant_id="acme")
    for whose in ("acme", "*"):
        jobs.client.set_limits(whose, TenantLimits(max_storage_bytes=2 * most))
        jobs.submit(tenant_id="acme")
        jobs.client.set_limits(whose, TenantLimits())
        with pytest.raises(StorageFull):
            jobs.submit(tenant_id="acme")
    jobs.client.delete(job_id)
    jobs.submit(tenant_id="acme")


def test_an_upload_counts_for_the_installations_quota_too(jobs: Cell, tmp_path: Path) -> None:
    uploads = Uploads(jobs.store, jobs.settings, ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k"))
    _kept(jobs, jobs.settings.max_storage_bytes_per_tenant - 10, "acme")
    with pytest.raises(StorageFull):
        uploads.create("acme", "main", 11)
    uploads.create("acme", "main", 10)
    uploads.create("other", "main", 11)


def test_usage_counts_a_days_jobs_slot_seconds_and_waits(jobs: Cell) -> None:
    for outcome in (JobStatus.COMPLETED, JobStatus.COMPLETED, JobStatus.FAILED):
        run = jobs.running(tenant_id="acme")
        jobs.store.client.hincrby(jobs.store.keys("job", run.job_id), "started_at", -2000)
        jobs.store.finish(run.job_id, run.fence, outcome, result={}, error="x")
    jobs.client.cancel(jobs.submit(tenant_id="acme").job_id)
    today, yesterday = usage.of_tenant(jobs.store, "acme", 2)
    assert today.date == datetime.now(UTC).date().isoformat()
    assert (today.created, today.completed, today.failed, today.cancelled) == (4, 2, 1, 1)
    assert 6 <= today.slot_seconds < 60
    assert today.failure_rate == pytest.approx(1 / 3)
    assert today.wait_p50_seconds is not None
    assert 0 <= today.wait_p50_seconds <= (today.wait_p95_seconds or 0)
    assert (yesterday.created, yesterday.failure_rate, yesterday.wait_p50_seconds) == (0, None, None)


def test_what_comes_while_a_tenant_is_erased_keeps_its_charge_and_its_slots(
    jobs: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a key of the installation's, or one that a process has not heard yet is revoked: the erasure says that it is not done."""
    artifacts = ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k")
    jobs.client.set_limits("gone", TenantLimits(max_concurrent=1))
    jobs.client.cancel(jobs.submit(tenant_id="gone").job_id)
    came: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(copies, "erase", lambda drive, tenant_id: came.append(jobs.running(tenant_id=tenant_id).job_id))
        assert not erase_tenant(jobs.store, artifacts, "gone", dry_run=False).done
    assert jobs.client.limits("gone") == TenantLimits(max_concurrent=1)
    assert jobs.submit(tenant_id="gone").reason == "fair_share", "its only slot is taken"
    assert differences(jobs.store) == []
    assert not erase_tenant(jobs.store, artifacts, "gone", dry_run=False).done
    run = jobs.client.get(came[0])
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    assert erase_tenant(jobs.store, artifacts, "gone", dry_run=False).done
    assert differences(jobs.store) == []


def test_what_comes_while_a_tenant_is_erased_is_known_by_its_key_and_its_days_figures_have_an_end(
    jobs: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k")
    jobs.slots(100)
    came: list[str] = []

    def send() -> str:
        return jobs.client.accept(NewJob(pipeline="sleep", tenant_id="gone"), idempotency_key="k").job.job_id

    with monkeypatch.context() as patch:
        patch.setattr(copies, "erase", lambda drive, tenant_id: came.append(send()))
        assert not erase_tenant(jobs.store, artifacts, "gone", dry_run=False).done
    assert send() == came[0]
    run = jobs.start(came[0])
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    days = jobs.store.client.keys(jobs.store.keys("usage_day", "gone", "*"))
    assert [jobs.store.client.ttl(day) > 34_000_000 for day in days] == [True]


def test_what_comes_right_behind_the_end_of_an_erasure_has_figures_with_an_end(jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.slots(100)
    jobs.client.cancel(jobs.submit(tenant_id="gone").job_id)
    jobs.client.delete(next(iter(jobs.store.client.zrange(jobs.store.keys("tenant_status", "gone", "cancelled"), 0, -1))))
    real = type(jobs.store).run
    came: list[str] = []

    def run(store: Store, script: str, **given: Any) -> Any:
        reply = real(store, script, **given)
        if script == "forget_tenant":
            came.append(jobs.submit(tenant_id="gone").job_id)
        return reply

    with monkeypatch.context() as patch:
        patch.setattr(type(jobs.store), "run", run)
        assert jobs.store.forget_tenant("gone")
    ended = jobs.start(came[0])
    jobs.store.finish(ended.job_id, ended.fence, JobStatus.COMPLETED, result={})
    days = jobs.store.client.keys(jobs.store.keys("usage_day", "gone", "*"))
    assert [jobs.store.client.ttl(day) > 34_000_000 for day in days] == [True]


def test_a_record_that_lost_its_order_and_an_entry_without_a_record_are_erased_with_their_tenant(jobs: Cell, tmp_path: Path) -> None:
    artifacts = ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k")
    client, keys = jobs.store.client, jobs.store.keys
    ended = jobs.submit(tenant_id="gone")
    jobs.client.cancel(ended.job_id)
    client.hdel(keys("job", ended.job_id), "order")
    client.zadd(keys("tenant_status", "gone", "completed"), {"job_1_00000000": 1})
    assert erase_tenant(jobs.store, artifacts, "gone", dry_run=False).done
    assert not client.exists(keys("job", ended.job_id))
    assert [key for key in client.keys("*") if "gone" in key] == []


def test_erasing_a_tenant_leaves_nothing_of_it_and_everything_of_the_others(jobs: Cell, tmp_path: Path) -> None:
    artifacts = ArtifactStore((tmp_path / "artifacts").as_uri(), "http://x", lambda: "k")
    local = tmp_path / "a.txt"
    local.write_text("hello")
    for tenant in ("gone", "kept"):
        run = jobs.running(tenant_id=tenant)
        folder = f"{tenant}/main/{run.job_id}/1"
        artifacts.put(local, f"{folder}/a.txt")
        jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}, artifacts=folder, artifact_bytes=5)
        jobs.client.set_limits(tenant, TenantLimits(weight=2))
    live = jobs.running(tenant_id="gone")
    waiting = jobs.client.submit(NewJob(pipeline="sleep", tenant_id="gone"), idempotency_key="k")
    count = erase_tenant(jobs.store, artifacts, "gone", dry_run=True)
    assert count.to_dict() == {"jobs": 3, "still_live": 2, "artifact_bytes": 5, "done": False}
    first = erase_tenant(jobs.store, artifacts, "gone", dry_run=False)
    assert (first.jobs, first.still_live, first.done) == (2, 1, False)
    jobs.store.finish(live.job_id, live.fence, JobStatus.COMPLETED, result={})
    assert erase_tenant(jobs.store, artifacts, "gone", dry_run=False).done
    for job in (live, waiting):
        with pytest.raises(UnknownJob):
            jobs.client.get(job.job_id)
    left = [key for key in jobs.store.client.keys("*") if "gone" in key]
    assert left == []
    assert jobs.store.client.zrange(jobs.store.keys("tenants"), 0, -1) == ["kept"]
    assert [path.parents[2].name for path in (tmp_path / "artifacts").rglob("a.txt")] == ["main"]
    assert jobs.client.limits("kept") == TenantLimits(weight=2)
    assert differences(jobs.store) == []
