"""Webhook endpoints, secrets and the ledger over HTTP."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient

from pipeline_jobs.access.api_keys import ALL, Role
from pipeline_jobs.states import JobStatus
from tests.cases import each

from .checks import problem_of
from .conftest import MakeClient
from .test_auth import Caller
from .world import World

HOOKS = "/pipeline/webhook-endpoints"
URL = "https://hooks.example/x?token=t0ken"


class TestEndpoints:
    def test_the_secret_is_shown_as_it_is_made_and_rotated_and_never_else(self, client: FlaskClient) -> None:
        made = client.post(HOOKS, json={"url": URL})
        assert (made.status_code, made.get_json()["secret"][:6], made.get_json()["tenant_id"]) == (201, "whsec_", "default")
        path = made.headers["Location"]
        secret = client.post(f"{path}/rotate").get_json()["secret"]
        assert (secret[:6], secret != made.get_json()["secret"]) == ("whsec_", True)
        for answer in (client.get(path), client.get(HOOKS), client.patch(path, json={}), client.post(f"{path}/test"), client.get(HOOKS)):
            assert "whsec" not in answer.text

    def test_what_is_absent_stays_and_the_list_ends_after_its_pages(self, client: FlaskClient) -> None:
        paths = [client.post(HOOKS, json={"url": URL, "events": ["job.failed"]}).headers["Location"] for _ in range(3)]
        changed = client.patch(paths[0], json={"description": "x", "enabled": False}).get_json()
        assert (changed["url"], changed["events"], changed["description"], changed["enabled"]) == (URL, ["job.failed"], "x", False)
        first = client.get(f"{HOOKS}?limit=2").get_json()
        second = client.get(f"{HOOKS}?limit=2&cursor={first['next_cursor']}").get_json()
        assert (first["count"], second["count"], second["next_cursor"]) == (2, 1, None)

    @each(
        ("body", "field"),
        [
            ({}, "url"), ({"url": "http://hooks.example/"}, "url"), ({"url": "https://127.0.0.1/"}, "url"), ({"url": "x" * 3000}, "url"),
            ({"url": URL, "events": ["job.born"]}, "events.0"), ({"url": URL, "events": "job.failed"}, "events"),
            ({"url": URL, "secret": "whsec_mine"}, "secret"), ({"url": URL, "description": "a\nb"}, "description"),
        ],
    )  # fmt: skip
    def test_a_wrong_one_is_refused_by_the_field(self, client: FlaskClient, body: dict[str, Any], field: str) -> None:
        problem_of(client.post(HOOKS, json=body), 422, field=field)

    def test_a_disabled_one_is_not_tested(self, client: FlaskClient) -> None:
        path = client.post(HOOKS, json={"url": URL}).headers["Location"]
        client.patch(path, json={"enabled": False})
        problem_of(client.post(f"{path}/test"), 409, "endpoint_disabled")

    def test_a_deleted_one_is_unknown_as_any_other(self, client: FlaskClient) -> None:
        path = client.post(HOOKS, json={"url": URL}).headers["Location"]
        assert client.delete(path).get_json()["status"] == "deleted"
        for gone in (path, f"{HOOKS}/x", f"{HOOKS}/whep_00000000000000ff"):
            problem_of(client.get(gone), 404, "unknown_endpoint")

    def test_what_was_done_is_in_the_audit_log_without_the_address(self, client: FlaskClient, world: World) -> None:
        path = client.post(HOOKS, json={"url": URL}).headers["Location"]
        client.patch(path, json={"description": "x"})
        client.post(f"{path}/rotate")
        client.delete(path)
        client.post("/pipeline/tenants/acme/webhook-secret/rotate")
        assert [row.action for row in reversed(world.audit)] == [
            "webhook_endpoint.created", "webhook_endpoint.changed", "webhook_endpoint.rotated", "webhook_endpoint.deleted",
            "webhook_secret.rotated",
        ]  # fmt: skip
        assert not any("t0ken" in str(row) or "whsec" in str(row) for row in world.audit)


class TestSecrets:
    def test_a_tenants_secret_can_be_read_and_rotated(self, client: FlaskClient) -> None:
        path = "/pipeline/tenants/acme/webhook-secret"
        first = client.get(path).get_json()
        assert first == {"tenant_id": "acme", "secret": first["secret"], "old_secret_until": None}
        rotated = client.post(f"{path}/rotate").get_json()
        assert (rotated["secret"] != first["secret"], rotated["old_secret_until"] is not None) == (True, True)
        problem_of(client.get("/pipeline/tenants/*/webhook-secret"), 422, field="tenant_id")

    def test_one_that_was_made_with_another_key_is_said_so(self, client: FlaskClient, make_client: MakeClient) -> None:
        assert make_client(secret_key="another").get("/pipeline/tenants/acme/webhook-secret").status_code == 200
        problem_of(client.get("/pipeline/tenants/acme/webhook-secret"), 409, "webhook_key_changed")


class TestLedger:
    def test_a_delivery_tells_no_more_of_the_address_than_where_it_is(self, client: FlaskClient) -> None:
        path = client.post(HOOKS, json={"url": URL}).headers["Location"]
        tested = client.post(f"{path}/test")
        assert (tested.status_code, tested.get_json()["origin"]) == (202, "https://hooks.example")
        shown = client.get(tested.headers["Location"])
        listed = client.get("/pipeline/deliveries?tenant_id=default&status=pending")
        again = client.post(f"{tested.headers['Location']}/redeliver")
        assert (again.status_code, listed.get_json()["count"]) == (202, 1)
        assert not any("t0ken" in answer.text for answer in (tested, shown, listed, again))

    def test_a_key_of_all_tenants_must_say_whose(self, client: FlaskClient) -> None:
        problem_of(client.get("/pipeline/deliveries"), 422, field="tenant_id")
        problem_of(client.get("/pipeline/deliveries?tenant_id=a&status=lost"), 422, field="status")
        problem_of(client.get("/pipeline/deliveries/msg_x"), 404, "unknown_delivery")

    def test_of_a_workspace_one_sees_its_own_only(self, client: FlaskClient, world: World) -> None:
        world.key(ALL, Role.ADMIN)
        _, text = world.key(workspace_id="blog")
        mine = Caller(client, text)
        world.cell.webhooks.endpoints.create("acme", URL, ["job.cancelled"])
        jobs = [world.put("acme", workspace, status=JobStatus.CANCELLED) for workspace in ("blog", "main")]
        job_id = jobs[0].job_id
        ids = [world.cell.webhooks.ledger.of_subject(job.job_id)[0].delivery_id for job in jobs]
        assert mine("GET", f"/pipeline/deliveries/{ids[0]}").status_code == 200
        problem_of(mine("GET", f"/pipeline/deliveries/{ids[1]}"), 404, "unknown_delivery")
        problem_of(mine("POST", f"/pipeline/deliveries/{ids[1]}/redeliver"), 404, "unknown_delivery")
        assert mine("GET", f"/pipeline/jobs/{job_id}/deliveries").get_json()["count"] == 1
        problem_of(mine("GET", "/pipeline/deliveries"), 403, "forbidden")


class TestJobs:
    def test_a_job_shows_its_webhook(self, client: FlaskClient) -> None:
        body = {"url": "https://media.example/a.mp4", "webhook": {"url": URL, "events": ["job.failed"]}}
        assert client.post("/pipeline/jobs", json=body).get_json()["webhook"] == {"url": URL, "events": ["job.failed"]}

    @each(
        ("webhook", "field"),
        [
            ({}, "webhook.url"), ("https://x", "webhook"), ({"url": "https://10.0.0.1/"}, "webhook.url"),
            ({"url": URL, "events": ["x"]}, "webhook.events.0"), ({"url": URL, "more": 1}, "webhook.more"),
        ],
    )  # fmt: skip
    def test_a_wrong_one_is_refused_by_the_field(self, client: FlaskClient, webhook: object, field: str) -> None:
        problem_of(client.post("/pipeline/jobs", json={"url": "https://media.example/a.mp4", "webhook": webhook}), 422, field=field)

    def test_too_many_waiting_is_429(self, client: FlaskClient, world: World) -> None:
        waiting = {f"msg_{n}": n for n in range(100_000)}
        world.store.client.zadd(world.store.keys("deliveries_in", "default", "pending"), waiting)
        answer = client.post("/pipeline/jobs", json={"url": "https://media.example/a.mp4"})
        problem_of(answer, 429, "webhooks_full")
        assert answer.headers["Retry-After"] == "300"
