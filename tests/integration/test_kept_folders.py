"""Files outlive the record of their job: as long as the installation or the job says, and while the tenant has room for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.exceptions import QueueFull, StorageFull, UnknownJob
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.kept import KeptFolders
from pipeline_jobs.files.uploads import Uploads
from pipeline_jobs.job import Job
from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.operation.maintenance import Purge
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from tests.integration.conftest import Cell
from tests.integration.recount import differences

DAY, WEEK = 86_400_000, 604_800_000


class Shelf:
    """A cell whose jobs have files of 100 bytes."""

    def __init__(self, cell: Cell, folder: Path) -> None:
        self.cell, self.folder = cell, folder
        self.artifacts = ArtifactStore((folder / "artifacts").as_uri(), "http://x", lambda: "k")
        self.kept = KeptFolders(cell.store)

    def finished(self, size: int = 100, tenant_id: str = "acme", **fields: Any) -> Job:
        run = self.cell.running(tenant_id=tenant_id, **fields)
        folder = f"{tenant_id}/{run.workspace_id}/{run.job_id}/{run.fence}"
        self.artifacts.write(bytes(size), f"{folder}/a.bin")
        self.cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}, artifacts=folder, artifact_bytes=size)
        return self.cell.client.get(run.job_id)

    def expire(self, *jobs: Job, index: str = "ended") -> None:
        """As if their time had come."""
        for job in jobs:
            self.cell.store.client.zadd(self.cell.store.keys(index), {job.job_id: 1})
        Purge(self.cell.store, self.artifacts, self.cell.settings).run_once()

    def purged(self, tenant_id: str = "acme", **fields: Any) -> Job:
        job = self.finished(tenant_id=tenant_id, **fields)
        self.expire(job)
        return job

    def files(self) -> list[str]:
        """The jobs of which there are files, by id."""
        return sorted(path.parents[1].name for path in (self.folder / "artifacts").rglob("a.bin"))

    def rows(self, tenant_id: str = "acme", workspace_id: str | None = None) -> list[str]:
        return [row.job_id for row in self.kept.page(tenant_id, workspace_id).items]


@pytest.fixture
def shelf(jobs: Cell, tmp_path: Path) -> Shelf:
    return Shelf(jobs, tmp_path)


def test_files_stay_when_their_record_goes_and_go_when_their_own_time_has_come(shelf: Shelf) -> None:
    job = shelf.finished()
    assert job.expires_at
    assert job.artifacts_expire_at
    assert job.artifacts_expire_at - job.expires_at == WEEK - 3_600_000
    shelf.expire(job)
    with pytest.raises(UnknownJob):
        shelf.cell.client.get(job.job_id)
    row = shelf.kept.get(job.job_id)
    assert (row.path, row.bytes, row.expires_at, row.workspace_id) == (job.artifacts, 100, job.artifacts_expire_at, "main")
    assert (shelf.files(), shelf.rows(), shelf.cell.store.tenant_bytes("acme")) == ([job.job_id], [job.job_id], 100)
    assert differences(shelf.cell.store) == []
    shelf.expire(job, index="kept_until")
    assert (shelf.files(), shelf.rows(), shelf.cell.store.tenant_bytes("acme")) == ([], [], 0)
    assert differences(shelf.cell.store) == []


@pytest.mark.parametrize(("seconds", "milliseconds"), [(86_400.0, DAY), (0.5, 3_600_000)], ids=["a day", "as long as the record"])
def test_a_job_says_for_how_long_but_not_less_than_its_record(shelf: Shelf, seconds: float, milliseconds: int) -> None:
    job = shelf.finished(retain_seconds=seconds)
    assert (job.artifacts_expire_at or 0) - (job.completed_at or 0) == milliseconds
    shelf.expire(job)
    # Whose time is the record's went with it, at the latest by the next look.
    assert shelf.rows() == [job.job_id]


def test_an_installation_may_keep_none_longer_than_the_record(shelf: Shelf) -> None:
    shelf.cell = shelf.cell.with_settings(artifact_ttl_seconds=0, job_ttl_seconds=1)
    job = shelf.finished()
    shelf.cell.store.client.hset(shelf.cell.store.keys("job", job.job_id), "artifacts_expire_at", 1)
    shelf.expire(job)
    assert (shelf.files(), shelf.rows()) == ([], [])


def test_the_files_of_a_job_of_the_release_before_go_with_its_record(shelf: Shelf) -> None:
    job = shelf.finished()
    shelf.cell.store.client.hdel(shelf.cell.store.keys("job", job.job_id), "artifacts_expire_at")
    shelf.expire(job)
    assert (shelf.files(), shelf.rows(), shelf.cell.store.tenant_bytes("acme")) == ([], [], 0)


def test_a_job_that_is_deleted_takes_its_files_along_and_kept_ones_can_be_deleted(shelf: Shelf) -> None:
    job, deleted = shelf.purged(), shelf.finished()
    shelf.cell.client.delete(deleted.job_id)
    shelf.expire()
    assert (shelf.files(), shelf.rows()) == ([job.job_id], [job.job_id])
    shelf.kept.delete(shelf.kept.get(job.job_id))
    shelf.expire()
    assert (shelf.files(), shelf.rows(), shelf.cell.store.tenant_bytes("acme")) == ([], [], 0)
    with pytest.raises(UnknownJob):
        shelf.kept.get(job.job_id)


def test_who_deletes_kept_files_takes_neither_anothers_nor_a_record(shelf: Shelf) -> None:
    first = shelf.purged()
    row = shelf.kept.get(first.job_id)
    # Another tenant's job has the id by now.
    again = shelf.cell.client.store.submit(first.evolve(tenant_id="other", status=JobStatus.QUEUED, artifacts=None)).job
    assert shelf.cell.store.run("drop_kept", id=first.job_id, tenant="other") == 0
    shelf.kept.delete(row)
    assert shelf.cell.client.get(again.job_id).tenant_id == "other"


def test_an_id_that_is_used_again_leaves_no_folder_behind(shelf: Shelf) -> None:
    first = shelf.purged()
    shelf.cell.store.submit(first.evolve(status=JobStatus.QUEUED, artifacts=None, order=0))
    run = shelf.cell.start(first.job_id)
    folder = f"acme/main/{run.job_id}/{run.fence}"
    shelf.artifacts.write(bytes(7), f"{folder}/a.bin")
    shelf.cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}, artifacts=folder, artifact_bytes=7)
    assert len(shelf.files()) == 2
    shelf.expire(run)
    assert (len(shelf.files()), shelf.kept.get(run.job_id).path, shelf.cell.store.tenant_bytes("acme")) == (1, folder, 7)
    assert differences(shelf.cell.store) == []


def test_another_tenants_job_of_the_same_id_leaves_the_kept_files_of_the_first(shelf: Shelf) -> None:
    first = shelf.purged()
    rows = [shelf.kept.get(first.job_id)]
    for tenant, size in (("other", 7), ("other", 9)):
        shelf.cell.store.submit(first.evolve(tenant_id=tenant, status=JobStatus.QUEUED, artifacts=None, order=0))
        run = shelf.cell.start(first.job_id)
        folder = f"{tenant}/main/{run.job_id}/{run.fence}"
        shelf.artifacts.write(bytes(size), f"{folder}/a.bin")
        shelf.cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}, artifacts=folder, artifact_bytes=size)
        shelf.expire(run)
        rows = [shelf.kept.get(first.job_id, "acme"), shelf.kept.get(first.job_id, "other")]
        assert [row.bytes for row in rows] == [100, size]
    assert (shelf.rows(), shelf.rows("other"), len(shelf.files())) == ([first.job_id], [first.job_id], 2)
    assert [shelf.cell.store.tenant_bytes(tenant) for tenant in ("acme", "other")] == [100, 9]
    assert differences(shelf.cell.store) == []
    with pytest.raises(UnknownJob):
        shelf.kept.get(first.job_id, "third")
    shelf.kept.delete(rows[1])
    shelf.expire()
    assert (shelf.kept.get(first.job_id, "acme").bytes, shelf.rows("other"), len(shelf.files())) == (100, [], 1)
    assert differences(shelf.cell.store) == []


def test_a_list_has_a_tenants_newest_first_page_by_page_and_one_workspaces_only(shelf: Shelf) -> None:
    jobs = [shelf.purged(workspace_id=name) for name in ("main", "side", "main")]
    shelf.purged(tenant_id="other")
    assert shelf.rows() == [job.job_id for job in reversed(jobs)]
    assert shelf.rows(workspace_id="side") == [jobs[1].job_id]
    first = shelf.kept.page("acme", limit=2)
    assert [row.job_id for row in shelf.kept.page("acme", cursor=first.next_cursor).items] == [jobs[0].job_id]


def test_an_erased_tenant_leaves_none(shelf: Shelf) -> None:
    shelf.purged()
    shelf.purged(workspace_id="side")
    other = shelf.purged(tenant_id="other")
    assert erase_tenant(shelf.cell.store, shelf.artifacts, "acme", dry_run=True).artifact_bytes == 200
    assert erase_tenant(shelf.cell.store, shelf.artifacts, "acme", dry_run=False).done
    shelf.expire()
    assert (shelf.files(), shelf.rows(), shelf.rows("other")) == ([other.job_id], [], [other.job_id])
    own = {shelf.cell.store.keys(*key) for key in (("kept", other.job_id), ("tenant_kept", "other"), ("kept_until",))}
    assert set(shelf.cell.store.client.scan_iter("*kept*")) == own
    assert differences(shelf.cell.store) == []


# -- at the quota


def test_a_tenants_oldest_kept_files_go_before_a_job_is_refused(shelf: Shelf) -> None:
    oldest, newest = shelf.purged(), shelf.purged()
    with_record = shelf.finished()
    other = shelf.purged(tenant_id="other")
    shelf.cell.client.set_limits("acme", TenantLimits(max_storage_bytes=300))
    shelf.cell.submit(tenant_id="acme")
    assert (shelf.rows(), shelf.rows("other")) == ([newest.job_id], [other.job_id])
    shelf.expire()
    assert shelf.files() == sorted([newest.job_id, with_record.job_id, other.job_id])
    assert oldest.job_id not in shelf.files()
    # Where all of them would not do, none goes.
    shelf.cell.client.set_limits("acme", TenantLimits(max_storage_bytes=100))
    with pytest.raises(StorageFull):
        shelf.cell.submit(tenant_id="acme")
    shelf.expire()
    assert shelf.files() == sorted([newest.job_id, with_record.job_id, other.job_id])
    assert differences(shelf.cell.store) == []


def test_they_go_before_an_upload_is_refused_but_not_for_one_that_can_never_fit(shelf: Shelf) -> None:
    uploads = Uploads(shelf.cell.store, shelf.cell.settings, shelf.artifacts)
    jobs = [shelf.purged() for _ in range(3)]
    shelf.cell.client.set_limits("acme", TenantLimits(max_storage_bytes=300))
    with pytest.raises(StorageFull):
        uploads.create("acme", "main", 301)
    assert len(shelf.rows()) == 3
    uploads.create("acme", "main", 150)
    assert shelf.rows() == [jobs[2].job_id]


def test_no_kept_files_go_for_a_job_that_is_refused_all_the_same(shelf: Shelf) -> None:
    job = shelf.purged()
    shelf.cell.submit(tenant_id="acme")
    shelf.cell.client.set_limits("acme", TenantLimits(max_storage_bytes=100, max_queued=1))
    with pytest.raises(QueueFull):
        shelf.cell.submit(tenant_id="acme")
    assert shelf.rows() == [job.job_id]


def test_no_kept_files_go_for_an_upload_that_is_refused_all_the_same(shelf: Shelf) -> None:
    uploads = Uploads(shelf.cell.store, shelf.cell.settings, shelf.artifacts)
    kept, _with_record = shelf.purged(), shelf.finished(200)
    shelf.cell.client.set_limits("acme", TenantLimits(max_storage_bytes=300))
    with pytest.raises(StorageFull):
        uploads.create("acme", "main", 101)
    assert shelf.rows() == [kept.job_id]
    uploads.create("acme", "main", 100)
    assert shelf.rows() == []


def test_files_that_the_version_before_kept_go_first_though_nobody_counted_them(shelf: Shelf) -> None:
    jobs = [shelf.purged() for _ in range(2)]
    shelf.cell.store.client.hdel(shelf.cell.store.keys("kept", jobs[0].job_id), "counted")
    shelf.cell.store.client.hset(shelf.cell.store.keys("usage", "acme"), "folder_bytes", 100)
    for limit, left in ((150, [jobs[1].job_id]), (100, [])):
        shelf.cell.client.set_limits("acme", TenantLimits(max_storage_bytes=limit))
        shelf.cell.submit(tenant_id="acme")
        assert shelf.rows() == left
    assert differences(shelf.cell.store) == []


@pytest.mark.parametrize("uncounted", [1, 2, 3])
def test_what_nobody_counted_goes_though_what_is_counted_would_not_do(shelf: Shelf, uncounted: int) -> None:
    jobs = [shelf.purged() for _ in range(3)]
    for job in jobs[:uncounted]:
        shelf.cell.store.client.hdel(shelf.cell.store.keys("kept", job.job_id), "counted")
    shelf.cell.store.client.hset(shelf.cell.store.keys("usage", "acme"), "folder_bytes", 300 - 100 * uncounted)
    shelf.cell.client.set_limits("acme", TenantLimits(max_storage_bytes=100))
    shelf.cell.submit(tenant_id="acme")
    assert shelf.rows() == []


def test_what_the_version_before_did_not_count_off_is_put_right_with_the_last_folder(shelf: Shelf) -> None:
    jobs = [shelf.purged() for _ in range(2)]
    usage = shelf.cell.store.keys("usage", "acme")
    # It removed one more, and knows no `folder_bytes`.
    shelf.cell.store.client.hincrby(usage, "folder_bytes", 100)
    left = []
    for job in jobs:
        shelf.expire(job, index="kept_until")
        left.append(shelf.cell.store.client.hget(usage, "folder_bytes"))
    assert left == ["200", None]
    assert differences(shelf.cell.store) == []


def test_a_tenant_keeps_so_many_folders_and_the_memory_of_each_is_its_own(shelf: Shelf) -> None:
    jobs = [shelf.finished(tenant_id="acme") for _ in range(6)]
    shelf.cell.client.set_limits("acme", TenantLimits(max_ended=4))
    other = shelf.finished(tenant_id="b")
    shelf.expire(*jobs, other)
    assert shelf.files() == sorted(job.job_id for job in (*jobs[2:], other))
    client, keys = shelf.cell.store.client, shelf.cell.store.keys
    charged = int(client.hget(keys("usage", "acme"), "store_bytes"))
    rows = [keys("kept", job.job_id) for job in jobs[2:]]
    taken = sum(client.memory_usage(key, samples=0) for key in (*rows, keys("tenant_kept", "acme")))
    assert 0.75 * taken < charged < 1.6 * taken
    assert differences(shelf.cell.store) == []
    for job in jobs[2:]:
        shelf.expire(job, index="kept_until")
    assert int(client.hget(keys("usage", "acme"), "store_bytes") or 0) == 0


def test_a_tenant_below_its_quota_loses_nothing(shelf: Shelf) -> None:
    job = shelf.purged()
    shelf.cell.client.set_limits("acme", TenantLimits(max_storage_bytes=101))
    shelf.cell.submit(tenant_id="acme")
    Uploads(shelf.cell.store, shelf.cell.settings, shelf.artifacts).create("acme", "main", 1)
    assert shelf.rows() == [job.job_id]
