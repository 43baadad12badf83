"""The history over HTTP: jobs whose records are gone, evaluations and the export, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.access.api_keys import ALL, Role
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.files.kept import KeptFolder, KeptFolders
from pipeline_jobs.history.history import History
from pipeline_jobs.history.mover import Mover
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.jobs.workflows import NewNode, NewWorkflow
from pipeline_jobs.operation import conditions
from pipeline_jobs.tenants import Whose
from pipeline_jobs.web.schemas.workflows import Workflow

from .conftest import MakeClient
from .world import World


class Past:
    """Jobs of two tenants and two workspaces, which were moved and purged."""

    def __init__(self, world: World, client: FlaskClient) -> None:
        self.world, self.client, self.cell = world, client, world.cells[-1]
        found = self.cell.history
        assert found is not None
        self.history: History = found
        self.keys = {
            "root": self.cell.keys.create(ALL, Role.ADMIN, actor="test")[1],
            "acme": self.cell.keys.create("acme", Role.SUBMIT, actor="test")[1],
            "main": self.cell.keys.create("acme", Role.READ, workspace_id="main", actor="test")[1],
        }
        places = (("acme", "main"), ("acme", "blog"), ("other", "main"))
        self.jobs = {place: self.ended(*place) for place in places}
        Mover(found).move()
        for job_id in self.jobs.values():
            self.cell.store.client.zadd(self.cell.store.keys("ended"), {job_id: 1})
        assert self.cell.store.purge() == 3

    def ended(self, tenant_id: str, workspace_id: str) -> str:
        job = self.cell.client.submit(NewJob(pipeline="sleep", tenant_id=tenant_id, workspace_id=workspace_id))
        self.cell.client.cancel(job.job_id)
        return job.job_id

    def get(self, path: str, key: str = "root", method: str = "GET", **headers: str) -> Any:
        return self.client.open(path, method=method, headers={"Authorization": f"Bearer {self.keys[key]}", **headers})


@pytest.fixture
def past(world: World, make_client: MakeClient, tmp_path: Path) -> Iterator[Past]:
    made = Past(world, make_client(history_url=f"sqlite:///{tmp_path / 'history.db'}"))
    yield made
    made.history.database.close()


def test_a_job_is_found_after_its_record_is_gone(past: Past) -> None:
    job_id = past.jobs["acme", "main"]
    assert past.get(f"/pipeline/jobs/{job_id}").status_code == 404
    for key in ("root", "acme", "main"):
        found = past.get(f"/pipeline/jobs/{job_id}?include=history", key)
        assert (found.status_code, found.json["job_id"], found.json["status"]) == (200, job_id, "cancelled")
    assert past.get(f"/pipeline/jobs/{past.jobs['other', 'main']}?include=history", "acme").status_code == 404
    assert past.get(f"/pipeline/jobs/{past.jobs['acme', 'blog']}?include=history", "main").status_code == 404
    same = {"If-None-Match": found.headers["ETag"]}
    assert past.get(f"/pipeline/jobs/{job_id}?include=history", "acme", **same).status_code == 304


def test_a_workflow_is_shown_after_its_records_are_gone(past: Past) -> None:
    nodes = [NewNode("b", NewJob(pipeline="sleep"), ("a",)), NewNode("a", NewJob(pipeline="sleep"))]
    made = past.cell.workflows.create(NewWorkflow(nodes, "acme"))
    path = f"/pipeline/workflows/{made.batch.batch_id}"
    past.cell.workflows.cancel(made.batch.batch_id)
    before = past.get(path).json
    Mover(past.history).move()
    for job_id in past.cell.store.members("ended"):
        past.cell.store.client.zadd(past.cell.store.keys("ended"), {job_id: 1})
    assert past.cell.store.purge() == 2
    assert past.get(path).status_code == 404
    found = past.get(f"{path}?include=history", "main").json
    Workflow.model_validate(found)
    assert found["jobs"] == before["jobs"]
    assert (found["status"], found["counts"], found["created_at"]) == (before["status"], before["counts"], before["created_at"])
    own = past.cell.workflows.create(NewWorkflow(nodes, "other")).batch.batch_id
    for other in (own, "batch_1_00000000"):
        assert past.get(f"/pipeline/workflows/{other}?include=history", "acme").status_code == 404


def workflow_of(past: Past, tenant_id: str = "acme", jobs: int = 3) -> str:
    """One that has ended, whose jobs are in the history and in the store."""
    nodes = [NewNode(f"n{n}", NewJob(pipeline="sleep")) for n in range(jobs)]
    workflow_id = past.cell.workflows.create(NewWorkflow(nodes, tenant_id)).batch.batch_id
    past.cell.workflows.cancel(workflow_id)
    Mover(past.history).move()
    return workflow_id


def purge(past: Past, *job_ids: str) -> None:
    past.cell.store.client.zadd(past.cell.store.keys("ended"), dict.fromkeys(job_ids, 1))
    assert past.cell.store.purge() == len(job_ids)


def left_of(past: Past, workflow_id: str, tenant_id: str = "acme") -> list[str]:
    asked = f"/pipeline/jobs?include=history&batch_id={workflow_id}&tenant_id={tenant_id}"
    return [job["job_id"] for job in past.get(asked).json["jobs"]]


def test_delete_reaches_a_workflow_that_only_the_history_has(past: Past) -> None:
    mine, theirs = workflow_of(past), workflow_of(past, "other")
    purge(past, *past.cell.store.members("ended"))
    for workflow_id in (theirs, "batch_1_00000000", "no id"):
        assert past.get(f"/pipeline/workflows/{workflow_id}", "acme", "DELETE").status_code == 404
    done = past.get(f"/pipeline/workflows/{mine}", "acme", "DELETE")
    assert (done.status_code, done.json) == (200, {"batch_id": mine, "status": "deleted", "jobs": 3, "more": False})
    assert past.get(f"/pipeline/workflows/{mine}", "acme", "DELETE").status_code == 404
    assert past.get(f"/pipeline/workflows/{mine}?include=history", "acme").status_code == 404
    assert (left_of(past, mine), len(left_of(past, theirs, "other"))) == ([], 3)
    assert past.history.count("acme") == 2, "its other jobs stay"


def test_delete_of_a_workflow_goes_on_from_the_store_into_the_history(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_jobs.jobs.bulk_ended.MOST", 2)
    mine = workflow_of(past, jobs=4)
    purge(past, *left_of(past, mine)[:3])
    answers = [past.get(f"/pipeline/workflows/{mine}", "acme", "DELETE").json for _ in range(2)]
    assert [(one["jobs"], one["more"]) for one in answers] == [(2, True), (2, False)]
    assert past.get(f"/pipeline/workflows/{mine}", "acme", "DELETE").status_code == 404
    assert left_of(past, mine) == []


def test_delete_of_a_workflow_takes_the_files_that_are_kept_longer(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    cell, mine = past.cell, workflow_of(past, jobs=2)
    (one, other), store = left_of(past, mine), past.cell.store
    for job_id in (one, other):
        later = {"artifacts": f"acme/main/{job_id}/1", "artifact_bytes": 3, "artifacts_expire_at": store.now() + 60_000}
        store.client.hset(store.keys("job", job_id), mapping=later)
    purge(past, one, other)
    assert {folder.job_id for folder in cell.kept.page("acme").items} == {one, other}
    delete = KeptFolders.delete

    def away(kept: KeptFolders, folder: KeptFolder) -> None:
        if folder.job_id == other:
            raise StoreUnavailable
        delete(kept, folder)

    with monkeypatch.context() as patch:
        patch.setattr(KeptFolders, "delete", away)
        assert past.get(f"/pipeline/workflows/{mine}", "acme", "DELETE").status_code == 503
    assert len(left_of(past, mine)) == 2, "it is to be sent again"
    assert past.get(f"/pipeline/workflows/{mine}", "acme", "DELETE").json["jobs"] == 2
    assert cell.kept.page("acme").items == ()


def bulk(past: Past, key: str, dry_run: bool = False, **body: Any) -> Any:
    sent = {"action": "delete", "dry_run": dry_run, **body}
    return past.client.post("/pipeline/jobs/bulk", json=sent, headers={"Authorization": f"Bearer {past.keys[key]}"})


def all_of(past: Past) -> set[str]:
    return {job["job_id"] for job in past.get("/pipeline/jobs?include=history").json["jobs"]}


def test_a_deletion_by_filter_reaches_the_history_for_whose_it_is(past: Past) -> None:
    past.keys["own"] = past.cell.keys.create("acme", Role.SUBMIT, workspace_id="main", actor="test")[1]
    in_both = past.ended("acme", "blog")
    Mover(past.history).move()
    past.ended("acme", "main")
    blog, theirs = past.jobs["acme", "blog"], past.jobs["other", "main"]
    assert bulk(past, "acme", filter={"tenant_id": "other"}).status_code == 403
    for key, matched in (("root", 5), ("acme", 4), ("own", 2)):
        assert bulk(past, key, dry_run=True, filter={"pipeline": "sleep"}).json["matched"] == matched
    assert bulk(past, "own", filter={"pipeline": "sleep"}).json["done"] == 2
    assert all_of(past) == {in_both, blog, theirs}
    assert bulk(past, "acme", filter={"q": blog}).json["matched"] == 0, "a text is looked for in records only"
    assert bulk(past, "acme", filter={"status": ["cancelled"]}).json["done"] == 2
    assert (all_of(past), past.history.count("acme")) == ({theirs}, 0)
    rows = [(row.target, row.detail["done"]) for row in past.world.audit if row.action == "jobs.deleted"]
    assert rows == [("acme", 2), ("acme", 2)]
    assert bulk(past, "acme", filter={"status": ["cancelled"]}).json["matched"] == 0


def test_a_deletion_by_filter_goes_on_from_the_store_into_the_history(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_jobs.jobs.bulk_ended.MOST", 1)
    past.ended("acme", "main")
    done, cursor = list[int](), None
    while not done or cursor:
        answer = bulk(past, "acme", filter={"pipeline": "sleep"}, cursor=cursor).json
        done, cursor = [*done, answer["done"]], answer["next_cursor"]
    assert (sum(done), max(done), all_of(past)) == (3, 1, {past.jobs["other", "main"]})


def test_a_deletion_by_filter_takes_the_files_that_are_kept_longer(past: Past) -> None:
    store, mine = past.cell.store, past.ended("acme", "main")
    later = {"artifacts": f"acme/main/{mine}/1", "artifact_bytes": 3, "artifacts_expire_at": store.now() + 60_000}
    store.client.hset(store.keys("job", mine), mapping=later)
    Mover(past.history).move()
    purge(past, mine)
    assert [folder.job_id for folder in past.cell.kept.page("acme").items] == [mine]
    assert bulk(past, "acme", filter={"pipeline": "sleep"}).json["done"] == 3
    assert past.cell.kept.page("acme").items == ()


def test_a_batch_that_is_no_workflow_is_none_to_delete(past: Past) -> None:
    made = past.cell.batches.create(NewBatch([NewJob(pipeline="sleep")], "acme", "main"))
    past.cell.batches.cancel(made.batch.batch_id)
    Mover(past.history).move()
    purge(past, *past.cell.store.members("ended"))
    assert past.get(f"/pipeline/workflows/{made.batch.batch_id}", "acme", "DELETE").status_code == 404
    assert len(left_of(past, made.batch.batch_id)) == 1


def test_a_list_goes_on_into_the_history(past: Past) -> None:
    young = past.ended("acme", "main")
    assert [job["job_id"] for job in past.get("/pipeline/jobs").json["jobs"]] == [young]
    everything = [young, past.jobs["other", "main"], past.jobs["acme", "blog"], past.jobs["acme", "main"]]
    for key, mine in (("root", everything), ("acme", [young, *everything[2:]]), ("main", [young, everything[3]])):
        found, cursor = [], ""
        while True:
            page = past.get(f"/pipeline/jobs?include=history,result&limit=1{cursor}", key).json
            found += [job["job_id"] for job in page["jobs"]]
            assert all("result" in job for job in page["jobs"])
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert found == mine
    assert past.get("/pipeline/jobs?include=history&tenant_id=other", "acme").status_code == 403


def test_an_evaluation_shows_a_key_its_own_jobs_only(past: Past) -> None:
    def counted(key: str, query: str = "") -> dict[str, int]:
        answer = past.get(f"/pipeline/analytics?{query}", key)
        assert answer.status_code == 200, answer.json
        return {line["tenant_id"]: line["cancelled"] for line in answer.json["lines"]}

    assert counted("root") == {"acme": 2, "other": 1}
    assert counted("root", "tenant_id=other") == {"other": 1}
    assert counted("acme") == {"acme": 2}
    assert counted("main") == {"acme": 1}
    assert counted("acme", "pipeline=media") == {}
    assert counted("acme", "ended_before=2025-01-01T00:00:00Z") == {}
    for key, query in (("acme", "tenant_id=other"), ("main", "workspace_id=blog")):
        for route in ("analytics", "analytics/export"):
            assert past.get(f"/pipeline/{route}?{query}", key).status_code == 403


def test_an_export_is_a_line_of_csv_a_job(past: Past) -> None:
    answer = past.get("/pipeline/analytics/export", "acme")
    assert (answer.status_code, answer.content_type) == (200, "text/csv; charset=utf-8")
    assert [line.split(",")[:3] for line in answer.text.splitlines()[1:]] == [
        [past.jobs["acme", "main"], "acme", "main"],
        [past.jobs["acme", "blog"], "acme", "blog"],
    ]
    assert len(past.get("/pipeline/analytics/export", "main").text.splitlines()) == 2


@pytest.mark.parametrize("route", ["analytics", "analytics/export"])
def test_a_tenant_that_evaluates_already_waits_and_nobody_else(past: Past, route: str) -> None:
    with past.history.turn(Whose("acme")):
        refused = past.get(f"/pipeline/{route}", "main")
        assert (refused.status_code, refused.json["code"], refused.headers["Retry-After"]) == (429, "busy", "1")
        assert past.get(f"/pipeline/{route}", "root").status_code == 200
    assert past.get(f"/pipeline/{route}", "main").status_code == 200


def test_an_export_has_its_turn_until_it_is_sent(past: Past) -> None:
    first = past.get("/pipeline/analytics/export", "acme")
    parts = first.response
    next(iter(parts))
    assert past.get("/pipeline/analytics/export", "main").status_code == 429
    assert past.get("/pipeline/analytics", "root").status_code == 200
    first.close()
    assert past.get("/pipeline/analytics/export", "main").status_code == 200


@pytest.mark.parametrize(("route", "most"), [("analytics", "MAX_LINES"), ("analytics/export", "MAX_EXPORT")])
def test_too_much_is_refused_before_it_is_sent(past: Past, monkeypatch: pytest.MonkeyPatch, route: str, most: str) -> None:
    monkeypatch.setattr(f"pipeline_jobs.history.analytics.{most}", 0)
    refused = past.get(f"/pipeline/{route}", "acme")
    assert (refused.status_code, refused.json["code"], refused.json["field"]) == (422, "invalid_input", "ended_after")
    assert past.history.store.client.keys("*history_turn*") == []


def test_delete_reaches_the_history(past: Past) -> None:
    mine, theirs = past.jobs["acme", "main"], past.jobs["other", "main"]
    assert past.get(f"/pipeline/jobs/{theirs}", "acme", "DELETE").status_code == 404
    assert past.get(f"/pipeline/jobs/{mine}", "acme", "DELETE").json == {"job_id": mine, "status": "deleted"}
    assert past.get(f"/pipeline/jobs/{mine}", "acme", "DELETE").status_code == 404
    assert past.get(f"/pipeline/jobs/{mine}?include=history", "acme").status_code == 404
    assert past.get(f"/pipeline/jobs/{theirs}?include=history").status_code == 200


def test_erasing_a_tenant_reaches_it_too(past: Past) -> None:
    assert past.get("/pipeline/tenants/acme", method="DELETE").json["done"]
    assert past.history.count("acme") == 0
    assert [line["tenant_id"] for line in past.get("/pipeline/analytics").json["lines"]] == ["other"]


def test_a_database_that_is_away_is_a_503_and_the_rest_goes_on(past: Past, tmp_path: Path) -> None:
    past.history.database.close()
    for file in tmp_path.glob("history.db*"):
        file.unlink()
    (tmp_path / "history.db").mkdir()
    young = past.ended("acme", "main")
    for path in ("jobs?include=history", f"jobs/{past.jobs['acme', 'main']}?include=history", "analytics", "analytics/export"):
        answer = past.get(f"/pipeline/{path}")
        assert (answer.status_code, answer.json["code"]) == (503, "store_unavailable")
    assert past.get(f"/pipeline/jobs/{young}?include=history").status_code == 200
    assert past.get(f"/pipeline/jobs/{young}", method="DELETE").status_code == 503
    assert bulk(past, "acme", filter={"pipeline": "sleep"}).status_code == 503
    assert past.get(f"/pipeline/jobs/{young}").status_code == 200, "not half deleted"


def test_without_a_history_it_is_said(world: World, client: FlaskClient) -> None:
    job_id = world.cells[-1].client.submit(NewJob(pipeline="sleep")).job_id
    for path in ("jobs?include=history", "jobs/job_1_00000000?include=history", "analytics", "analytics/export"):
        answer = client.get(f"/pipeline/{path}")
        assert (answer.status_code, answer.json and answer.json["code"]) == (404, "feature_disabled"), path
    assert client.get(f"/pipeline/jobs/{job_id}?include=history").status_code == 200


def test_readiness_and_the_doctor_say_when_jobs_wait_for_it(past: Past) -> None:
    store, settings = past.cell.store, past.cell.settings

    def told() -> dict[str, Any]:
        answer = past.get("/health/ready").json
        part: dict[str, Any] = answer["parts"]["history"]
        return part

    assert told() == {"ok": True, "reason": None}
    past.ended("acme", "main")
    waiting = store.keys("unmoved", "acme")
    for job_id in store.client.zrange(waiting, 0, -1):
        store.client.zadd(waiting, {job_id: store.now() - 61_000})
    assert "1 ended jobs are not moved" in told()["warning"]
    names = {found.name for found in conditions.look(store, settings, {}).found}
    assert "history_behind" in names
    assert "history_full" not in names
    full = settings.model_copy(update={"history_max_waiting": 0})
    assert "history_full" in {found.name for found in conditions.look(store, full, {}).found}
    scrape = past.get("/metrics?scope=all").text
    assert "pipeline_history_waiting 1.0" in scrape
    assert "pipeline_history_moved_total 3.0" in scrape
