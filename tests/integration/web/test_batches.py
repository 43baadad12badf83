"""`/pipeline/batches` and cancel by filter: shapes, errors with their paths, headers."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.schemas import batches as batch_bodies
from pipeline_jobs.web.schemas import jobs as bodies
from tests.cases import each

from .checks import problem_of
from .conftest import MakeClient
from .world import World

URL = "https://example.com/a.mp4"
GOOD: dict[str, Any] = {"url": URL}


def create(client: FlaskClient, *jobs: Any, headers: dict[str, str] | None = None, **body: Any) -> Any:
    return client.post("/pipeline/batches", json={"jobs": list(jobs), **body}, headers=headers)


def test_a_batch_is_made_and_says_where_it_and_its_jobs_are(client: FlaskClient, world: World) -> None:
    response = create(client, GOOD, {**GOOD, "priority": 3}, tenant_id="acme", metadata={"order": 7})
    assert response.status_code == 201
    body = response.get_json()
    batch_bodies.NewBatch.model_validate(body)
    batch_id = body["batch_id"]
    assert response.headers["Location"] == f"/pipeline/batches/{batch_id}"
    assert body["urls"] == {
        "self": f"/pipeline/batches/{batch_id}",
        "jobs": f"/pipeline/jobs?batch_id={batch_id}",
        "cancel": f"/pipeline/batches/{batch_id}/cancel",
    }
    assert (body["status"], body["total"], body["counts"]["queued"], body["errors"]) == ("queued", 2, 2, [])
    assert [world.record(job_id).priority for job_id in body["job_ids"]] == [0, 3]
    listed = client.get(body["urls"]["jobs"]).get_json()
    assert {job["job_id"] for job in listed["jobs"]} == set(body["job_ids"])
    assert {(job["tenant_id"], job["batch_id"]) for job in listed["jobs"]} == {("acme", batch_id)}
    seen = client.get(f"/pipeline/batches/{batch_id}")
    batch_bodies.Batch.model_validate(seen.get_json())
    assert seen.get_json()["metadata"] == {"order": 7}


def test_each_wrong_job_is_named_with_its_path_and_none_is_made(client: FlaskClient, world: World) -> None:
    two = {**GOOD, "tags": ["", "x"], "priority": 99}
    wrong = [GOOD, {"url": 5}, two, {**GOOD, "metadata": {"a": 2**70}}, "x", {**GOOD, "tenant_id": "y"}]
    problem = problem_of(create(client, *wrong), 422, "invalid_input", "jobs.1.url")
    assert [error["field"] for error in problem["errors"]] == [
        "jobs.1.url", "jobs.2.priority", "jobs.2.tags.0", "jobs.3.metadata.a", "jobs.4.body", "jobs.5.tenant_id",
    ]  # fmt: skip
    assert world.ids() == []


def test_partial_leaves_the_wrong_ones_out(client: FlaskClient) -> None:
    response = create(client, {"url": 5}, GOOD, {"pipeline": "nope"}, partial=True)
    assert response.status_code == 201
    body = response.get_json()
    batch_bodies.NewBatch.model_validate(body)
    assert [job_id is None for job_id in body["job_ids"]] == [True, False, True]
    assert [error["field"] for error in body["errors"]] == ["jobs.0.url", "jobs.2.pipeline"]
    problem_of(create(client, {"url": 5}, partial=True), 422, "invalid_input", "jobs.0.url")


@each(
    ("body", "status", "field"),
    [
        ({}, 422, "jobs"),
        ({"jobs": []}, 422, "jobs"),
        ({"jobs": {}}, 422, "jobs"),
        ({"jobs": [GOOD], "partial": "yes"}, 422, "partial"),
        ({"jobs": [GOOD], "metadata": {"x": "\0"}}, 422, "metadata.x"),
        ({"jobs": [GOOD], "tenant_id": "-"}, 422, "tenant_id"),
        ({"jobs": [GOOD], "job": 1}, 422, "job"),
        ([], 422, "body"),
    ],
)
def test_a_wrong_batch_is_refused_and_named(client: FlaskClient, body: Any, status: int, field: str) -> None:
    problem_of(client.post("/pipeline/batches", json=body), status, field=field)


def test_more_than_a_thousand_jobs_are_refused(client: FlaskClient) -> None:
    problem_of(create(client, *[{"pipeline": "sleep"}] * 1001), 422, "invalid_input", "jobs")


def test_an_idempotency_key_replays_the_answer(client: FlaskClient) -> None:
    first, again = (create(client, GOOD, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    assert first.get_json() == again.get_json()
    problem_of(create(client, GOOD, GOOD, headers={"Idempotency-Key": "k"}), 422, "idempotency_key_reused")
    problem_of(create(client, GOOD, headers={"Idempotency-Key": "k" * 256}), 422, "invalid_input", "Idempotency-Key")


def test_a_list_of_batches_pages(client: FlaskClient) -> None:
    ids = [create(client, GOOD, tenant_id="acme").get_json()["batch_id"] for _ in range(3)]
    create(client, GOOD, tenant_id="other")
    page = client.get("/pipeline/batches?tenant_id=acme&limit=2").get_json()
    batch_bodies.BatchList.model_validate(page)
    rest = client.get(f"/pipeline/batches?tenant_id=acme&limit=2&cursor={page['next_cursor']}").get_json()
    assert [batch["batch_id"] for batch in page["batches"] + rest["batches"]] == ids[::-1]
    assert (page["count"], rest["count"], rest["next_cursor"]) == (2, 1, None)


@pytest.mark.parametrize(
    ("query", "status", "field"), [("status=queued", 400, "status"), ("workspace_id=x", 422, "workspace_id"), ("cursor=x", 422, "cursor")]
)
def test_a_wrong_filter_of_batches(client: FlaskClient, query: str, status: int, field: str) -> None:
    problem_of(client.get(f"/pipeline/batches?{query}"), status, field=field)


@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("POST", "/cancel")])
@pytest.mark.parametrize("batch_id", ["batch_1_00000000", "x", "job_1_00000000"])
def test_an_unknown_batch(client: FlaskClient, method: str, tail: str, batch_id: str) -> None:
    problem_of(client.open(f"/pipeline/batches/{batch_id}{tail}", method=method), 404, "unknown_batch")


def test_cancel_of_a_batch_says_whether_some_still_run(client: FlaskClient, world: World) -> None:
    body = create(client, GOOD, GOOD).get_json()
    world.start(body["job_ids"][0])
    response = client.post(body["urls"]["cancel"])
    assert response.status_code == 202
    batch_bodies.BulkCancel.model_validate(response.get_json())
    assert response.get_json() == {"dry_run": False, "matched": 2, "cancelled": 1, "stopping": 1, "next_cursor": None}
    assert world.store.finish(body["job_ids"][0], world.record(body["job_ids"][0]).fence, JobStatus.COMPLETED) is JobStatus.CANCELLED
    assert client.post(body["urls"]["cancel"]).status_code == 200


def test_cancel_by_filter(client: FlaskClient, world: World) -> None:
    ids = create(client, {**GOOD, "tags": ["x"]}, GOOD, tenant_id="acme").get_json()["job_ids"]
    body = {"tenant_id": "acme", "tag": "x"}
    dry = client.post("/pipeline/jobs/cancel", json={**body, "dry_run": True}).get_json()
    batch_bodies.BulkCancel.model_validate(dry)
    assert (dry["dry_run"], dry["matched"], world.record(ids[0]).status) == (True, 1, "queued")
    assert world.audit == []
    done = client.post("/pipeline/jobs/cancel", json=body).get_json()
    assert (done["dry_run"], done["cancelled"]) == (False, 1)
    assert [world.record(job_id).status for job_id in ids] == ["cancelled", "queued"]
    assert [(row.action, row.target, row.detail) for row in world.audit] == [
        ("jobs.cancelled", "acme", {"matched": 1, "tenant_id": "acme", "tag": "x"})
    ]


@each(
    ("body", "field"),
    [
        ({}, "tenant_id"),
        ({"dry_run": True}, "tenant_id"),
        ({"status": ["completed"]}, "status.0"),
        ({"status": "queued"}, "status"),
        ({"tenant_id": "a", "created_before": "yesterday"}, "created_before"),
        ({"tenant": "a"}, "tenant"),
        ({"tenant_id": "a", "cursor": "x"}, "cursor"),
    ],
)
def test_a_wrong_cancel_by_filter_is_refused(client: FlaskClient, body: dict[str, Any], field: str) -> None:
    problem_of(client.post("/pipeline/jobs/cancel", json=body), 422, "invalid_input", field)


def test_a_job_named_cancel_is_an_unknown_one(client: FlaskClient) -> None:
    problem_of(client.get("/pipeline/jobs/cancel"), 404, "unknown_job")


def test_dependencies_are_shown(client: FlaskClient) -> None:
    first = client.post("/pipeline/jobs", json=GOOD).get_json()
    assert (first["depends_on"], first["on_dependency_failure"]) == ([], None)
    body = {**GOOD, "depends_on": [first["job_id"], first["job_id"]], "on_dependency_failure": "run"}
    second = client.post("/pipeline/jobs", json=body)
    bodies.Job.model_validate(second.get_json())
    assert (second.get_json()["depends_on"], second.get_json()["on_dependency_failure"]) == ([first["job_id"]], "run")
    problem_of(client.post("/pipeline/jobs", json={**GOOD, "depends_on": ["-"]}), 422, field="depends_on.0")
    problem_of(client.post("/pipeline/jobs", json={**GOOD, "on_dependency_failure": "x"}), 422, field="on_dependency_failure")


def test_the_store_away_and_the_queue_off(client: FlaskClient, world: World, make_client: MakeClient) -> None:
    problem_of(create(make_client(enable_job_queue=False), GOOD), 404, "feature_disabled")
    world.lose_store()
    assert problem_of(create(client, GOOD), 503, "store_unavailable")
    assert problem_of(client.get("/pipeline/batches/batch_1_00000000"), 503, "store_unavailable")


def test_a_second_large_batch_within_a_second_is_told_when_to_come_again(client: FlaskClient, world: World) -> None:
    jobs = [{"pipeline": "sleep"}] * 201
    assert create(client, *jobs, tenant_id="acme").status_code == 201
    # A slow machine is no other second.
    world.cell.store.client.set(world.cell.store.keys("large_batch", "acme"), "1", ex=60)
    refused = create(client, *jobs, tenant_id="acme")
    assert (refused.status_code, refused.get_json()["code"]) == (429, "rate_limited")
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit-Policy"] == '"batch";q=1;w=1'
    assert "more than 200 jobs" in refused.get_json()["detail"]
    assert create(client, *jobs, tenant_id="other").status_code == 201
