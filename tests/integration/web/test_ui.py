"""The page: who is let in, what is shown to whom, that writes come from it, and that text stays text."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pipeline_jobs.access.api_keys import ALL, MAX_SESSIONS, Role
from pipeline_jobs.exceptions import JobNotEnded
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.operation.waits import REASONS
from pipeline_jobs.states import JobStatus, Reason
from pipeline_jobs.store.pages import Page
from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.web.access import key_cache as keyring
from pipeline_jobs.web.access.sessions import COOKIE
from pipeline_jobs.web.access.throttle import BURST
from pipeline_jobs.web.ui import jobs as jobs_page

from .conftest import MakeClient
from .world import NOON, URL, World

UI = "/pipeline/ui"
#: What a browser says of a form that was sent from our own page.
OURS = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
AWAY = {"REMOTE_ADDR": "203.0.113.9"}


class Browser:
    """A browser on the page; keeps its cookie."""

    def __init__(self, client: FlaskClient, **headers: str) -> None:
        self.client, self.headers = client, {**OURS, **headers}

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(UI + path, headers=headers, environ_overrides=AWAY)

    def post(self, path: str, *, headers: dict[str, str] | None = None, **fields: str) -> TestResponse:
        return self.client.post(UI + path, data=fields, headers=self.headers if headers is None else headers, environ_overrides=AWAY)


def signed_in(
    client: FlaskClient, world: World, tenant_id: str = "acme", role: Role = Role.SUBMIT, workspace_id: str | None = None
) -> Browser:
    _, text = world.keys.create(tenant_id, role, actor="test", workspace_id=workspace_id)
    browser = Browser(client)
    assert browser.post("/sign-in", key=text).status_code == 303
    return browser


class TestSession:
    def test_a_good_key_is_given_a_cookie_that_scripts_cannot_read(self, client: FlaskClient, world: World) -> None:
        _, text = world.keys.create("acme", Role.READ, actor="test")
        answer = Browser(client).post("/sign-in", key=text)
        cookie = answer.headers["Set-Cookie"]
        assert (answer.status_code, answer.headers["Location"]) == (303, UI)
        for part in ("HttpOnly", "SameSite=Lax", f"Path={UI}", "Max-Age=14400"):
            assert part in cookie
        assert "Secure" not in cookie
        assert text not in cookie
        assert text.split("_", 2)[2] not in cookie

    @pytest.mark.parametrize("environ", [{"wsgi.url_scheme": "https"}, {}])
    def test_over_https_the_cookie_is_secure(self, client: FlaskClient, world: World, environ: dict[str, str]) -> None:
        _, text = world.keys.create("acme", Role.READ, actor="test")
        headers = {"Origin": "https://localhost"}
        answer = client.post(UI + "/sign-in", data={"key": text}, headers=headers, environ_overrides={**AWAY, **environ})
        assert "Secure" in answer.headers["Set-Cookie"]

    def test_a_wrong_key_is_told_so_and_given_no_cookie(self, client: FlaskClient, world: World) -> None:
        world.keys.create("acme", Role.READ, actor="test")
        for wrong in ("", "x", "pjk_0000000000000001_" + "x" * 43):
            answer = Browser(client).post("/sign-in", key=wrong)
            assert answer.status_code == 401
            assert "not a good key" in answer.text
            assert "Set-Cookie" not in answer.headers

    def test_guessing_is_slowed_down_together_with_the_api(self, client: FlaskClient, world: World) -> None:
        world.keys.create("acme", Role.READ, actor="test")
        statuses = [Browser(client).post("/sign-in", key=f"guess {n}").status_code for n in range(BURST + 2)]
        assert statuses == [401] * BURST + [429] * 2
        refused = client.get("/pipeline/jobs", headers={"Authorization": "Bearer x"}, environ_overrides=AWAY)
        assert refused.status_code == 429

    def test_the_cookie_opens_the_page_and_nothing_else(self, client: FlaskClient, world: World) -> None:
        browser = signed_in(client, world)
        assert browser.get("").status_code == 200
        assert client.get_cookie(COOKIE, path=UI) is not None
        value = client.get_cookie(COOKIE, path=UI).value  # type: ignore[union-attr]
        client.set_cookie(COOKIE, value, path="/")
        for path in ("/pipeline/jobs", "/pipeline/pipelines"):
            assert client.get(path, environ_overrides=AWAY).status_code == 401

    @pytest.mark.parametrize("end", ["revoked_at", "expires_at"])
    def test_a_key_that_ends_ends_its_sessions(self, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
        # As after the 0.9 s for which an answer of the store is remembered.
        monkeypatch.setattr(keyring, "CACHE_SECONDS", 0.0)
        browser = signed_in(client, world)
        (key,) = world.keys.list()
        assert browser.get("/jobs").status_code == 200
        world.change_key(key.key_id, **{end: NOON})
        assert browser.get("/jobs").headers["Location"] == f"{UI}/sign-in?next=/pipeline/ui/jobs"

    def test_another_key_under_the_same_id_is_not_the_session_s(
        self, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keyring, "CACHE_SECONDS", 0.0)
        browser = signed_in(client, world)
        world.change_key(world.keys.list()[0].key_id, hash="0" * 64)
        assert browser.get("").status_code == 303

    def test_a_changed_or_foreign_cookie_is_none(self, client: FlaskClient, world: World) -> None:
        browser = signed_in(client, world)
        value = client.get_cookie(COOKIE, path=UI).value  # type: ignore[union-attr]
        payload, made, signature = value.rsplit(".", 2)
        for bad in (
            f"{payload}.{made}.{signature[::-1]}",
            f"{payload[::-1]}.{made}.{signature}",
            f"{payload}.aAaAaA.{signature}",
            "x",
            "",
            "..",
            "W10.x.y",
            "\u20ac",
            "a" * 3000,
        ):
            client.set_cookie(COOKIE, bad, path=UI)
            assert browser.get("").status_code == 303, bad

    def test_a_session_has_an_end(self, make_client: MakeClient, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        client = make_client(ui_session_seconds=60)
        browser = signed_in(client, world)
        monkeypatch.setattr("itsdangerous.timed.time.time", lambda: 4_000_000_000.0)
        assert browser.get("").status_code == 303

    def test_signing_out_takes_the_cookie_away(self, client: FlaskClient, world: World) -> None:
        browser = signed_in(client, world)
        assert browser.post("/sign-out").status_code == 303
        assert client.get_cookie(COOKIE, path=UI) is None
        assert browser.get("").status_code == 303

    def test_signing_out_ends_the_session_for_every_copy_of_the_cookie_in_every_process(
        self, client: FlaskClient, make_client: MakeClient, world: World
    ) -> None:
        browser = signed_in(client, world)
        copied = client.get_cookie(COOKIE, path=UI).value  # type: ignore[union-attr]
        others = [make_client() for _ in range(2)]
        (key,) = world.keys.list()
        for other in others:
            other.set_cookie(COOKIE, copied, path=UI)
            assert other.get(UI, environ_overrides=AWAY).status_code == 200
        # Another session with the same key, which goes on.
        second = world.keys.begin_session(key.key_id, 600)
        browser.post("/sign-out")
        for other in others:
            assert other.get(UI, environ_overrides=AWAY).status_code == 303
        assert world.keys.has_session(key.key_id, second)

    def test_a_key_has_so_many_sessions_and_the_oldest_gives_way(self, world: World) -> None:
        key, _ = world.key()
        sessions = [world.keys.begin_session(key.key_id, 600) for _ in range(2)]
        # Made in one ms, none would be the older.
        world.store.client.zadd(world.store.keys("sessions", key.key_id), dict.fromkeys(sessions, NOON))
        sessions += [world.keys.begin_session(key.key_id, 2_000_000_000) for _ in range(MAX_SESSIONS)]
        assert [world.keys.has_session(key.key_id, one) for one in sessions] == [False] * 2 + [True] * MAX_SESSIONS

    def test_no_key_is_asked_for_on_this_machine_while_there_is_none(self, client: FlaskClient) -> None:
        assert client.get(UI).status_code == 200
        assert client.get(UI + "/sign-in").headers["Location"] == UI
        away = client.get(UI, environ_overrides=AWAY)
        assert (away.status_code, "No API key has been created" in away.text) == (403, True)

    def test_a_part_of_a_page_sends_the_page_to_the_sign_in(self, client: FlaskClient, world: World) -> None:
        world.keys.create("acme", Role.READ, actor="test")
        headers = {"HX-Request": "true", "HX-Current-URL": f"http://localhost{UI}/jobs?status=failed"}
        answer = Browser(client).get("/jobs", **headers)
        assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, f"{UI}/sign-in?next=/pipeline/ui/jobs?status%3Dfailed")

    def test_nobody_is_sent_elsewhere_after_signing_in(self, client: FlaskClient, world: World) -> None:
        _, text = world.keys.create("acme", Role.READ, actor="test")
        elsewhere = (
            "https://evil.example/", "//evil.example", "/\\evil.example", f"//evil.example{UI}\\x", "\\\\evil", "/pipeline/ui/../../x",
            "/pipeline/uix", "javascript:alert(1)", "http://[", "",
        )  # fmt: skip
        for address in elsewhere:
            assert Browser(client).post("/sign-in", key=text, next=address).headers["Location"] == UI
            assert "evil" not in Browser(client).get(f"/sign-in?next={address}").text

    def test_one_is_sent_where_one_wanted_to_go(self, client: FlaskClient, world: World) -> None:
        _, text = world.keys.create("acme", Role.READ, actor="test")
        wanted = f"{UI}/jobs?status=failed"
        assert Browser(client).post("/sign-in", key=text, next=wanted).headers["Location"] == wanted


class TestOrigin:
    """A write says that it comes from our own page, or is refused."""

    GOOD = (
        {"Origin": "http://localhost"},
        {"Origin": "https://localhost"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "none"},
        {"Origin": "https://jobs.example"},
    )
    BAD: tuple[dict[str, str], ...] = (
        {},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://["},
        {"Origin": "http://localhost:81"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "ftp://localhost"},
        {"Origin": "http://jobs.example"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    )

    @pytest.mark.parametrize("path", ["/jobs/{}/cancel", "/jobs/{}/delete", "/submit", "/sign-in", "/sign-out", "/tenants/acme/limits"])
    def test_a_form_from_elsewhere_is_refused(self, make_client: MakeClient, world: World, path: str) -> None:
        client = make_client(public_url="https://jobs.example")
        browser = signed_in(client, world, ALL, Role.ADMIN)
        job = world.put()
        for headers in self.BAD:
            answer = browser.post(path.format(job.job_id), headers=headers, pipeline="sleep", key="x", weight="2")
            assert (answer.status_code, "cross_site" in answer.text) == (403, True), headers
            assert "Set-Cookie" not in answer.headers
        assert [world.record(job_id) for job_id in world.ids()] == [job]
        assert world.cell.client.limits("acme") == TenantLimits()

    def test_a_form_of_ours_is_taken(self, make_client: MakeClient, world: World) -> None:
        browser = signed_in(make_client(public_url="https://jobs.example"), world)
        for headers in self.GOOD:
            job = world.put()
            assert browser.post(f"/jobs/{job.job_id}/cancel", headers=headers).status_code == 303, headers
            assert world.record(job.job_id).status is JobStatus.CANCELLED

    def test_over_https_a_form_that_came_by_http_is_refused(self, client: FlaskClient) -> None:
        environ = {"wsgi.url_scheme": "https"}
        answer = client.post(UI + "/sign-in", headers={"Origin": "http://localhost"}, environ_overrides=environ)
        assert (answer.status_code, "cross_site" in answer.text) == (403, True)

    def test_browsers_are_told_to_name_the_origin(self, client: FlaskClient) -> None:
        assert client.get(UI).headers["Referrer-Policy"] == "same-origin"
        assert client.get("/docs").headers["Referrer-Policy"] == "no-referrer"


class TestWhoSeesWhat:
    def test_a_tenant_sees_its_own(self, client: FlaskClient, world: World) -> None:
        mine, theirs = world.put(), world.put("other")
        browser = signed_in(client, world)
        for path in ("", "/jobs", "/jobs?status=queued"):
            page = browser.get(path).text
            assert (mine.job_id in page, theirs.job_id in page, "other" in page.replace("another", "")) == (True, False, False)
        assert browser.get("/jobs?tenant_id=other").status_code == 403

    def test_a_workspace_sees_its_own(self, client: FlaskClient, world: World) -> None:
        mine, theirs = world.put(workspace_id="blog"), world.put()
        page = signed_in(client, world, role=Role.READ, workspace_id="blog").get("").text
        assert (mine.job_id in page, theirs.job_id in page) == (True, False)
        assert re.search(r"Queued</dt><dd><a [^>]*>1</a>", page)

    @pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("POST", "/cancel"), ("POST", "/delete")])
    def test_a_foreign_job_is_an_unknown_one_byte_for_byte(self, client: FlaskClient, world: World, method: str, tail: str) -> None:
        signed_in(client, world)
        job = world.put("other")

        def ask() -> TestResponse:
            headers = {**OURS, "X-Request-Id": "same"}
            return client.open(f"{UI}/jobs/{job.job_id}{tail}", method=method, headers=headers, environ_overrides=AWAY)

        foreign = ask()
        assert world.record(job.job_id) == job
        world.remove(job.job_id)
        unknown = ask()
        assert (foreign.status_code, foreign.data, list(foreign.headers)) == (unknown.status_code, unknown.data, list(unknown.headers))
        assert foreign.status_code == 404

    def test_a_reader_is_offered_nothing_to_write_and_may_not(self, client: FlaskClient, world: World) -> None:
        job = world.put()
        browser = signed_in(client, world, role=Role.READ)
        for path in ("", "/jobs", f"/jobs/{job.job_id}"):
            page = browser.get(path).text
            assert "/submit" not in page
            assert "/cancel" not in page
        assert browser.get("/submit").status_code == 403
        assert browser.post("/submit", pipeline="sleep").status_code == 403
        assert browser.post(f"/jobs/{job.job_id}/cancel").status_code == 403
        assert [world.record(job_id) for job_id in world.ids()] == [job]

    def test_limits_and_usage_are_for_admins_and_only_those_of_all_change_them(self, client: FlaskClient, world: World) -> None:
        world.put()
        world.cell.client.set_limits("acme", TenantLimits(max_concurrent=37), actor="test")
        assert "data-chart" not in signed_in(client, world, role=Role.SUBMIT).get("").text
        assert Browser(client).get("/tenants/acme").status_code == 403
        admin = signed_in(client, world, role=Role.ADMIN)
        page = admin.get("/tenants/acme").text
        assert ("37" in page, "<input name=" in page, "data-chart" in page) == (True, False, True)
        assert admin.get("/tenants/other").status_code == 403
        assert admin.post("/tenants/acme/limits", max_concurrent="99").status_code == 403
        root = signed_in(client, world, ALL, Role.ADMIN)
        assert root.post("/tenants/acme/limits", max_concurrent="5", weight="0.5", paused="1").status_code == 303
        assert world.cell.client.limits("acme") == TenantLimits(max_concurrent=5, weight=0.5, paused=True)
        assert world.audit[0].action == "limits.changed"
        assert 'value="0.5"' in root.get("/tenants/acme").text

    @pytest.mark.parametrize(
        "bad", [{"weight": "0"}, {"max_concurrent": "-1"}, {"max_queued": "1.5"}, {"start_rate": "nan"}, {"weight": "lots"}]
    )
    def test_a_wrong_limit_is_told_at_its_field_and_saves_nothing(self, client: FlaskClient, world: World, bad: dict[str, str]) -> None:
        root = signed_in(client, world, ALL, Role.ADMIN)
        answer = root.post("/tenants/acme/limits", headers=None, **bad)
        (name, value), *_ = bad.items()
        assert answer.status_code == 422
        assert f'id="error-{name}"' in answer.text
        assert f'value="{value}"' in answer.text
        assert world.cell.client.limits("acme") == TenantLimits()

    def test_admins_of_all_choose_a_tenant(self, client: FlaskClient, world: World) -> None:
        mine, theirs = world.put(), world.put("other")
        root = signed_in(client, world, ALL, Role.ADMIN)
        assert f"{UI}?tenant_id=other" in root.get("").text
        page = root.get("?tenant_id=other").text
        assert (theirs.job_id in page, mine.job_id in page) == (True, False)
        assert f"{UI}/jobs?tenant_id=other" in page
        assert root.get("?tenant_id=-bad").status_code == 422

    def test_an_admin_of_a_tenant_is_not_told_the_installation_s_defaults(self, client: FlaskClient, world: World) -> None:
        world.cell.client.set_limits("*", TenantLimits(max_queued=123456), actor="test")
        assert "123456" not in signed_in(client, world, role=Role.ADMIN).get("/tenants/acme").text
        assert signed_in(client, world, ALL, Role.ADMIN).get("/tenants/*").text.count("123456") == 1


class TestJobs:
    def test_submit_makes_a_job_of_the_key_s_tenant(self, client: FlaskClient, world: World) -> None:
        browser = signed_in(client, world)
        answer = browser.post("/submit", pipeline="media", url=f" {URL} ", quality="1080p", priority="5", tags="a, b,,a", workspace_id="")
        (job,) = map(world.record, world.ids())
        assert answer.headers["Location"] == f"{UI}/jobs/{job.job_id}"
        assert (job.tenant_id, job.workspace_id, job.url, job.quality, job.priority, job.tags) == (
            "acme",
            "main",
            URL,
            "1080p",
            5,
            ("a", "b"),
        )

    def test_params_are_json(self, client: FlaskClient, world: World) -> None:
        signed_in(client, world).post("/submit", pipeline="sleep", params='{"seconds": 2.5}')
        (job,) = map(world.record, world.ids())
        assert job.params["seconds"] == 2.5

    def test_a_form_that_is_sent_twice_makes_one_job(self, client: FlaskClient, world: World) -> None:
        browser = signed_in(client, world)
        token = re.search(r'name="token" value="([^"]+)"', browser.get("/submit?pipeline=sleep").text)
        assert token is not None
        first, second = (browser.post("/submit", pipeline="sleep", token=token[1]).headers["Location"] for _ in range(2))
        assert first == second
        changed = browser.post("/submit", pipeline="sleep", token=token[1], params='{"steps": 3}')
        assert changed.headers["Location"] != first
        assert len(world.ids()) == 2

    @pytest.mark.parametrize(
        ("fields", "name"),
        [
            ({"url": "ftp://x/y"}, "url"),
            ({"url": ""}, "url"),
            ({"quality": "9p"}, "quality"),
            ({"workspace_id": "-x"}, "workspace_id"),
            ({"priority": "51"}, "priority"),
            ({"priority": "x"}, "priority"),
            ({"tags": "x" * 65}, "tags"),
            ({"pipeline": "sleep", "url": "", "params": "{"}, "params"),
            ({"pipeline": "sleep", "url": "", "params": "[]"}, "params"),
            ({"pipeline": "sleep", "url": "", "params": '{"seconds": -1}'}, "params"),
            ({"pipeline": "sleep", "url": "", "params": '{"x": 1}'}, "params"),
        ],
    )
    def test_what_is_wrong_is_told_at_its_field_and_what_was_typed_stays(
        self, client: FlaskClient, world: World, fields: dict[str, str], name: str
    ) -> None:
        answer = signed_in(client, world).post(
            "/submit", headers=None, **{"pipeline": "media", "url": URL, "tags": "typed-before", **fields}
        )
        assert answer.status_code == 422
        assert f'id="error-{name}"' in answer.text
        assert 'aria-invalid="true"' in answer.text
        assert ("typed-before" in answer.text) is ("tags" not in fields)
        assert world.ids() == []

    def test_what_is_wrong_with_a_field_that_the_form_has_not_is_told_at_the_top(self, client: FlaskClient, world: World) -> None:
        answer = signed_in(client, world).post("/submit", pipeline="sleep", url=URL)
        assert (answer.status_code, "does not use a url" in answer.text) == (422, True)

    @pytest.mark.parametrize("status", [503, 429])
    def test_a_refused_submit_keeps_the_form(self, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
        monkeypatch.setattr(keyring, "CACHE_SECONDS", 3600.0)
        browser = signed_in(client, world)
        assert browser.get("/submit").status_code == 200
        if status == 429:
            world.cell.client.set_limits("acme", TenantLimits(max_queued=0))
        else:
            world.lose_store()
        answer = browser.post("/submit", pipeline="media", url=URL)
        assert (answer.status_code, URL in answer.text, "Nothing was submitted" in answer.text) == (status, True, True)

    def test_a_foreign_tenant_cannot_be_submitted_for(self, client: FlaskClient, world: World) -> None:
        assert signed_in(client, world).post("/submit", pipeline="sleep", tenant_id="other").status_code == 403
        assert world.ids() == []

    def test_cancel_and_delete(self, client: FlaskClient, world: World) -> None:
        browser, job = signed_in(client, world), world.put()
        assert browser.post(f"/jobs/{job.job_id}/delete").status_code == 409
        assert browser.post(f"/jobs/{job.job_id}/cancel").headers["Location"] == f"{UI}/jobs/{job.job_id}"
        assert "cancelled" in browser.get(f"/jobs/{job.job_id}").text
        assert browser.post(f"/jobs/{job.job_id}/delete").headers["Location"] == f"{UI}/jobs"
        assert world.ids() == []
        assert JobNotEnded.code == "job_not_ended"

    def test_an_ended_job_is_run_again_once_however_often_the_form_is_sent(self, client: FlaskClient, world: World) -> None:
        browser, job = signed_in(client, world), world.put()
        assert "Run again" not in browser.get(f"/jobs/{job.job_id}").text
        assert browser.post(f"/jobs/{job.job_id}/retry").status_code == 409
        world.complete(job.job_id)
        token = re.search(r'/retry"><input type="hidden" name="token" value="([^"]+)"', browser.get(f"/jobs/{job.job_id}").text)
        assert token is not None
        places = [browser.post(f"/jobs/{job.job_id}/retry", token=token[1]).headers["Location"] for _ in range(2)]
        (made,) = (other for other in world.ids() if other != job.job_id)
        assert places == [f"{UI}/jobs/{made}"] * 2
        assert job.job_id in browser.get(f"/jobs/{made}").text

    def test_forms_are_held_against_the_same_rates_as_the_api(self, make_client: MakeClient, world: World) -> None:
        browser = signed_in(make_client(submit_rate_per_key=0.1), world)
        assert [browser.post("/submit", pipeline="sleep").status_code for _ in range(2)] == [303, 429]

    def test_a_part_is_asked_for_alone_and_ends_with_the_job(self, client: FlaskClient, world: World) -> None:
        browser, job = signed_in(client, world), world.put()
        world.start(job.job_id)
        running = browser.get(f"/jobs/{job.job_id}", **{"HX-Request": "true"}).text
        assert ("<html" in running, "data-final" in running, 'value="5.0"' in running) == (False, False, True)
        world.complete(job.job_id, x=1)
        assert "data-final" in browser.get(f"/jobs/{job.job_id}", **{"HX-Request": "true"}).text

    def test_the_page_is_given_a_token_for_this_one_stream(self, client: FlaskClient, world: World) -> None:
        browser, job = signed_in(client, world, role=Role.READ), world.put()
        world.store.announce("w1", 100, [])
        world.store.claim(job.job_id, world.record(job.job_id).fence, worker="w1", run="r")
        page = browser.get(f"/jobs/{job.job_id}").text
        found = re.search(r'data-events="([^"]+)\?token=([^"&]+)" data-after="2"', page)
        assert found is not None
        assert found[1] == f"/pipeline/jobs/{job.job_id}/events"
        others = world.put()
        for job_id, status in ((job.job_id, 200), (others.job_id, 404)):
            stream = client.get(f"/pipeline/jobs/{job_id}/events?token={found[2]}", environ_overrides=AWAY)
            assert stream.status_code == status
        assert client.get(f"/pipeline/jobs/{job.job_id}?token={found[2]}", environ_overrides=AWAY).status_code == 401
        world.complete(job.job_id)
        assert "data-events" not in browser.get(f"/jobs/{job.job_id}").text
        (key,) = world.keys.list()
        assert key.key_id not in page
        assert key.hash not in page

    def test_pages_follow_the_cursor_with_the_filters(self, client: FlaskClient, world: World) -> None:
        world.cell.batches.create(NewBatch([NewJob(pipeline="sleep")] * 30, "acme"))
        browser = signed_in(client, world)
        older = re.search(r'href="([^"]+cursor=[^"]+)">Older', browser.get("/jobs?status=queued&tag=").text)
        assert older is not None
        page = browser.get(older[1].removeprefix(UI).replace("&amp;", "&")).text
        assert page.count('<tr id="row-') == 5
        assert "Newest" in page
        assert browser.get("/jobs?cursor=x").status_code == 422

    def test_every_reason_is_said_in_a_sentence(self, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        browser, job = signed_in(client, world), world.put()
        for reason in Reason:
            queue = {"reason": reason.value, "position": 3, "limit": 4, "current": 2, "eta_seconds": 65.0}
            shown = job.evolve(reason=reason.value, queue=queue)
            monkeypatch.setattr(world.cell.client, "describe", lambda job_id, whose, shown=shown: shown)
            page = browser.get(f"/jobs/{job.job_id}").text
            assert REASONS[reason].replace("'", "&#39;") in page
            assert ("Position 3" in page, "2 of 4" in page, "1 min 5 s" in page) == (True, True, True)
            # A list says the same, in the same words.
            monkeypatch.setattr(world.cell.client, "list", lambda query, shown=shown: Page((shown,), None))
            monkeypatch.setattr(jobs_page, "queue_positions", lambda store, job_ids, queue=queue: [queue for _ in job_ids])
            assert REASONS[reason].replace("'", "&#39;") in browser.get("/jobs").text
            monkeypatch.undo()

    def test_of_a_job_in_parts_it_is_said_how_many_run_and_why_others_wait(
        self, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        browser, job = signed_in(client, world), world.put()
        parts = {"total": 5, "done": 2, "running": 1, "queued": 2, "reason": "tenant_paused", "pool": "gpu"}
        queue = {"reason": "parts", "position": None, "limit": 5, "current": 2, "eta_seconds": None, "parts": parts}
        monkeypatch.setattr(world.cell.client, "describe", lambda job_id, whose: job.evolve(reason="parts", queue=queue))
        page = browser.get(f"/jobs/{job.job_id}").text
        assert "2 of 5 have ended." in page
        assert "<li>1 part runs, 2 wait for a slot in the pool gpu: Its tenant is paused.</li>" in page


class TestSwitch:
    def test_the_page_can_be_switched_off(self, make_client: MakeClient) -> None:
        client = make_client(ui=False)
        for path in ("", "/sign-in", "/jobs", "/static/ui.css"):
            answer = client.get(UI + path)
            assert (answer.status_code, "PIPELINE_UI" in answer.text) == (404, True), path
        assert client.get("/pipeline/jobs").status_code == 200

    def test_without_the_queue_there_is_no_page(self, make_client: MakeClient) -> None:
        answer = make_client(enable_job_queue=False).get(UI)
        assert (answer.status_code, "ENABLE_PIPELINE_JOB_QUEUE" in answer.text) == (404, True)

    def test_with_the_store_away_the_page_says_so(self, client: FlaskClient, world: World) -> None:
        world.lose_store()
        answer = client.get(UI)
        assert (answer.status_code, answer.mimetype, answer.headers["Retry-After"]) == (503, "text/html", "5")


class TestHeaders:
    @pytest.mark.parametrize("path", ["", "/jobs", "/submit", "/tenants/acme", "/jobs/job_1_00000000"])
    def test_no_page_may_run_anything_inline(self, client: FlaskClient, path: str) -> None:
        answer = client.get(UI + path)
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert answer.headers["Cache-Control"] == "no-store"
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=)|javascript:|hx-on|hx-vals|\[[^\]]*\].*hx-trigger", answer.text)

    def test_everything_it_loads_is_ours_and_there(self, client: FlaskClient) -> None:
        page = client.get(UI).text
        loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]+)"', page)
        assert len(loaded) >= 7
        for address in loaded:
            assert address.startswith(UI + "/static/")
            with client.get(address) as answer:
                assert answer.status_code == 200
