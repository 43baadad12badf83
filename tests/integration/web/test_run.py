"""`POST /pipeline/run`: with the queue, and in process without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pipeline_jobs.exceptions import MachineFault, NoAudio
from pipeline_jobs.web.schemas import jobs as bodies

from .checks import problem_of
from .conftest import MakeClient
from .world import World

URL = "https://media.example/clip.mp4"


def run(client: FlaskClient, **body: Any) -> TestResponse:
    return client.post("/pipeline/run", json={"url": URL, **body})


def test_gives_the_result_of_the_job(client: FlaskClient, world: World) -> None:
    world.when_waiting(lambda job_id: world.complete(job_id, summary="short"))
    response = run(client)
    assert (response.status_code, response.get_json()) == (200, {"success": True, "data": {"summary": "short"}})


def test_a_failed_job_is_a_result_without_success(client: FlaskClient, world: World) -> None:
    world.when_waiting(world.fail)
    response = run(client)
    bodies.StepResult.model_validate(response.get_json())
    assert (response.status_code, response.get_json()) == (200, {"success": False, "data": {}, "error": "no audio"})


def test_so_is_a_cancelled_one(client: FlaskClient, world: World) -> None:
    world.when_waiting(world.cell.client.cancel)
    assert run(client).get_json() == {"success": False, "data": {}, "error": "the job was cancelled"}


def test_a_slow_job_is_202_and_goes_on(client: FlaskClient, world: World) -> None:
    response = run(client, timeout=0.1)
    body = response.get_json()
    bodies.Job.model_validate(body)
    assert (response.status_code, body["status"], world.record(body["job_id"]).ended) == (202, "queued", False)
    assert response.headers["Location"] == f"/pipeline/jobs/{body['job_id']}"
    assert "Retry-After" in response.headers


@pytest.mark.parametrize("body", [{}, {"timeout": 3600}, {"timeout": 0}, {"timeout": None}])
def test_the_timeout_has_a_default_and_a_cap(make_client: MakeClient, body: dict[str, Any]) -> None:
    # Nothing will happen: a request that waited longer would fail at the time limit of the tests.
    assert run(make_client(run_timeout_seconds=0.1), **body).status_code == 202


def test_store_lost_while_waiting_is_202_for_the_job_is_accepted(client: FlaskClient, world: World) -> None:
    world.when_waiting(lambda job_id: world.lose_store())
    assert run(client).status_code == 202


def test_with_the_queue_off_it_runs_in_process(make_client: MakeClient, world: World) -> None:
    world.stage = lambda context: {"summary": f"here, of {context.tenant_id}"}
    response = run(make_client(enable_job_queue=False), tenant_id="acme")
    assert (response.status_code, response.get_json()) == (200, {"success": True, "data": {"summary": "here, of acme"}})
    assert world.ids() == []


def test_in_process_a_failed_stage_is_a_result_without_success(make_client: MakeClient, world: World) -> None:
    world.stage = raises(NoAudio())
    response = run(make_client(enable_job_queue=False))
    assert (response.status_code, response.get_json()["success"]) == (200, False)
    assert "no audio" in response.get_json()["error"]


def test_in_process_a_fault_of_the_machine_is_503(make_client: MakeClient, world: World) -> None:
    world.stage = raises(MachineFault("no speech model"))
    problem_of(run(make_client(enable_job_queue=False)), 503, "store_unavailable")


def test_in_process_a_wrong_field_is_422(make_client: MakeClient) -> None:
    problem_of(run(make_client(enable_job_queue=False), quality="1p"), 422, "invalid_input", "quality")


def test_in_process_a_bug_is_a_500_without_a_word_of_it(make_client: MakeClient, world: World) -> None:
    world.stage = raises(RuntimeError("secret"))
    body = problem_of(run(make_client(enable_job_queue=False)), 500, "internal_error")
    assert "secret" not in str(body)


def test_in_process_runs_are_limited(make_client: MakeClient, world: World) -> None:
    client = make_client(enable_job_queue=False, http_threads=1)
    inner: list[TestResponse] = []
    world.stage = lambda context: inner.append(run(client))
    assert run(client).status_code == 200
    problem_of(inner[0], 503, "busy")
    assert "Retry-After" in inner[0].headers


def raises(error: BaseException) -> Callable[[Any], None]:
    def stage(context: Any) -> None:
        raise error

    return stage
