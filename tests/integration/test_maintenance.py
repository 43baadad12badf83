"""The duties of maintenance: what they take away, what they leave alone, and two at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pipeline_jobs.exceptions import UnknownJob
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.jobs.moved import Moved
from pipeline_jobs.operation.maintenance import Purge, Rescue, sweep_workdirs
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.recount import differences


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore((tmp_path / "artifacts").as_uri(), "http://x", lambda: "k")


def finished(jobs: Cell, artifacts: ArtifactStore, tmp_path: Path) -> str:
    run = jobs.running(tenant_id="acme")
    local = tmp_path / "a.txt"
    local.write_text("hello")
    folder = f"acme/main/{run.job_id}/{run.fence}"
    artifacts.put(local, f"{folder}/a.txt")
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}, artifacts=folder, artifact_bytes=5)
    return run.job_id


def test_artifacts_go_with_their_job_by_delete_and_by_purge(jobs: Cell, artifacts: ArtifactStore, tmp_path: Path) -> None:
    deleted, purged, kept = (finished(jobs, artifacts, tmp_path) for _ in range(3))
    jobs.client.delete(deleted)
    jobs.store.client.zadd(jobs.store.keys("ended"), {purged: 1})
    jobs.store.client.hset(jobs.store.keys("job", purged), "artifacts_expire_at", 1)
    assert Purge(jobs.store, artifacts, jobs.settings).run_once() == {"purged": 1, "folders": 2}
    assert [path.parents[1].name for path in (tmp_path / "artifacts").rglob("a.txt")] == [kept]
    assert jobs.store.tenant_bytes("acme") == 5
    with pytest.raises(UnknownJob):
        jobs.client.get(purged)
    assert differences(jobs.store) == []


def test_many_expired_jobs_go_in_one_run_and_two_purges_at_once_do_no_harm(jobs: Cell, artifacts: ArtifactStore) -> None:
    # A script of a purge takes fifty.
    for _ in range(300):
        jobs.client.cancel(jobs.submit().job_id)
    live = jobs.submit()
    jobs.store.client.zadd(jobs.store.keys("ended"), dict.fromkeys(jobs.store.client.zrange(jobs.store.keys("ended"), 0, -1), 1))
    counts: list[dict[str, int]] = []
    threads = [threading.Thread(target=lambda: counts.append(Purge(jobs.store, artifacts, jobs.settings).run_once())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(count["purged"] for count in counts) == 300
    assert jobs.client.get(live.job_id).status is JobStatus.QUEUED
    assert differences(jobs.store) == []


def test_a_rescue_tells_what_became_of_each_and_two_at_once_count_one_crash(jobs: Cell) -> None:
    run, cancelled = jobs.running(), jobs.running()
    jobs.client.cancel(cancelled.job_id)
    jobs.let_leases_end()
    told: list[Moved] = []
    duties = [Rescue(jobs.store, jobs.settings, told.append) for _ in range(2)]
    first, second = (duty.run_once() for duty in duties)
    assert first == {"queued": 1, "failed": 0, "cancelled": 1, "hint": 0, "stopping": 0}
    assert set(second.values()) == {0}
    assert {(one.job_id, one.became) for one in told} == {(run.job_id, "queued"), (cancelled.job_id, "cancelled")}
    assert jobs.client.get(run.job_id).crashes == 1


def test_left_over_working_folders_are_swept_and_those_in_use_are_not(jobs: Cell) -> None:
    run = jobs.running()
    work = jobs.settings.work_dir
    for name in (f"{run.job_id}.{run.fence}", f"{run.job_id}.0", f"{run.job_id}.99", "job_1_00000000.1"):
        (work / name).mkdir(parents=True)
        (work / name / "film.mp4").write_bytes(b"x")
    assert sweep_workdirs(jobs.store, jobs.settings) == 2
    assert {path.name for path in work.iterdir()} == {f"{run.job_id}.{run.fence}", f"{run.job_id}.0"}
