"""A field that was given another name is taken by both for a while, in every way in; who uses the former one is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import NewJob
from pipeline_jobs.schedules.schedule import Schedule
from pipeline_jobs.store import idempotency

from .checks import problem_of
from .world import World

JOB = {"pipeline": "sleep", "tenant_id": "acme"}
#: Ways in, and where in the body the job stands.
WAYS: list[tuple[str, Any]] = [
    ("/pipeline/jobs", lambda job: job),
    ("/pipeline/run", lambda job: {**job, "timeout": 0.01}),
    ("/pipeline/batches", lambda job: {"tenant_id": "acme", "jobs": [{name: job[name] for name in job if name != "tenant_id"}]}),
    (
        "/pipeline/schedules",
        lambda job: {"cron": "0 0 1 1 *", "tenant_id": "acme", "job": {name: job[name] for name in job if name != "tenant_id"}},
    ),
]


@pytest.mark.parametrize(("path", "body"), WAYS, ids=[path for path, _ in WAYS])
def test_every_way_in_takes_both_names_and_tells_who_uses_the_former(world: World, client: FlaskClient, path: str, body: Any) -> None:
    now = client.post(path, json=body({**JOB, "start_within_seconds": 7}))
    former = client.post(path, json=body({**JOB, "ttl_seconds": 7}))
    both = client.post(path, json=body({**JOB, "ttl_seconds": 7, "start_within_seconds": 7}))
    assert [answer.status_code // 100 for answer in (now, former, both)] == [2, 2, 2], former.text
    assert ["Deprecation" in answer.headers for answer in (now, former, both)] == [False, True, True]
    for job_id in world.ids():
        shown = client.get(f"/pipeline/jobs/{job_id}").get_json()
        assert (shown["start_within_seconds"], shown["ttl_seconds"]) == (7, 7)
    assert client.get("/pipeline/jobs?tenant_id=acme").headers.get("Deprecation") is None


def test_two_values_are_refused_by_the_former_name(client: FlaskClient) -> None:
    refused = client.post("/pipeline/jobs", json={**JOB, "ttl_seconds": 7, "start_within_seconds": 8})
    assert problem_of(refused, 422)["field"] == "ttl_seconds"
    with pytest.raises(InvalidInput, match="ttl_seconds"):
        NewJob.of({"start_within_seconds": 8, "ttl_seconds": 7})


def test_a_request_that_is_repeated_by_the_other_name_is_the_same(client: FlaskClient) -> None:
    first, again = (
        client.post("/pipeline/jobs", json={**JOB, name: 7}, headers={"Idempotency-Key": "k"})
        for name in ("ttl_seconds", "start_within_seconds")
    )
    assert (again.headers["Idempotent-Replayed"], again.get_json()["job_id"]) == ("true", first.get_json()["job_id"])


def test_what_is_kept_has_the_former_name_for_the_release_before(world: World, client: FlaskClient) -> None:
    made = client.post("/pipeline/jobs", json={**JOB, "start_within_seconds": 7}).get_json()
    assert world.store.record("job", made["job_id"])["ttl_seconds"] == "7.0"
    batch = client.post("/pipeline/batches", json={"tenant_id": "acme", "jobs": [{"pipeline": "sleep", "start_within_seconds": 7}]})
    assert world.store.record("job", batch.get_json()["job_ids"][0])["ttl_seconds"] == "7.0"
    schedule = client.post(
        "/pipeline/schedules", json={"cron": "0 0 1 1 *", "tenant_id": "acme", "job": {"pipeline": "sleep", "start_within_seconds": 7}}
    ).get_json()
    assert schedule["job"]["start_within_seconds"] == 7
    flat = world.store.record("schedule", schedule["schedule_id"])
    assert json.loads(flat["job"])["ttl_seconds"] == 7
    assert Schedule.from_mapping(flat).template.start_within_seconds == 7
    old, new = idempotency.forms_of_job(NewJob(pipeline="sleep", start_within_seconds=7))
    assert old is not None
    assert (json.loads(new), "start_within" in new) == ({"pipeline": "sleep", "ttl_seconds": 7}, False)
