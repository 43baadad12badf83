"""`POST /pipeline/run`: with the queue, and in process without it."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pipeline_jobs.exceptions import InvalidInput, NoAudio, StoreUnavailable
from pipeline_jobs.job import NewJob, StepResult
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.schemas import jobs as bodies

from .checks import problem_of
from .conftest import MakeClient
from .fakes import World

URL = "https://media.example/clip.mp4"


def run(client: FlaskClient, **body: Any) -> TestResponse:
    return client.post("/pipeline/run", json={"url": URL, **body})


def test_gives_the_result_of_the_job(client: FlaskClient, world: World) -> None:
    world.jobs.while_waiting = lambda job_id: world.jobs.complete(job_id, summary="short")
    response = run(client)
    assert (response.status_code, response.get_json()) == (200, {"success": True, "data": {"summary": "short"}})


def test_a_failed_job_is_a_result_without_success(client: FlaskClient, world: World) -> None:
    world.jobs.while_waiting = lambda job_id: world.jobs.change(job_id, status=JobStatus.FAILED, error="no audio")
    response = run(client)
    bodies.StepResult.model_validate(response.get_json())
    assert (response.status_code, response.get_json()) == (200, {"success": False, "data": {}, "error": "no audio"})


def test_so_is_a_cancelled_one(client: FlaskClient, world: World) -> None:
    world.jobs.while_waiting = lambda job_id: world.jobs.change(job_id, status=JobStatus.CANCELLED)
    assert run(client).get_json() == {"success": False, "data": {}, "error": "the job was cancelled"}


def test_a_slow_job_is_202_and_goes_on(client: FlaskClient, world: World) -> None:
    world.jobs.while_waiting = world.jobs.start
    response = run(client, timeout=0.5)
    body = response.get_json()
    bodies.Job.model_validate(body)
    assert (response.status_code, body["status"], world.jobs.waits) == (202, "running", [0.5])
    assert response.headers["Location"] == f"/pipeline/jobs/{body['job_id']}"
    assert "Retry-After" in response.headers


@pytest.mark.parametrize(("body", "waited"), [({}, 60), ({"timeout": 3600}, 60), ({"timeout": 0}, 0), ({"timeout": None}, 60)])
def test_the_timeout_has_a_default_and_a_cap(client: FlaskClient, world: World, body: dict[str, Any], waited: float) -> None:
    run(client, **body)
    assert world.jobs.waits == [waited]


def test_store_lost_while_waiting_is_202_for_the_job_is_accepted(client: FlaskClient, world: World) -> None:
    def go_away(job_id: str) -> None:
        world.jobs.failure = StoreUnavailable()

    world.jobs.while_waiting = go_away
    assert run(client).status_code == 202


def test_with_the_queue_off_it_runs_in_process(make_client: MakeClient, world: World) -> None:
    seen: list[NewJob] = []

    def in_process(new: NewJob) -> StepResult:
        seen.append(new)
        return StepResult(True, {"summary": "here"})

    world.in_process = in_process
    response = run(make_client(enable_job_queue=False), tenant_id="acme")
    assert (response.status_code, response.get_json()) == (200, {"success": True, "data": {"summary": "here"}})
    assert (seen[0].tenant_id, world.jobs.jobs) == ("acme", {})


def test_in_process_a_failed_stage_is_a_result_without_success(make_client: MakeClient, world: World) -> None:
    def fail(new: NewJob) -> StepResult:
        raise NoAudio

    world.in_process = fail
    response = run(make_client(enable_job_queue=False))
    assert (response.status_code, response.get_json()["success"]) == (200, False)
    assert "no audio" in response.get_json()["error"]


def test_in_process_a_wrong_field_is_422(make_client: MakeClient, world: World) -> None:
    def refuse(new: NewJob) -> StepResult:
        raise InvalidInput("quality must be one of: 720p", field="quality")

    world.in_process = refuse
    problem_of(run(make_client(enable_job_queue=False)), 422, "invalid_input", "quality")


def test_in_process_a_bug_is_a_500_without_a_word_of_it(make_client: MakeClient, world: World) -> None:
    def crash(new: NewJob) -> StepResult:
        raise RuntimeError("secret")

    world.in_process = crash
    body = problem_of(run(make_client(enable_job_queue=False)), 500, "internal_error")
    assert "secret" not in str(body)


def test_in_process_runs_are_limited(make_client: MakeClient, world: World) -> None:
    client = make_client(enable_job_queue=False, http_threads=1)
    inner: list[TestResponse] = []

    def nested(new: NewJob) -> StepResult:
        inner.append(run(client))
        return StepResult(True)

    world.in_process = nested
    assert run(client).status_code == 200
    problem_of(inner[0], 503, "busy")
    assert "Retry-After" in inner[0].headers
