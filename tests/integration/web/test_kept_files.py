"""Files that are kept after the record of their job: the link stays good, they are listed, and they can be deleted by the job's id."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.web.schemas.artifacts import KeptList

from .conftest import MakeClient
from .world import World


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def finished(world: World, folder: Path, tenant_id: str = "acme", workspace_id: str = "main", job_id: str | None = None) -> Job:
    job = world.cell.client.submit(NewJob(pipeline="sleep", tenant_id=tenant_id, workspace_id=workspace_id), job_id=job_id)
    world.publish(job.job_id, {"a.txt": b"hello"}, folder)
    return world.record(job.job_id)


def purge(world: World, job: Job) -> Job:
    world.store.client.zadd(world.store.keys("ended"), {job.job_id: 1})
    world.cell.duties["purge"]()
    return job


@pytest.fixture
def kept(world: World, tmp_path: Path) -> Job:
    """Of a job whose record is gone."""
    return purge(world, finished(world, tmp_path))


def link(world: World, job: Job) -> str:
    return world.cell.artifacts.link(f"{job.artifacts}/a.txt").removeprefix(world.settings.base_url)


def test_a_link_is_good_as_long_as_the_files_are_kept_and_says_until_when(world: World, client: FlaskClient, tmp_path: Path) -> None:
    job = finished(world, tmp_path)
    before = client.get(link(world, job))
    assert client.get(f"/pipeline/jobs/{job.job_id}").get_json()["artifacts_expire_at"]
    purge(world, job)
    assert client.get(f"/pipeline/jobs/{job.job_id}").status_code == 404
    after = client.get(link(world, job))
    assert (before.data, after.data, after.headers["ETag"]) == (b"hello", b"hello", before.headers["ETag"])
    for answer in (before, after):
        assert int(parsedate_to_datetime(answer.headers["Sunset"]).timestamp()) == (job.artifacts_expire_at or 0) // 1000
    # Another run's files are not what is kept.
    world.cell.artifacts.write(b"a loser's", f"acme/main/{job.job_id}/{job.fence + 1}/a.txt")
    lost = world.cell.artifacts.link(f"acme/main/{job.job_id}/{job.fence + 1}/a.txt").removeprefix(world.settings.base_url)
    assert client.get(lost).status_code == 404
    world.store.client.zadd(world.store.keys("kept_until"), {job.job_id: 1})
    world.cell.duties["purge"]()
    assert client.get(link(world, job)).status_code == 404


def test_the_list_names_each_with_its_size_and_its_end(world: World, client: FlaskClient, kept: Job) -> None:
    body = client.get("/pipeline/artifacts?tenant_id=acme").get_json()
    KeptList.model_validate(body)
    (row,) = body["artifacts"]
    assert (row["job_id"], row["tenant_id"], row["workspace_id"], row["bytes"]) == (kept.job_id, "acme", "main", kept.artifact_bytes)
    assert row["expires_at"] == kept.to_dict()["artifacts_expire_at"]


def test_a_delete_by_the_jobs_id_removes_them(world: World, client: FlaskClient, kept: Job) -> None:
    assert client.delete(f"/pipeline/jobs/{kept.job_id}").get_json() == {"job_id": kept.job_id, "status": "deleted"}
    assert (client.get(link(world, kept)).status_code, client.delete(f"/pipeline/jobs/{kept.job_id}").status_code) == (404, 404)
    world.cell.duties["purge"]()
    assert not world.cell.artifacts.exists(f"{kept.artifacts}/a.txt")


def test_another_tenants_and_another_workspaces_are_unknown(world: World, make_client: MakeClient, kept: Job) -> None:
    client = make_client()
    _, own = world.key("acme")
    _, other = world.key("other")
    _, side = world.key("acme", workspace_id="side")
    _, reads = world.key("acme", Role.READ)
    for text in (other, side):
        assert client.delete(f"/pipeline/jobs/{kept.job_id}", headers=bearer(text)).get_json()["code"] == "unknown_job"
        assert client.get("/pipeline/artifacts", headers=bearer(text)).get_json()["artifacts"] == []
    assert client.get("/pipeline/artifacts?tenant_id=acme", headers=bearer(other)).status_code == 403
    assert client.delete(f"/pipeline/jobs/{kept.job_id}", headers=bearer(reads)).status_code == 403
    assert [row["job_id"] for row in client.get("/pipeline/artifacts", headers=bearer(own)).get_json()["artifacts"]] == [kept.job_id]
    assert client.delete(f"/pipeline/jobs/{kept.job_id}", headers=bearer(own)).status_code == 200


def test_who_has_kept_files_of_an_id_does_not_delete_anothers_job_that_has_it_now(
    world: World, make_client: MakeClient, tmp_path: Path
) -> None:
    client = make_client()
    purge(world, finished(world, tmp_path, job_id="chosen"))
    theirs = finished(world, tmp_path, tenant_id="other", job_id="chosen")
    _, own = world.key("acme")
    assert client.delete("/pipeline/jobs/chosen", headers=bearer(own)).status_code == 200
    assert world.record("chosen") == theirs
    assert client.delete("/pipeline/jobs/chosen", headers=bearer(own)).get_json()["code"] == "unknown_job"
