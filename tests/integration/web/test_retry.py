"""`POST /pipeline/jobs/{id}/retry`."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.schemas import jobs as bodies

from .checks import problem_of
from .world import World

URL = "https://example.com/a.mp4"


@pytest.fixture
def ended(client: FlaskClient, world: World) -> str:
    job_id: str = client.post("/pipeline/jobs", json={"url": URL}).get_json()["job_id"]
    world.complete(job_id)
    return job_id


@pytest.mark.parametrize("body", [None, {}, {"from_stage": None}, {"from_stage": "publish"}])
def test_it_makes_a_new_job(client: FlaskClient, ended: str, body: Any) -> None:
    response = client.post(f"/pipeline/jobs/{ended}/retry", **({} if body is None else {"json": body}))
    assert response.status_code == 201, response.text
    job = response.get_json()
    bodies.Job.model_validate(job)
    assert (job["retry_of"], job["url"], job["status"]) == (ended, URL, "queued")
    assert job["job_id"] != ended
    assert response.headers["Location"] == f"/pipeline/jobs/{job['job_id']}"
    assert {"ETag", "Retry-After"} <= set(response.headers.keys())


def test_a_job_that_lives_is_not_retried(client: FlaskClient) -> None:
    job_id = client.post("/pipeline/jobs", json={"url": URL}).get_json()["job_id"]
    problem_of(client.post(f"/pipeline/jobs/{job_id}/retry"), 409, "job_not_ended")
    problem_of(client.post("/pipeline/jobs/job_1_00000000/retry"), 404, "unknown_job")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"from_stage": "sing"}, "from_stage"),
        ({"from_stage": 1}, "from_stage"),
        ({"stage": "x"}, "stage"),
        ([], "body"),
        ({"quality": "999q"}, "quality"),
        ({"quality": 720}, "quality"),
        ({"quality": ""}, "quality"),
        ({"params": {"colour": "x"}}, "params.colour"),
        ({"params": {"\0": 1}}, "params"),
        ({"params": []}, "params"),
    ],
)
def test_a_wrong_body_is_refused(client: FlaskClient, ended: str, body: Any, field: str) -> None:
    problem_of(client.post(f"/pipeline/jobs/{ended}/retry", json=body), 422, "invalid_input", field)


def test_a_body_that_is_no_json_is_refused(client: FlaskClient, ended: str) -> None:
    problem_of(client.post(f"/pipeline/jobs/{ended}/retry", data="x"), 415, "unsupported_media_type")
    problem_of(client.post(f"/pipeline/jobs/{ended}/retry", data="{", content_type="application/json"), 400, "malformed_json")


def test_an_idempotency_key_makes_one(client: FlaskClient, ended: str) -> None:
    first, again = (client.post(f"/pipeline/jobs/{ended}/retry", headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert first.get_json()["job_id"] == again.get_json()["job_id"]
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")


def test_the_document_says_that_the_body_may_be_left_out(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").get_json()["paths"]
    assert paths["/pipeline/jobs/{job_id}/retry"]["post"]["requestBody"]["required"] is False
    assert paths["/pipeline/jobs"]["post"]["requestBody"]["required"] is True


GIVEN = '[["fetch",{"source":"a"},null,{}]]'


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ({"quality": "1080p"}, None),
        ({"quality": "1080p", "from_stage": "publish"}, GIVEN),
        ({"quality": "1080p", "from_stage": "fetch"}, None),
        # That is what it had.
        ({"quality": "720p", "params": {}}, GIVEN),
    ],
)
def test_another_quality_keeps_what_was_made_of_the_old_one_only_if_told_so(
    client: FlaskClient, world: World, ended: str, body: Any, kept: str | None
) -> None:
    world.write(ended, outputs=GIVEN)
    made = client.post(f"/pipeline/jobs/{ended}/retry", json=body)
    assert made.status_code == 201, made.text
    job = world.record(made.get_json()["job_id"])
    assert (job.retry_of, job.quality, job.outputs) == (ended, body["quality"], kept)
    assert world.record(ended).quality == "720p"


def test_parameters_take_the_place_of_those_of_the_same_name(client: FlaskClient, world: World) -> None:
    asked = {"pipeline": "sleep", "params": {"steps": 7, "seconds": 3}, "tags": ["a"], "tenant_id": "acme", "priority": 4}
    old = client.post("/pipeline/jobs", json=asked).get_json()["job_id"]
    problem_of(client.post(f"/pipeline/jobs/{old}/retry", json={"params": {"steps": 8}}), 409, "job_not_ended")
    world.fail(old)
    made = client.post(f"/pipeline/jobs/{old}/retry", json={"params": {"steps": 8}}).get_json()
    job = world.record(made["job_id"])
    assert {name: job.params[name] for name in ("steps", "seconds")} == {"steps": 8, "seconds": 3}
    assert (job.retry_of, job.tags, job.tenant_id, job.priority) == (old, ("a",), "acme", 4)


def test_an_idempotency_key_knows_what_is_changed(client: FlaskClient, world: World) -> None:
    old = world.put(status=JobStatus.FAILED).job_id
    headers = {"Idempotency-Key": "k"}

    def ask(body: Any) -> Any:
        return client.post(f"/pipeline/jobs/{old}/retry", json=body, headers=headers)

    first, again = ask({"params": {"steps": 8}}), ask({"params": {"steps": 8}})
    assert first.get_json()["job_id"] == again.get_json()["job_id"]
    problem_of(ask({"params": {"steps": 9}}), 422, "idempotency_key_reused")
    problem_of(ask({}), 422, "idempotency_key_reused")
