"""Who may: keys, roles, tenants, and what is answered to those who may not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from pipeline_jobs.access import audit
from pipeline_jobs.access.api_keys import ALL, Role
from pipeline_jobs.job import rfc3339
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.access import auth
from pipeline_jobs.web.access import key_cache as keyring
from pipeline_jobs.web.access import throttle as failures
from pipeline_jobs.web.access.policy import POLICIES, Policy
from pipeline_jobs.web.access.throttle import BURST
from pipeline_jobs.web.app import create_app
from pipeline_jobs.web.schemas.audit import AuditPage, AuditRow
from pipeline_jobs.web.schemas.keys import ApiKey, ApiKeyList, NewApiKey
from pipeline_jobs.web.state import EXTENSION
from tests.cases import each

from .checks import problem_of
from .conftest import MakeClient
from .world import NOON, URL, World

#: Not this machine.
AWAY = {"REMOTE_ADDR": "203.0.113.9"}
WRONG = "pjk_00000000000000ff_" + "x" * 43
PAST, FUTURE = NOON, 32_503_680_000_000


@pytest.fixture(autouse=True)
def _a_slow_machine_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cached stays so, and no failure is forgotten, while a test runs: `test_auth_memory` has the times."""
    monkeypatch.setattr(keyring, "CACHE_SECONDS", 3600.0)
    monkeypatch.setattr(failures, "SECONDS_EACH", 3600.0)


class Caller:
    """A client elsewhere with a key."""

    def __init__(self, client: FlaskClient, text: str | None) -> None:
        self.client, self.text = client, text

    def __call__(self, method: str, path: str, **options: Any) -> TestResponse:
        headers = {**({} if self.text is None else {"Authorization": f"Bearer {self.text}"}), **options.pop("headers", {})}
        environ = {**AWAY, **options.pop("environ_overrides", {})}
        return self.client.open(path, method=method, headers=headers, environ_overrides=environ, **options)


@pytest.fixture
def asked(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the store about keys, in order."""
    found: list[str] = []

    def spied(name: str) -> Callable[..., Any]:
        method = getattr(world.keys, name)
        return lambda *arguments: (found.append(" ".join(map(str, (name, *arguments[:1])))), method(*arguments))[1]

    for name in ("get", "required", "touch"):
        monkeypatch.setattr(world.keys, name, spied(name))
    return found


class TestWithoutAnyKey:
    def test_this_machine_is_served(self, client: FlaskClient) -> None:
        for address in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
            assert client.get("/pipeline/jobs", environ_overrides={"REMOTE_ADDR": address}).status_code == 200

    @pytest.mark.parametrize(
        "address", ["203.0.113.9", "10.0.0.1", "172.17.0.1", "::2", "::ffff:10.0.0.1", "", "localhost.evil", "0.0.0.0"]
    )
    def test_no_other_is(self, client: FlaskClient, address: str) -> None:
        body = problem_of(client.get("/pipeline/jobs", environ_overrides={"REMOTE_ADDR": address}), 403, "loopback_only")
        assert "jobs key create" in body["detail"]

    @pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
    def test_nor_is_one_behind_a_proxy_on_this_machine(self, client: FlaskClient, header: str) -> None:
        problem_of(client.get("/pipeline/jobs", headers={header: "203.0.113.9"}), 403, "loopback_only")

    def test_an_authorization_that_is_no_key_of_ours_is_passed_over(self, client: FlaskClient) -> None:
        for value in ("Basic YTpi", "Bearer x", f"Bearer {WRONG}", "", "Bearer"):
            assert client.get("/pipeline/jobs", headers={"Authorization": value}).status_code == 200

    def test_every_tenant_is_open(self, client: FlaskClient, world: World) -> None:
        world.put("acme")
        assert client.post("/pipeline/jobs", json={"url": URL, "tenant_id": "other"}).status_code == 201
        assert client.get("/pipeline/jobs").get_json()["count"] == 2

    def test_the_first_key_is_not_made_by_http(self, client: FlaskClient, world: World) -> None:
        problem_of(client.post("/pipeline/tenants/acme/keys", json={"role": "admin"}), 403, "no_key_yet")
        assert world.keys.list() == []

    def test_it_is_said_once_in_the_log(self, client: FlaskClient, world: World) -> None:
        with capture_logs() as logs:
            for _ in range(3):
                client.get("/pipeline/jobs")
        assert [line["event"] for line in logs] == ["no_api_key_so_loopback_only"]

    def test_with_the_store_away_nobody_is_let_in(self, client: FlaskClient, world: World) -> None:
        world.lose_store(known=False)
        problem_of(client.get("/pipeline/pipelines"), 503, "store_unavailable")
        problem_of(client.get("/health/ready"), 503, "not_ready")

    def test_without_the_queue_there_is_no_store_to_ask(self, make_client: MakeClient, world: World) -> None:
        client = make_client(enable_job_queue=False)
        world.lose_store(known=False)
        assert client.post("/pipeline/run", json={"url": URL}, headers={"Authorization": f"Bearer {WRONG}"}).status_code == 200
        problem_of(client.post("/pipeline/run", json={"url": URL}, environ_overrides=AWAY), 403, "loopback_only")

    def test_the_setting_asks_for_keys_all_the_same(self, make_client: MakeClient) -> None:
        client = make_client(require_keys=True)
        for path in ("/pipeline/jobs", "/metrics", "/health/ready", "/health/installation", "/pipeline/pipelines"):
            problem_of(client.get(path), 401, "unauthorized")
        problem_of(make_client(require_keys=True, enable_job_queue=False).post("/pipeline/run", json={"url": URL}), 401)
        assert client.get("/health/live").status_code == 200


class TestWithAKey:
    def test_it_opens(self, client: FlaskClient, world: World) -> None:
        _, text = world.key()
        assert Caller(client, text)("GET", "/pipeline/jobs").status_code == 200
        for scheme in ("bearer", "BEARER"):
            assert client.get("/pipeline/jobs", headers={"Authorization": f"{scheme}  {text} "}).status_code == 200

    def test_from_then_on_this_machine_needs_one_too(self, client: FlaskClient, world: World) -> None:
        world.key()
        problem_of(client.get("/pipeline/jobs"), 401, "unauthorized")

    def test_within_the_second_in_which_the_first_was_made_it_counts(self, client: FlaskClient, world: World) -> None:
        assert client.get("/pipeline/jobs").status_code == 200
        _, text = world.key("acme", Role.READ)
        response = client.post("/pipeline/jobs", json={"url": URL}, headers={"Authorization": f"Bearer {text}"})
        problem_of(response, 403, "forbidden")

    def test_the_bad_ones_are_answered_alike(self, client: FlaskClient, world: World) -> None:
        good, text = world.key()
        _, revoked = world.key(revoked_at=PAST)
        _, expired = world.key(expires_at=PAST)
        shown = [
            None,
            WRONG,
            revoked,
            expired,
            text[:-1] + ("A" if text[-1] != "A" else "B"),
            f"pjk_{good.key_id}_",
            text + "x",
            "x",
            "é",
            text.upper(),
            "\x00" * 50,
        ]
        answers = set()
        for one in shown:
            environ = {} if one is None else {"HTTP_AUTHORIZATION": f"Bearer {one}"}
            response = client.get("/pipeline/jobs", environ_overrides={**AWAY, **environ}, headers={"X-Request-Id": "same"})
            problem_of(response, 401, "unauthorized")
            assert response.headers["WWW-Authenticate"] == 'Bearer realm="pipeline-jobs"'
            answers.add((response.data, tuple(sorted(response.headers))))
        assert len(answers) == 1

    @pytest.mark.parametrize("where", ["Basic", "Token", "query", "cookie", "body"])
    def test_it_counts_in_one_place_only(self, client: FlaskClient, world: World, where: str) -> None:
        _, text = world.key()
        caller = Caller(client, None)
        options: dict[str, Any] = {
            "query": {"query_string": {"api_key": text}},
            "cookie": {"headers": {"Cookie": f"key={text}"}},
            "body": {"json": {"url": URL, "key": text}},
        }.get(where, {"headers": {"Authorization": f"{where} {text}"}})
        problem_of(caller("POST" if where == "body" else "GET", "/pipeline/jobs", **options), 401, "unauthorized")

    def test_what_is_public_needs_none(self, client: FlaskClient, world: World) -> None:
        world.key()
        caller = Caller(client, None)
        for path in ("/health/live", "/health/accept", "/openapi.json", "/docs"):
            assert caller("GET", path).status_code == 200
        problem_of(caller("GET", "/pipeline/artifacts/a/b/c/1/d?signature=x"), 404, "unknown_artifact")
        problem_of(caller("GET", "/nowhere"), 404, "not_found")
        problem_of(caller("PUT", "/pipeline/jobs"), 405, "method_not_allowed")

    def test_operators_need_one_and_here_readiness_needs_none(self, client: FlaskClient, world: World) -> None:
        _, of_a_tenant = world.key("acme", Role.ADMIN)
        _, of_all = world.key(ALL, Role.READ)
        world.store.announce("w1", 1, [])
        world.store.beat("rescue")
        # Metrics name tenants, and what a proxy here passes on may look as if it came from here.
        for path, here in (("/metrics", 401), ("/health/ready", 200), ("/health/installation", 200)):
            assert client.get(path).status_code == here
            problem_of(client.get(path, headers={"X-Forwarded-For": "203.0.113.9"}), 401)
            problem_of(Caller(client, None)("GET", path), 401)
            problem_of(Caller(client, of_a_tenant)("GET", path), 403, "forbidden")
            assert Caller(client, of_all)("GET", path).status_code == 200

    def test_readiness_is_told_when_the_store_is_away(self, client: FlaskClient, world: World) -> None:
        world.key()
        world.lose_store(known=False)
        problem_of(client.get("/health/ready"), 503, "not_ready")

    def test_a_preflight_needs_one_of_any_role(self, client: FlaskClient, world: World) -> None:
        _, text = world.key("acme", Role.READ)
        problem_of(Caller(client, None)("OPTIONS", "/pipeline/jobs"), 401)
        assert Caller(client, text)("OPTIONS", "/pipeline/jobs").status_code == 200

    def test_no_secret_gets_into_logs_or_answers(self, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        _, text = world.key("acme", Role.READ)
        secret = text.split("_", 2)[2]
        monkeypatch.setattr(world.cell.client, "list", lambda query: 1 / 0)
        with capture_logs() as logs:
            answers = [
                Caller(client, shown)("GET", "/pipeline/jobs")
                for shown in (text, text[:-1] + ("Z" if text[-1] != "Z" else "Y"))
                for _ in range(BURST + 2)
            ]
        assert {answer.status_code for answer in answers} == {500, 401, 429}
        assert {line["event"] for line in logs} >= {"request_failed", "too_many_wrong_keys"}
        assert secret[:-1] not in str([(answer.text, list(answer.headers)) for answer in answers])
        assert secret[:-1] not in str(logs)


class TestCache:
    def test_a_good_key_is_looked_up_once(self, client: FlaskClient, world: World, asked: list[str]) -> None:
        _, text = world.key()
        for _ in range(20):
            assert Caller(client, text)("GET", "/pipeline/jobs").status_code == 200
        assert [one.split()[0] for one in asked] == ["get", "touch"]

    def test_its_expiry_needs_no_look(self, client: FlaskClient, world: World, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        key, text = world.key(expires_at=FUTURE)
        assert Caller(client, text)("GET", "/pipeline/jobs").status_code == 200
        now = time.time
        monkeypatch.setattr(time, "time", lambda: FUTURE / 1000)
        problem_of(Caller(client, text)("GET", "/pipeline/jobs"), 401)
        monkeypatch.setattr(time, "time", now)
        assert asked.count(f"get {key.key_id}") == 1

    def test_when_it_was_used_is_noted_once_a_minute(self, client: FlaskClient, world: World, asked: list[str]) -> None:
        key, text = world.key()
        _, fresh = world.key(last_used_at=int(time.time() * 1000))
        for shown in (text, fresh):
            assert Caller(client, shown)("GET", "/pipeline/jobs").status_code == 200
        assert [one for one in asked if one.startswith("touch")] == [f"touch {key.key_id}"]


class TestWrongKeys:
    def test_too_many_are_429_and_wait_for_each_other(
        self, client: FlaskClient, world: World, asked: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.key()
        caller = Caller(client, WRONG)
        for _ in range(BURST):
            problem_of(caller("GET", "/pipeline/jobs"), 401)
        response = caller("GET", "/pipeline/jobs")
        problem_of(response, 429, "too_many_failures")
        assert int(response.headers["Retry-After"]) >= 1
        # While as many guesses as may are being looked up, the store is not asked for more of them.
        before, places = len(asked), threading.Semaphore(0)
        monkeypatch.setattr(auth, "GUESS_SECONDS", 0.01)
        monkeypatch.setattr(client.application.extensions[EXTENSION].access, "_guesses", places)
        problem_of(caller("GET", "/pipeline/jobs"), 503)
        assert len(asked) == before

    def test_a_good_key_is_never_throttled_whoever_shares_its_address(self, client: FlaskClient, world: World) -> None:
        _, seen = world.key()
        _, unseen = world.key()
        assert Caller(client, seen)("GET", "/pipeline/jobs").status_code == 200
        for _ in range(2 * BURST):
            Caller(client, WRONG)("GET", "/pipeline/jobs")
        assert Caller(client, seen)("GET", "/pipeline/jobs").status_code == 200
        assert Caller(client, unseen)("GET", "/pipeline/jobs").status_code == 200
        problem_of(Caller(client, WRONG)("GET", "/pipeline/jobs"), 429)

    def test_behind_trusted_proxies_an_address_is_the_clients(self, make_client: MakeClient, world: World) -> None:
        world.key()
        client = make_client(trusted_proxies=2)

        def guess(forwarded: str) -> Any:
            return Caller(client, WRONG)("GET", "/pipeline/jobs", headers={"X-Forwarded-For": forwarded})

        for number in range(BURST + 1):
            # What the client itself wrote stands before what the two proxies appended.
            last = guess(f"192.0.2.{number}, 203.0.113.7, 10.0.0.1")
        problem_of(last, 429)
        problem_of(guess("203.0.113.7, 203.0.113.8, 10.0.0.1"), 401)

    def test_without_them_the_header_is_not_believed(self, client: FlaskClient, world: World) -> None:
        world.key()
        answers = [
            Caller(client, WRONG)("GET", "/pipeline/jobs", headers={"X-Forwarded-For": f"192.0.2.{number}"}) for number in range(BURST + 1)
        ]
        problem_of(answers[-1], 429)

    def test_no_key_is_no_failure(self, client: FlaskClient, world: World) -> None:
        world.key()
        for _ in range(2 * BURST):
            problem_of(Caller(client, None)("GET", "/pipeline/jobs"), 401)


class TestTenants:
    @pytest.mark.parametrize("path", ["/pipeline/jobs", "/pipeline/run"])
    def test_a_new_job_is_the_keys(self, client: FlaskClient, world: World, path: str) -> None:
        _, text = world.key(workspace_id="blog")
        caller = Caller(client, text)
        at_once = {"timeout": 0} if path == "/pipeline/run" else {}
        for given in ({}, {"tenant_id": "acme"}, {"workspace_id": "blog"}):
            assert caller("POST", path, json={"url": URL, **at_once, **given}).status_code in (201, 202)
        made = [world.record(job_id) for job_id in world.ids()]
        assert [(job.tenant_id, job.workspace_id) for job in made] == [("acme", "blog")] * 3

    @pytest.mark.parametrize("path", ["/pipeline/jobs", "/pipeline/run"])
    @pytest.mark.parametrize(("field", "value"), [("tenant_id", "other"), ("tenant_id", "default"), ("workspace_id", "main")])
    def test_naming_anothers_is_refused(self, client: FlaskClient, world: World, path: str, field: str, value: str) -> None:
        _, text = world.key(workspace_id="blog")
        response = Caller(client, text)("POST", path, json={"url": URL, field: value})
        problem_of(response, 403, f"foreign_{field.removesuffix('_id')}", field)
        assert world.ids() == []

    def test_a_key_of_a_tenant_reaches_all_its_workspaces(self, client: FlaskClient, world: World) -> None:
        _, text = world.key()
        caller = Caller(client, text)
        for workspace in ("main", "blog"):
            assert caller("POST", "/pipeline/jobs", json={"url": URL, "workspace_id": workspace}).status_code == 201
        assert caller("POST", "/pipeline/jobs", json={"url": URL}).get_json()["workspace_id"] == "main"
        assert caller("GET", "/pipeline/jobs").get_json()["count"] == 3

    def test_a_key_of_all_tenants_names_whom_it_speaks_for(self, client: FlaskClient, world: World) -> None:
        _, text = world.key(ALL)
        caller = Caller(client, text)
        tenants = [
            caller("POST", "/pipeline/jobs", json={"url": URL, **given}).get_json()["tenant_id"] for given in ({}, {"tenant_id": "x"})
        ]
        assert tenants == ["default", "x"]
        assert caller("GET", "/pipeline/jobs").get_json()["count"] == 2

    def test_a_list_has_ones_own_only(self, client: FlaskClient, world: World) -> None:
        first, second, _ = (world.put(*owner).job_id for owner in (("acme", "blog"), ("acme", "main"), ("other", "blog")))
        _, of_tenant = world.key("acme", Role.READ)
        _, of_workspace = world.key("acme", Role.READ, workspace_id="blog")

        def listed(text: str, query: str = "") -> list[str]:
            return [job["job_id"] for job in Caller(client, text)("GET", f"/pipeline/jobs{query}").get_json()["jobs"]]

        assert listed(of_tenant) == [second, first]
        assert listed(of_tenant, "?workspace_id=blog") == [first]
        assert listed(of_workspace) == listed(of_workspace, "?tenant_id=acme&workspace_id=blog") == [first]
        problem_of(Caller(client, of_tenant)("GET", "/pipeline/jobs?tenant_id=other"), 403, "foreign_tenant", "tenant_id")
        problem_of(Caller(client, of_workspace)("GET", "/pipeline/jobs?workspace_id=main"), 403, "foreign_workspace", "workspace_id")

    @pytest.mark.parametrize("owner", [("other", "main"), ("acme", "main")])
    @pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/cancel")])
    @pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED])
    def test_anothers_job_is_an_unknown_one_byte_for_byte(
        self, client: FlaskClient, world: World, owner: tuple[str, str], method: str, tail: str, status: JobStatus
    ) -> None:
        _, text = world.key(workspace_id="blog")
        before = world.put(*owner, status=status)
        # Nothing will happen: a request that waited would fail at the time limit of the tests.
        headers = {"X-Request-Id": "same", "Prefer": "wait=60"}

        def ask() -> TestResponse:
            change = {"json": {"priority": 9}} if method == "PATCH" else {}
            return Caller(client, text)(method, f"/pipeline/jobs/{before.job_id}{tail}", headers=headers, **change)

        foreign = ask()
        problem_of(foreign, 404, "unknown_job")
        assert world.record(before.job_id) == before
        world.remove(before.job_id)
        unknown = ask()
        assert (foreign.data, sorted(foreign.headers)) == (unknown.data, sorted(unknown.headers))

    def test_an_id_that_changes_hands_between_two_looks_is_not_told(self, client: FlaskClient, world: World) -> None:
        _, text = world.key()
        job_id = world.put().job_id

        # As if it had been removed, and made anew by the other.
        world.when_waiting(lambda job_id: world.write(job_id, tenant_id="other"))
        problem_of(Caller(client, text)("GET", f"/pipeline/jobs/{job_id}", headers={"Prefer": "wait=2"}), 404, "unknown_job")
        assert world.record(job_id).tenant_id == "other"


class TestRoles:
    @pytest.mark.parametrize(
        ("method", "path"), [("POST", "/pipeline/jobs"), ("POST", "/pipeline/run"), ("DELETE", "JOB"), ("POST", "JOB/cancel")]
    )
    def test_read_changes_nothing(self, client: FlaskClient, world: World, method: str, path: str) -> None:
        _, text = world.key("acme", Role.READ)
        before = world.put()
        body = {"json": {"url": URL}} if "JOB" not in path else {}
        response = Caller(client, text)(method, path.replace("JOB", f"/pipeline/jobs/{before.job_id}"), **body)
        assert "read" in problem_of(response, 403, "forbidden")["detail"]
        assert [world.record(job_id) for job_id in world.ids()] == [before]

    def test_read_sees(self, client: FlaskClient, world: World) -> None:
        _, text = world.key("acme", Role.READ)
        for path in (f"/pipeline/jobs/{world.put().job_id}", "/pipeline/jobs", "/pipeline/pipelines"):
            assert Caller(client, text)("GET", path).status_code == 200

    @pytest.mark.parametrize("role", [Role.READ, Role.SUBMIT])
    def test_only_admins_have_to_do_with_keys(self, client: FlaskClient, world: World, role: Role) -> None:
        key, text = world.key("acme", role)
        for method, path in (("GET", "keys"), ("POST", "keys"), ("DELETE", f"keys/{key.key_id}")):
            problem_of(Caller(client, text)(method, f"/pipeline/tenants/acme/{path}", json={"role": "read"}), 403, "forbidden")
        assert len(world.keys.list()) == 1
        assert (kept := world.keys.get(key.key_id)) is not None
        assert not kept.to_dict()["revoked"]

    def test_only_admins_of_all_tenants_read_the_audit_log(self, client: FlaskClient, world: World) -> None:
        audit.record(world.store, "cli:me@here", "key.created", "k", {"role": "read"})
        for tenant, role in (("acme", Role.ADMIN), (ALL, Role.SUBMIT), (ALL, Role.READ)):
            problem_of(Caller(client, world.key(tenant, role)[1])("GET", "/pipeline/audit"), 403, "forbidden")
        response = Caller(client, world.key(ALL, Role.ADMIN)[1])("GET", "/pipeline/audit")
        AuditPage.model_validate(response.get_json())
        oldest = response.get_json()["rows"][-1]
        assert oldest.pop("at") == rfc3339(int(oldest.pop("id").partition("-")[0]))
        assert oldest == {"actor": "cli:me@here", "action": "key.created", "target": "k", "detail": {"role": "read"}}

    @pytest.mark.parametrize(
        ("query", "accept"),
        [("?format=jsonl", "*/*"), ("?format=jsonl&limit=1", "application/json"), ("", "application/x-ndjson")],
    )
    def test_the_audit_log_is_exported_as_json_lines(self, client: FlaskClient, world: World, query: str, accept: str) -> None:
        for number in range(120):
            audit.record(world.store, "cli:me@here", "schedule.run", str(number), tenant_id=f"t{number % 7}")
        root = Caller(client, world.key(ALL, Role.ADMIN)[1])
        answer = root("GET", f"/pipeline/audit{query}", headers={"Accept": accept})
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
        rows = [json.loads(line) for line in answer.text.splitlines()]
        for row in rows:
            AuditRow.model_validate(row)
        assert [row["target"] for row in rows[1:]] == [str(number) for number in reversed(range(120))]
        page = root("GET", "/pipeline/audit?format=json", headers={"Accept": accept}).get_json()
        assert page["rows"] == rows[:25]
        # An export that broke off goes on from a page's cursor.
        rest = root("GET", f"/pipeline/audit?format=jsonl&cursor={page['next_cursor']}")
        assert [json.loads(line) for line in rest.text.splitlines()] == rows[25:]
        for wrong in ("format=xml", "format=jsonl&cursor=x"):
            problem_of(root("GET", f"/pipeline/audit?{wrong}"), 422)


class TestKeyRoutes:
    def test_from_made_to_revoked(self, client: FlaskClient, world: World) -> None:
        admin = Caller(client, world.key("acme", Role.ADMIN)[1])
        made = admin("POST", "/pipeline/tenants/acme/keys", json={"role": "submit", "name": "ci", "workspace_id": "blog"})
        body = made.get_json()
        NewApiKey.model_validate(body)
        assert (made.status_code, made.headers["Cache-Control"]) == (201, "no-store")
        assert (body["name"], body["tenant_id"], body["workspace_id"], body["role"], body["revoked"]) == (
            "ci",
            "acme",
            "blog",
            "submit",
            False,
        )
        caller = Caller(client, body["key"])
        assert caller("POST", "/pipeline/jobs", json={"url": URL}).get_json()["workspace_id"] == "blog"
        listed = admin("GET", "/pipeline/tenants/acme/keys")
        ApiKeyList.model_validate(listed.get_json())
        assert (listed.get_json()["count"], listed.get_json()["keys"][0]["key_id"]) == (2, body["key_id"])
        assert body["key"].split("_", 2)[2] not in listed.text
        assert all("hash" not in one for one in listed.get_json()["keys"])
        for _ in range(2):
            revoked = admin("DELETE", f"/pipeline/tenants/acme/keys/{body['key_id']}")
            ApiKey.model_validate(revoked.get_json())
            assert (revoked.status_code, revoked.get_json()["revoked"]) == (200, True)

    def test_expires_at_is_a_moment_ahead(self, client: FlaskClient, world: World) -> None:
        admin = Caller(client, world.key(ALL, Role.ADMIN)[1])
        made = admin("POST", "/pipeline/tenants/*/keys", json={"role": "read", "expires_at": "2999-01-01T00:00:00+01:00"})
        assert (made.get_json()["expires_at"], made.get_json()["tenant_id"]) == ("2998-12-31T23:00:00.000Z", "*")

    @each(
        ("body", "field"),
        [
            ({}, "role"), ({"role": "root"}, "role"), ({"role": None}, "role"), ({"role": "read", "expires_at": 5}, "expires_at"),
            ({"role": "read", "expires_at": "tomorrow"}, "expires_at"), ({"role": "read", "name": "a\nb"}, "name"),
            ({"role": "read", "name": "x" * 65}, "name"), ({"role": "read", "workspace_id": "-"}, "workspace_id"),
            ({"role": "admin", "workspace_id": "blog"}, "workspace_id"), ({"role": "read", "tenant_id": "acme"}, "tenant_id"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_named(self, client: FlaskClient, world: World, body: dict[str, Any], field: str) -> None:
        admin = Caller(client, world.key("acme", Role.ADMIN)[1])
        problem_of(admin("POST", "/pipeline/tenants/acme/keys", json=body), 422, "invalid_input", field)

    @pytest.mark.parametrize("tenant", ["other", "*", "-bad", "Acme", "acme "])
    @pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("POST", ""), ("DELETE", "/0000000000000001")])
    def test_an_admin_of_a_tenant_has_no_other(self, client: FlaskClient, world: World, tenant: str, method: str, tail: str) -> None:
        admin = Caller(client, world.key("acme", Role.ADMIN)[1])
        response = admin(method, f"/pipeline/tenants/{tenant}/keys{tail}", json={"role": "admin"})
        problem_of(response, 403, "foreign_tenant", "tenant_id")
        assert len(world.keys.list()) == 1

    def test_an_admin_of_all_has_each(self, client: FlaskClient, world: World) -> None:
        admin = Caller(client, world.key(ALL, Role.ADMIN)[1])
        for tenant in ("acme", "other", "*"):
            assert admin("POST", f"/pipeline/tenants/{tenant}/keys", json={"role": "admin"}).status_code == 201
        problem_of(admin("GET", "/pipeline/tenants/-bad/keys"), 422, "invalid_input", "tenant_id")

    def test_anothers_key_is_an_unknown_one(self, client: FlaskClient, world: World) -> None:
        admin = Caller(client, world.key("acme", Role.ADMIN)[1])
        other, _ = world.key("other")
        for key_id in (other.key_id, "00000000000000ff", "x", "%00"):
            problem_of(admin("DELETE", f"/pipeline/tenants/acme/keys/{key_id}"), 404, "unknown_key")
        assert (kept := world.keys.get(other.key_id)) is not None
        assert not kept.to_dict()["revoked"]


class TestPolicies:
    def test_every_route_has_one_and_every_one_a_route(self, client: FlaskClient) -> None:
        served = {rule.endpoint for rule in client.application.url_map.iter_rules()}
        assert served == set(POLICIES), "give each route its policy in web/policy.py"

    def test_a_route_without_one_is_answered_to_nobody(self, world: World) -> None:
        app: Flask = create_app(world.cell)
        app.add_url_rule("/new", "new", lambda: "secret")
        _, text = world.key(ALL, Role.ADMIN)
        with capture_logs() as logs:
            problem_of(app.test_client().get("/new", headers={"Authorization": f"Bearer {text}"}), 403, "forbidden")
        assert ("route_without_policy", "new") in [(line["event"], line.get("endpoint")) for line in logs]

    def test_the_document_says_what_each_operation_needs(self, client: FlaskClient) -> None:
        document = client.get("/openapi.json").get_json()
        assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
        public = set()
        for path, item in document["paths"].items():
            for method, operation in item.items():
                if operation["security"] == []:
                    public.add((method, path))
                    continue
                assert {"apiKey": []} in operation["security"]
                assert {"401", "403", "429", "503"} <= set(operation["responses"]), (method, path)
                assert "WWW-Authenticate" in operation["responses"]["401"]["headers"]
                assert "Retry-After" in operation["responses"]["429"]["headers"]
        assert public == {("get", "/health/live"), ("get", "/health/accept"), ("get", "/pipeline/artifacts/{path}")}

    def test_none_that_writes_is_open_to_readers(self, client: FlaskClient) -> None:
        # And what is proved by a signed link, and what changes a cookie only.
        session = {"ui.try_sign_in", "ui.sign_out", "ui.send_by_link", "ui.save_view", "ui.set_theme"}
        for rule in client.application.url_map.iter_rules():
            # A token of a stream is signed, not stored: it lets its maker read what they may read.
            if rule.endpoint not in {"events.token", *session} and (rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}:
                assert POLICIES[rule.endpoint] in {Policy.SUBMIT, Policy.ADMIN, Policy.ROOT}, rule
