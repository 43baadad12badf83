"""Limits, usage, erasure, changes of waiting jobs and idempotency keys over HTTP."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from tests.cases import each
from tests.integration.web.checks import problem_of
from tests.integration.web.conftest import MakeClient
from tests.integration.web.world import World

LIMITS = "/pipeline/tenants/acme/limits"


class TestLimits:
    def test_they_are_empty_until_set_and_set_as_a_whole(self, client: FlaskClient, world: World) -> None:
        assert set(client.get(LIMITS).get_json().values()) == {None}
        put = client.put(LIMITS, json={"weight": 2, "max_concurrent": 4, "paused": False})
        assert (put.status_code, put.get_json()["max_concurrent"]) == (200, 4)
        assert world.cell.client.limits("acme") == TenantLimits(weight=2, max_concurrent=4, paused=False)
        assert client.put(LIMITS, json={}).get_json()["weight"] is None

    def test_the_defaults_of_all_are_those_of_the_star(self, client: FlaskClient, world: World) -> None:
        assert client.put("/pipeline/tenants/*/limits", json={"max_queued": 9}).status_code == 200
        assert world.cell.client.limits("*").max_queued == 9

    def test_a_change_is_in_the_audit_log(self, client: FlaskClient, world: World) -> None:
        client.put(LIMITS, json={"weight": 2})
        row = world.audit[0]
        assert (row.action, row.target, row.detail) == ("limits.changed", "acme", {"weight": 2.0})

    @each(
        ("body", "field"),
        [
            ({"weight": 0}, "weight"),
            ({"weight": "2"}, "weight"),
            ({"max_concurrent": -1}, "max_concurrent"),
            ({"max_concurrent": 1.5}, "max_concurrent"),
            ({"max_concurrent": True}, "max_concurrent"),
            ({"paused": 1}, "paused"),
            ({"submit_rate": 1e9}, "submit_rate"),
            ({"speed": 1}, "speed"),
        ],
    )
    def test_what_is_wrong_is_named(self, client: FlaskClient, body: dict[str, object], field: str) -> None:
        problem_of(client.put(LIMITS, json=body), 422, field=field)


class TestUsage:
    def test_days_are_given_today_first(self, client: FlaskClient, world: World) -> None:
        world.put(status=JobStatus.COMPLETED)
        world.put(status=JobStatus.FAILED)
        days = client.get("/pipeline/tenants/acme/usage?days=3").get_json()["days"]
        assert [day["date"] for day in days] == sorted({day["date"] for day in days}, reverse=True)
        assert [(day["created"], day["failure_rate"]) for day in days] == [(2, 0.5), (0, None), (0, None)]

    @each("days", ["0", "401", "x", "-1", "1.5"])
    def test_days_out_of_range_are_refused(self, client: FlaskClient, days: str) -> None:
        problem_of(client.get(f"/pipeline/tenants/acme/usage?days={days}"), 422, field="days")


class TestErasure:
    def test_a_dry_run_erases_nothing(self, client: FlaskClient, world: World) -> None:
        job = world.put()
        world.finish(job.job_id, result={}, artifacts="x", artifact_bytes=7)
        assert client.delete("/pipeline/tenants/acme?dry_run=true").get_json() == {
            "jobs": 1, "still_live": 0, "artifact_bytes": 7, "done": False,
        }  # fmt: skip
        assert (world.ids(), world.audit) == ([job.job_id], [])

    def test_it_is_done_and_noted(self, client: FlaskClient, world: World) -> None:
        world.put(), world.put("other")
        assert client.delete("/pipeline/tenants/acme").get_json()["done"]
        assert ([world.record(job_id).tenant_id for job_id in world.ids()], world.audit[0].action) == (["other"], "tenant.erased")

    def test_all_tenants_at_once_cannot_be_erased(self, client: FlaskClient) -> None:
        problem_of(client.delete("/pipeline/tenants/*"), 422, field="tenant_id")


class TestChange:
    def test_a_waiting_jobs_priority_is_changed(self, client: FlaskClient) -> None:
        path = client.post("/pipeline/jobs", json={"pipeline": "sleep"}).headers["Location"]
        changed = client.patch(path, json={"priority": 7})
        assert (changed.status_code, changed.get_json()["priority"]) == (200, 7)

    def test_a_running_one_is_not(self, client: FlaskClient, world: World) -> None:
        job_id = client.post("/pipeline/jobs", json={"pipeline": "sleep"}).get_json()["job_id"]
        world.start(job_id)
        problem_of(client.patch(f"/pipeline/jobs/{job_id}", json={"priority": 7}), 409, "job_not_waiting")

    @pytest.mark.parametrize(("body", "field"), [({"priority": 51}, "priority"), ({"run_at": "soon"}, "run_at"), ({"url": "x"}, "url")])
    def test_what_is_wrong_is_named(self, client: FlaskClient, body: dict[str, object], field: str) -> None:
        path = client.post("/pipeline/jobs", json={"pipeline": "sleep"}).headers["Location"]
        problem_of(client.patch(path, json=body), 422, field=field)

    def test_an_unknown_one_is_unknown(self, client: FlaskClient) -> None:
        problem_of(client.patch("/pipeline/jobs/job_1_00000000", json={"priority": 1}), 404, "unknown_job")


class TestIdempotencyKey:
    def test_a_repetition_is_answered_with_the_same_job(self, client: FlaskClient, world: World) -> None:
        answers = [client.post("/pipeline/jobs", json={"pipeline": "sleep"}, headers={"Idempotency-Key": "k"}) for _ in range(3)]
        assert len({answer.get_json()["job_id"] for answer in answers}) == 1
        assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true", "true"]
        assert {answer.status_code for answer in answers} == {201}
        assert len(world.ids()) == 1

    def test_another_request_with_the_same_key_is_refused(self, client: FlaskClient) -> None:
        client.post("/pipeline/jobs", json={"pipeline": "sleep"}, headers={"Idempotency-Key": "k"})
        again = client.post("/pipeline/jobs", json={"pipeline": "sleep", "priority": 1}, headers={"Idempotency-Key": "k"})
        problem_of(again, 422, "idempotency_key_reused")

    def test_a_key_is_the_routes_own_and_a_run_in_flight_is_not_run_again(self, client: FlaskClient, world: World) -> None:
        key = {"Idempotency-Key": "k"}
        job_id = client.post("/pipeline/jobs", json={"pipeline": "sleep"}, headers=key).get_json()["job_id"]
        body = {"pipeline": "sleep", "timeout": 0}
        first = client.post("/pipeline/run", json=body, headers=key)
        assert (first.status_code, first.get_json()["job_id"] != job_id) == (202, True)
        again = client.post("/pipeline/run", json=body, headers=key)
        problem_of(again, 409, "request_in_flight")
        assert again.headers["Location"] == first.headers["Location"]
        world.complete(first.get_json()["job_id"], n=1)
        replayed = client.post("/pipeline/run", json=body, headers=key)
        assert (replayed.status_code, replayed.get_json(), replayed.headers["Idempotent-Replayed"]) == (
            200, {"success": True, "data": {"n": 1}}, "true",
        )  # fmt: skip

    def test_a_key_whose_job_was_removed_makes_no_second_one(self, client: FlaskClient, world: World) -> None:
        made = client.post("/pipeline/jobs", json={"pipeline": "sleep"}, headers={"Idempotency-Key": "k"})
        world.remove(made.get_json()["job_id"])
        problem_of(client.post("/pipeline/jobs", json={"pipeline": "sleep"}, headers={"Idempotency-Key": "k"}), 409, "job_gone")

    @pytest.mark.parametrize("key", ["", "x" * 256])
    def test_a_key_of_a_wrong_length_is_refused(self, client: FlaskClient, key: str) -> None:
        problem_of(client.post("/pipeline/jobs", json={"pipeline": "sleep"}, headers={"Idempotency-Key": key}), 422)


@pytest.mark.parametrize(
    ("limits", "changes", "status", "code"),
    [
        (TenantLimits(max_queued=1), {}, 429, "queue_full"),
        (TenantLimits(submit_rate=0.1), {}, 429, "rate_limited"),
        (TenantLimits(), {"max_queued": 1}, 503, "store_full"),
    ],
)
def test_too_much_is_said_with_the_time_to_come_again(
    make_client: MakeClient, world: World, limits: TenantLimits, changes: dict[str, int], status: int, code: str
) -> None:
    client = make_client(**changes)
    world.cell.client.set_limits("default", limits)
    assert client.post("/pipeline/jobs", json={"pipeline": "sleep"}).status_code == 201
    refused = client.post("/pipeline/jobs", json={"pipeline": "sleep"})
    problem_of(refused, status, code)
    assert int(refused.headers["Retry-After"]) >= 1
    assert ("RateLimit" in refused.headers) == (code == "rate_limited")


def test_what_may_still_be_sent_is_said_with_each_new_job(client: FlaskClient, make_client: MakeClient, world: World) -> None:
    assert "RateLimit" not in client.post("/pipeline/jobs", json={"pipeline": "sleep"}).headers
    world.cell.client.set_limits("default", TenantLimits(submit_rate=10))
    slow = make_client(submit_rate_per_key=0.5)
    for n, path in enumerate(("/pipeline/jobs", "/pipeline/run"), 1):
        address = {"REMOTE_ADDR": f"127.0.0.{n}"}
        made = slow.post(path, json={"pipeline": "sleep"} | ({"timeout": 0} if path.endswith("run") else {}), environ_overrides=address)
        assert made.headers["RateLimit-Policy"] == '"tenant";q=10;w=1, "address";q=1;w=2'
        assert re.fullmatch(r'"tenant";r=\d+;t=\d, "address";r=0;t=2', made.headers["RateLimit"])


class TestPipelineLimits:
    PATH = "/pipeline/pipelines/sleep/limits"

    def test_a_cap_is_set_seen_and_taken_away(self, client: FlaskClient, world: World) -> None:
        world.store.set_pipeline_cap("sleep", 4, declared=True)
        world.put(status=JobStatus.RUNNING)
        assert client.get(self.PATH).get_json() == {"max_concurrent": None, "declared": 4, "current": 1}
        assert client.put(self.PATH, json={"max_concurrent": 2}).get_json()["max_concurrent"] == 2
        row = world.audit[0]
        assert (row.action, row.target, row.detail) == ("pipeline_limits.changed", "sleep", {"max_concurrent": 2})
        assert client.put(self.PATH, json={"max_concurrent": None}).get_json()["max_concurrent"] is None

    @pytest.mark.parametrize("body", [{}, {"max_concurrent": -1}, {"max_concurrent": 1.5}, {"max_concurrent": True}])
    def test_what_is_wrong_is_named(self, client: FlaskClient, body: dict[str, object]) -> None:
        problem_of(client.put(self.PATH, json=body), 422, field="max_concurrent")

    def test_an_unknown_pipeline_is_not_found(self, client: FlaskClient) -> None:
        problem_of(client.get("/pipeline/pipelines/ghost/limits"), 404, "unknown_pipeline")
