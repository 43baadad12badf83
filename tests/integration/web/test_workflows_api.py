"""`/pipeline/workflows` and the page of one: shapes, errors with names, the graph as text and picture, its stream."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from typing import Any

from flask.testing import FlaskClient

from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.schemas import events as event_bodies
from pipeline_jobs.web.schemas import workflows as bodies
from tests.cases import each

from .checks import problem_of
from .world import World

SLEEP: dict[str, Any] = {"pipeline": "sleep"}
JOBS = [{**SLEEP, "name": "mail", "depends_on": ["cut"], "on_dependency_failure": "run"}, {**SLEEP, "name": "cut", "priority": 3}]
WORKFLOWS = "/pipeline/workflows"


def create(client: FlaskClient, *jobs: Any, headers: dict[str, str] | None = None, **body: Any) -> Any:
    return client.post(WORKFLOWS, json={"jobs": list(jobs), "tenant_id": "acme", **body}, headers=headers)


def test_a_workflow_is_made_and_says_where_it_and_its_jobs_are(client: FlaskClient, world: World) -> None:
    response = create(client, *JOBS, metadata={"order": 7})
    assert response.status_code == 201
    body = response.get_json()
    bodies.NewWorkflow.model_validate(body)
    path = f"{WORKFLOWS}/{body['batch_id']}"
    assert response.headers["Location"] == body["urls"]["self"] == path
    assert set(body["job_ids"]) == {"mail", "cut"}
    cut, mail = (world.record(body["job_ids"][name]) for name in ("cut", "mail"))
    assert (cut.name, cut.priority, mail.name, mail.depends_on) == ("cut", 3, "mail", (cut.job_id,))
    seen = client.get(path).get_json()
    bodies.Workflow.model_validate(seen)
    assert [(job["name"], job["depends_on"], job["on_dependency_failure"], job["reason"]) for job in seen["jobs"]] == [
        ("cut", [], None, "fair_share"), ("mail", ["cut"], "run", "dependency"),
    ]  # fmt: skip
    assert client.get(seen["urls"]["jobs"]).get_json()["count"] == 2
    listed = client.get(f"{WORKFLOWS}?tenant_id=acme").get_json()
    bodies.WorkflowList.model_validate(listed)
    assert [one["batch_id"] for one in listed["workflows"]] == [body["batch_id"]]
    assert "jobs" not in listed["workflows"][0]
    # It is a batch.
    assert client.get(f"/pipeline/batches/{body['batch_id']}").get_json()["workflow"] is True
    assert client.get(f"/pipeline/jobs/{cut.job_id}").get_json()["name"] == "cut"


def test_a_repeated_request_gets_the_same_workflow(client: FlaskClient) -> None:
    first, again = (create(client, *JOBS, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.get_json() == first.get_json()


def test_each_wrong_job_is_named_and_none_is_made(client: FlaskClient, world: World) -> None:
    wrong = [
        {**SLEEP, "name": "a"},
        {**SLEEP, "name": "b", "priority": 99},
        {"name": "-"},
        {**SLEEP, "name": "c", "metadata": {"x": 2**70}},
        5,
    ]
    problem = problem_of(create(client, *wrong), 422, "invalid_input", "jobs.1.priority")
    assert [error["field"] for error in problem["errors"]] == ["jobs.1.priority", "jobs.2.name", "jobs.3.metadata.x", "jobs.4.body"]
    assert [error["message"][:3] == f"{name}: " for error, name in zip(problem["errors"], "b-c5", strict=True)] == [
        True,
        False,
        True,
        False,
    ]
    assert world.ids() == []


@each(
    ("jobs", "field", "said"),
    [
        ([{**SLEEP, "name": "a", "depends_on": ["b"]}, {**SLEEP, "name": "b", "depends_on": ["a"]}], None, " -> "),
        ([{**SLEEP, "name": "a"}, {**SLEEP, "name": "a"}], "jobs.1.name", "a is the name of jobs.0"),
        ([{**SLEEP, "name": "a", "depends_on": ["job_1_00000000"]}], "jobs.0.depends_on.0", "no job job_1_00000000 in this workflow"),
        ([{**SLEEP, "name": "a", "depends_on": ["b:c"]}], "jobs.0.depends_on.0", "a: "),
        ([{**SLEEP, "name": "a", "depends_on": [str(i) for i in range(101)]}], "jobs.0.depends_on", "100"),
        ([{**SLEEP, "name": "a", "on_dependency_failure": "ignore"}], "jobs.0.on_dependency_failure", "a: "),
        ([SLEEP], "jobs.0.name", ""),
        ([], "jobs", ""),
    ],
)
def test_what_is_no_graph(client: FlaskClient, jobs: list[Any], field: str | None, said: str) -> None:
    response = create(client, *jobs)
    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (422, "invalid_input")
    assert field in (None, problem["field"])
    assert said in json.dumps(problem)


def finish(world: World, client: FlaskClient, job_id: str, outcome: JobStatus) -> None:
    world.store.announce("w1", 10, [])
    run = world.store.claim(job_id, world.record(job_id).fence, worker="w1", run="r")
    world.store.finish(job_id, getattr(run, "fence", 0), outcome, result={"success": True, "data": {}}, error="x")


def test_the_life_of_a_workflow(client: FlaskClient, world: World) -> None:
    body = create(client, {**SLEEP, "name": "a"}, {**SLEEP, "name": "b", "depends_on": ["a"]}, {**SLEEP, "name": "c"}).get_json()
    path, ids = body["urls"]["self"], body["job_ids"]
    problem_of(client.post(f"{path}/retry"), 409, "job_not_ended")
    world.store.announce("w1", 10, [])
    finish(world, client, ids["a"], JobStatus.FAILED)
    finish(world, client, ids["c"], JobStatus.COMPLETED)
    seen = client.get(path).get_json()
    assert {job["name"]: (job["status"], job["error_code"]) for job in seen["jobs"]} == {
        "a": ("failed", None), "b": ("failed", "dependency_failed"), "c": ("completed", None),
    }  # fmt: skip
    made = client.post(f"{path}/retry", headers={"Idempotency-Key": "k"})
    assert made.status_code == 201
    again = made.get_json()
    bodies.NewWorkflow.model_validate(again)
    assert (again["retry_of"], set(again["job_ids"]), made.headers["Location"]) == (body["batch_id"], {"a", "b"}, again["urls"]["self"])
    assert client.post(f"{path}/retry", headers={"Idempotency-Key": "k"}).headers["Idempotent-Replayed"] == "true"
    cancelled = client.delete(again["urls"]["self"])
    bodies.WorkflowRemoval.model_validate(cancelled.get_json())
    assert (cancelled.status_code, cancelled.get_json()["status"], cancelled.get_json()["jobs"]) == (200, "cancelled", 2)
    gone = client.delete(path).get_json()
    assert gone == {"batch_id": body["batch_id"], "status": "deleted", "jobs": 3, "more": False}
    problem_of(client.get(path), 404, "unknown_batch")


def test_the_graph_as_text_and_as_picture(client: FlaskClient) -> None:
    path = create(client, *JOBS).get_json()["urls"]["self"]
    text = client.get(f"{path}.mmd")
    assert text.content_type == "text/plain; charset=utf-8"
    assert '  n0["cut"]:::queued\n  n1["mail"]:::queued\n  n0 --> n1\n' in text.get_data(as_text=True)
    picture = client.get(f"{path}.svg")
    assert picture.content_type == "image/svg+xml; charset=utf-8"
    assert len(list(ET.fromstring(picture.data).iter("{http://www.w3.org/2000/svg}rect"))) == 2
    for ending in (".mmd", ".svg", "", "/events"):
        problem_of(client.get(f"{WORKFLOWS}/batch_1_00000000{ending}"), 404, "unknown_batch")
        problem_of(client.get(f"{WORKFLOWS}/x{ending}"), 404, "unknown_batch")


def test_a_batch_is_no_workflow(client: FlaskClient) -> None:
    batch_id = client.post("/pipeline/batches", json={"jobs": [SLEEP]}).get_json()["batch_id"]
    problem_of(client.get(f"{WORKFLOWS}/{batch_id}"), 404, "unknown_batch")
    assert client.get(WORKFLOWS).get_json()["workflows"] == []


def test_its_events_as_pages_and_as_a_stream_that_ends(client: FlaskClient, world: World) -> None:
    body = create(client, *JOBS).get_json()
    create(client, {**SLEEP, "name": "other"})
    path = body["urls"]["events"]
    page = client.get(path).get_json()
    event_bodies.WorkflowPage.model_validate(page)
    assert ([event["type"] for event in page["events"]], page["complete"]) == (["job.created"] * 2, False)
    client.post(body["urls"]["cancel"])
    rest = client.get(f"{path}?after={page['reached']}").get_json()
    assert [event["type"] for event in rest["events"]] == ["job.cancelled"] * 2 + ["batch.completed"]
    assert rest["complete"] is True
    with client.get(path, headers={"Accept": "text/event-stream"}) as stream:
        told = stream.get_data(as_text=True)
    assert re.findall(r'"type":"([a-z.]+)"', told) == ["job.created"] * 2 + ["job.cancelled"] * 2 + ["batch.completed"]
    last = re.findall(r"^id: (.*)$", told, re.MULTILINE)[-1]
    assert client.get(path, headers={"Accept": "text/event-stream", "Last-Event-ID": last}).status_code == 204
    problem_of(client.get(path, headers={"Accept": "text/event-stream", "Last-Event-ID": "x"}), 422, "invalid_input")


def test_a_stream_of_a_workflow_whose_events_are_no_more_is_none(client: FlaskClient, world: World) -> None:
    body = create(client, *JOBS).get_json()
    client.post(body["urls"]["cancel"])
    world.store.client.delete(world.store.keys("feed", body["tenant_id"]))
    assert client.get(body["urls"]["events"], headers={"Accept": "text/event-stream"}).status_code == 204


def test_the_page_of_a_workflow(client: FlaskClient, world: World) -> None:
    body = create(client, *JOBS).get_json()
    path = f"/pipeline/ui/workflows/{body['batch_id']}"
    text = client.get(path).get_data(as_text=True)
    assert f'href="/pipeline/ui/jobs/{body["job_ids"]["cut"]}"' in text
    assert '<g class="node queued">' in text
    assert "Cancel the workflow" in text
    # Each job leads to it.
    assert f'href="{path}"' in client.get(f"/pipeline/ui/jobs/{body['job_ids']['mail']}").get_data(as_text=True)
    part = client.get(path, headers={"HX-Request": "true"}).get_data(as_text=True)
    assert "<html" not in part
    assert "data-final" not in part
    own = {"Origin": "http://localhost"}
    assert client.post(f"{path}/cancel", headers=own).status_code == 303
    ended = client.get(path).get_data(as_text=True)
    assert "data-final" in ended
    token = re.findall(r'name="token" value="([^"]+)"', ended)[0]
    made = [client.post(f"{path}/retry", data={"token": token}, headers=own).headers["Location"] for _ in range(2)]
    assert made[0] == made[1] != path
    assert f'href="{path}"' in client.get(made[0]).get_data(as_text=True)
