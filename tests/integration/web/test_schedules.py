"""`/pipeline/schedules` over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.tenants import TenantLimits
from tests.cases import each
from tests.integration.web.checks import problem_of
from tests.integration.web.conftest import MakeClient
from tests.integration.web.world import World

PATH = "/pipeline/schedules"
NIGHTLY = {
    "name": "nightly", "cron": "30 3 * * *", "timezone": "Europe/Berlin", "tenant_id": "acme",
    "job": {"pipeline": "sleep", "params": {"seconds": 1}},
}  # fmt: skip


def nights(n: int, hour: int = 3, minute: int = 30) -> list[str]:
    """The next so many moments at which it is that time in Berlin, in UTC."""
    now = datetime.now(ZoneInfo("Europe/Berlin"))
    first = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    days = (first + timedelta(days=day) for day in range(n + 1))
    return [f"{day.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000Z" for day in days if day > now][:n]


def make(client: FlaskClient, **changes: Any) -> dict[str, Any]:
    answer = client.post(PATH, json={**NIGHTLY, **changes})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.get_json()
    return body


def test_one_is_made_seen_and_listed(client: FlaskClient, world: World) -> None:
    answer = client.post(PATH, json=NIGHTLY)
    made = answer.get_json()
    assert (answer.status_code, answer.headers["Location"]) == (201, f"{PATH}/{made['schedule_id']}")
    assert made["job"] == {"pipeline": "sleep", "params": {"seconds": 1}}
    assert made["upcoming"] == nights(5)
    assert (made["next_run_at"], made["last_run_at"], made["recent"]) == (made["upcoming"][0], None, [])
    assert client.get(f"{PATH}/{made['schedule_id']}?upcoming=1").get_json() == {**made, "upcoming": made["upcoming"][:1]}
    listed = client.get(PATH + "?tenant_id=acme").get_json()
    assert listed == {
        "schedules": [{name: value for name, value in made.items() if name not in ("upcoming", "recent")}], "count": 1, "next_cursor": None,
    }  # fmt: skip
    assert world.audit[0].action == "schedule.created"
    assert world.audit[0].target == made["schedule_id"]


def test_the_defaults_are_the_careful_ones(client: FlaskClient) -> None:
    made = client.post(PATH, json={"cron": "0 * * * *", "job": {"pipeline": "sleep"}}).get_json()
    shown = {name: made[name] for name in ("timezone", "overlap", "catch_up", "paused", "tenant_id", "workspace_id", "name")}
    assert shown == {
        "timezone": "UTC", "overlap": "skip", "catch_up": "none", "paused": False, "tenant_id": "default", "workspace_id": "main",
        "name": "",
    }  # fmt: skip


@each(
    ("changes", "field", "says"),
    [
        ({"cron": "61 * * * *"}, "cron", "the minute must be 0-59"),
        ({"cron": "* * * * * *"}, "cron", "five fields"),
        ({"cron": "daily"}, "cron", "five fields"),
        ({"cron": ""}, "cron", "five fields"),
        ({"cron": "0 0 31 2 *"}, "cron", "day-of-month"),
        ({"cron": 5}, "cron", ""),
        ({"timezone": "Europe/Berln"}, "timezone", "did you mean Europe/Berlin?"),
        ({"overlap": "allow"}, "overlap", ""),
        ({"catch_up": "some"}, "catch_up", ""),
        ({"paused": 1}, "paused", ""),
        ({"name": "a\nb"}, "name", ""),
        ({"tenant_id": "-bad"}, "tenant_id", ""),
        ({"crn": "x"}, "crn", "did you mean 'cron'?"),
        ({"job": None}, "job", ""),
        ({"job": {"pipeline": "nothing"}}, "job.pipeline", ""),
        ({"job": {"pipeline": "sleep", "params": {"seconds": -1}}}, "job.params.seconds", ""),
        ({"job": {"pipeline": "sleep", "params": {"x": "\0"}}}, "job.params.x", "NUL"),
        ({"job": {"pipeline": "sleep", "run_at": "2025-01-03T12:00:00Z"}}, "job.run_at", "unknown field"),
        ({"job": {"pipeline": "sleep", "tenant_id": "other"}}, "job.tenant_id", "unknown field"),
        ({"job": {"pipeline": "sleep", "tags": ["a"] * 21}}, "job.tags", ""),
        ({"job": {}}, "job.url", "url is required"),
    ],
)
def test_what_is_wrong_is_named(client: FlaskClient, changes: dict[str, Any], field: str, says: str) -> None:
    assert says in problem_of(client.post(PATH, json={**NIGHTLY, **changes}), 422, field=field)["detail"]


def test_a_tenant_has_no_more_than_it_may(make_client: MakeClient) -> None:
    client = make_client(max_schedules_per_tenant=1)
    make(client)
    problem_of(client.post(PATH, json=NIGHTLY), 422, "too_many_schedules", "tenant_id")


def test_a_change_says_what_is_left_as_it_is(client: FlaskClient, world: World) -> None:
    made = make(client)
    changed = client.patch(
        f"{PATH}/{made['schedule_id']}", json={"cron": "0 12 * * *", "overlap": "queue", "job": {"pipeline": "sleep"}}
    ).get_json()
    assert (changed["cron"], changed["timezone"], changed["overlap"], changed["name"]) == (
        "0 12 * * *",
        "Europe/Berlin",
        "queue",
        "nightly",
    )
    assert (changed["job"], changed["next_run_at"]) == ({"pipeline": "sleep"}, *nights(1, 12, 0))
    assert world.audit[0].detail == {"tenant_id": "acme", "workspace_id": "main", "fields": ["cron", "job", "overlap"]}
    problem_of(client.patch(f"{PATH}/{made['schedule_id']}", json={"cron": "x"}), 422, field="cron")
    problem_of(client.patch(f"{PATH}/{made['schedule_id']}", json={"timezone": "x"}), 422, field="timezone")
    problem_of(client.patch(f"{PATH}/{made['schedule_id']}", json={"tenant_id": "other"}), 422, field="tenant_id")


def test_paused_it_has_no_next_slot(client: FlaskClient, world: World) -> None:
    path = f"{PATH}/{make(client)['schedule_id']}"
    paused = client.post(path + "/pause")
    assert (paused.status_code, paused.get_json()["paused"], paused.get_json()["next_run_at"], paused.get_json()["upcoming"]) == (
        200,
        True,
        None,
        [],
    )
    assert client.post(path + "/resume").get_json()["next_run_at"] == nights(1)[0]
    assert [row.action for row in world.audit[:2]] == ["schedule.resumed", "schedule.paused"]


def test_run_makes_its_job_now(client: FlaskClient, world: World) -> None:
    made = make(client)
    ran = client.post(f"{PATH}/{made['schedule_id']}/run")
    job = ran.get_json()
    assert (ran.status_code, ran.headers["Location"]) == (201, f"/pipeline/jobs/{job['job_id']}")
    assert (job["tenant_id"], job["tags"]) == ("acme", [f"schedule:{made['schedule_id']}"])
    recent = client.get(f"{PATH}/{made['schedule_id']}").get_json()["recent"]
    assert [(one["outcome"], one["job_id"]) for one in recent] == [("manual", job["job_id"])]
    assert world.audit[0].detail["job_id"] == job["job_id"]


def test_an_idempotency_key_makes_one_and_the_repetition_is_answered_with_it(client: FlaskClient, world: World) -> None:
    key = {"Idempotency-Key": "k"}
    first = client.post(PATH, json=NIGHTLY, headers=key)
    path = first.headers["Location"]
    client.post(path + "/pause")
    again = client.post(PATH, json=NIGHTLY, headers=key)
    assert [answer.headers.get("Idempotent-Replayed") for answer in (first, again)] == [None, "true"]
    assert (again.status_code, again.headers["Location"], again.get_json()["paused"]) == (201, path, True)
    assert [row.action for row in world.audit] == ["schedule.paused", "schedule.created"]
    problem_of(client.post(PATH, json={**NIGHTLY, "name": "x"}, headers=key), 422, "idempotency_key_reused")
    problem_of(client.post(PATH, json={**NIGHTLY, "job": {"pipeline": "sleep"}}, headers=key), 422, "idempotency_key_reused")
    assert "Idempotent-Replayed" not in client.post(PATH, json={**NIGHTLY, "tenant_id": "other"}, headers=key).headers
    client.delete(path)
    problem_of(client.post(PATH, json=NIGHTLY, headers=key), 409, "schedule_gone")


def test_an_idempotency_key_makes_one_run(client: FlaskClient, world: World) -> None:
    path, other = (f"{PATH}/{make(client)['schedule_id']}/run" for _ in range(2))
    key = {"Idempotency-Key": "k"}
    first, again = (client.post(path, headers=key) for _ in range(2))
    assert [answer.headers.get("Idempotent-Replayed") for answer in (first, again)] == [None, "true"]
    assert (again.status_code, again.get_json(), again.headers["Location"]) == (201, first.get_json(), first.headers["Location"])
    assert [row.action for row in world.audit].count("schedule.run") == 1
    problem_of(client.post(other, headers=key), 422, "idempotency_key_reused")
    world.remove(first.get_json()["job_id"])
    problem_of(client.post(path, headers=key), 409, "job_gone")


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_an_idempotency_key_has_its_limits(client: FlaskClient, key: str) -> None:
    made = make(client)
    for path in (PATH, f"{PATH}/{made['schedule_id']}/run"):
        problem_of(client.post(path, json=NIGHTLY, headers={"Idempotency-Key": key}), 422, "invalid_input", "Idempotency-Key")


def test_a_run_says_by_which_rates_its_sender_is_limited(make_client: MakeClient, world: World) -> None:
    client = make_client(submit_rate_per_key=2)
    world.cell.client.set_limits("acme", TenantLimits(submit_rate=10))
    ran = client.post(f"{PATH}/{make(client)['schedule_id']}/run")
    assert ran.headers["RateLimit"] == '"tenant";r=9;t=1, "address";r=1;t=1'
    assert ran.headers["RateLimit-Policy"] == '"tenant";q=10;w=1, "address";q=2;w=1'


def test_removed_it_is_unknown(client: FlaskClient, world: World) -> None:
    path = f"{PATH}/{make(client)['schedule_id']}"
    assert client.delete(path).get_json()["status"] == "deleted"
    for answer in (
        client.delete(path),
        client.get(path),
        client.post(path + "/pause"),
        client.post(path + "/run"),
        client.patch(path, json={}),
    ):
        problem_of(answer, 404, "unknown_schedule")
    assert world.audit[0].action == "schedule.deleted"


def test_pages_follow_each_other(client: FlaskClient) -> None:
    made = [make(client, name=str(n))["schedule_id"] for n in range(3)]
    first = client.get(PATH + "?limit=2").get_json()
    second = client.get(f"{PATH}?limit=2&cursor={first['next_cursor']}").get_json()
    assert [one["schedule_id"] for one in first["schedules"] + second["schedules"]] == made[::-1]
    assert second["next_cursor"] is None
    problem_of(client.get(PATH + "?cursor=x"), 422, field="cursor")
    problem_of(client.get(PATH + "?upcoming=1"), 400, "unknown_parameter")
    problem_of(client.get(PATH + "?workspace_id=main"), 422, field="workspace_id")


@pytest.mark.parametrize("upcoming", ["-1", "101", "x", "1.5"])
def test_upcoming_has_its_limits(client: FlaskClient, upcoming: str) -> None:
    problem_of(client.get(f"{PATH}/{make(client)['schedule_id']}?upcoming={upcoming}"), 422, field="upcoming")


def test_with_the_store_away_it_is_503(client: FlaskClient, world: World) -> None:
    made = make(client)
    world.lose_store()
    for answer in (client.post(PATH, json=NIGHTLY), client.get(PATH), client.get(f"{PATH}/{made['schedule_id']}")):
        problem_of(answer, 503, "store_unavailable")
