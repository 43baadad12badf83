"""Batches, schedules, webhooks and the audit log on the page: seen by whom, and changed as the API changes them."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pipeline_jobs.access import audit
from pipeline_jobs.access.api_keys import ALL, Role
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.schedules.scheduler import NewSchedule
from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.web.access.sessions import COOKIE
from pipeline_jobs.web.api.batches import MADE_SECONDS
from pipeline_jobs.web.server.paced_socket import PacedSocket
from pipeline_jobs.web.ui import webhooks

from .conftest import MakeClient
from .test_ui import AWAY, OURS, UI, signed_in
from .world import URL, World

HOOK = "https://hooks.example/pipeline"


def test_a_batch_shows_how_far_it_is_what_failed_and_leads_to_its_acts(client: FlaskClient, world: World) -> None:
    made = world.cell.batches.create(NewBatch([NewJob(pipeline="sleep")] * 4, "acme", metadata={"title": "The week"}))
    batch_id = made.batch.batch_id
    first, *_, last = filter(None, made.job_ids)
    world.fail(first, code="worker_lost")
    world.cell.client.cancel(last)
    browser = signed_in(client, world)
    assert re.search(rf'href="{UI}/batches/{batch_id}">The week<', browser.get("/batches").text)
    page = unescape(browser.get(f"/batches/{batch_id}").text)
    for status, number in (("queued", 2), ("failed", 1), ("cancelled", 1)):
        assert f'href="{UI}/jobs?status={status}&batch_id={batch_id}">{number}</a>' in page
    assert f'href="{UI}/jobs?error_code=worker_lost&batch_id={batch_id}"' in page
    assert 'aria-label="25% failed, 25% cancelled, 50% queued"' in page
    assert "data-final" not in page
    for act, most in (("cancel", 2), ("retry", 1)):
        asked = f"/bulk?action={act}&batch_id={batch_id}"
        assert f'href="{UI}{asked}"' in page
        question = browser.get(asked).text
        assert all(part in question for part in (f"{most} job", f'href="{UI}/batches/{batch_id}"', "Batch: <strong>The week</strong>"))
        after = browser.post(asked).headers["Location"]
        assert after == f"{UI}/batches/{batch_id}?action={act}&done={most}"
        assert f'role="status">{most} job' in browser.get(after.removeprefix(UI)).text
    done = unescape(browser.get(f"/batches/{batch_id}").text)
    assert ("data-final" in done, "Cancel all" in done) == (True, False)
    reader = signed_in(client, world, role=Role.READ)
    assert "/bulk" not in reader.get(f"/batches/{batch_id}").text
    assert signed_in(client, world, "other").get(f"/batches/{batch_id}").status_code == 404


def test_a_schedule_is_made_changed_run_paused_resumed_and_deleted(client: FlaskClient, world: World) -> None:
    browser = signed_in(client, world)
    token = re.search(r'name="token" value="([^"]+)"', browser.get("/schedules/new").text)
    assert token is not None
    form = {"cron": "0 3 * * *", "timezone": "Europe/Berlin", "name": "nightly", "job": '{"pipeline": "sleep", "params": {"steps": 3}}'}
    first, second = (browser.post("/schedules/new", headers=None, token=token[1], **form).headers["Location"] for _ in range(2))
    assert first == second, "sent twice, it makes one"
    path = first.removeprefix(UI)
    (made,) = world.cell.schedules.list(tenant_id="acme", workspace_id=None, cursor=None, limit=5).items
    assert (made.name, made.cron.timezone, made.template.params["steps"], made.tenant_id) == ("nightly", "Europe/Berlin", 3, "acme")
    assert "nightly" in browser.get("/schedules").text
    changes = {"cron": "30 4 * * *", "timezone": "UTC", "name": "later", "overlap": "queue", "catch_up": "last"}
    assert browser.post(path, headers=None, act="change", **changes).status_code == 303
    shown = browser.get(path).text
    assert ("later" in shown, "04:30:00 UTC" in shown, shown.count("<li>") >= 10) == (True, True, True)
    job_id = browser.post(path, act="run").headers["Location"].rpartition("/")[2]
    assert world.record(job_id).params["steps"] == 3
    shown = browser.get(path).text
    assert (job_id in shown, "manual" in shown) == (True, True)
    assert job_id in browser.get(f"/jobs?tag=schedule:{made.schedule_id}").text
    assert browser.post(path, act="pause").status_code == 303
    assert "It is paused" in browser.get(path).text
    assert browser.post(path, act="resume").status_code == 303
    assert "It is paused" not in browser.get(path).text
    assert [row.action for row in world.audit][:2] == ["schedule.resumed", "schedule.paused"]
    assert browser.post(path, act="explode").status_code == 422
    assert browser.post(path, act="delete").headers["Location"] == f"{UI}/schedules"
    assert browser.get(path).status_code == 404


def test_what_is_wrong_with_a_schedule_is_told_at_its_field_and_stays_as_typed(client: FlaskClient, world: World) -> None:
    browser = signed_in(client, world)
    made = world.cell.schedules.create(NewSchedule("0 * * * *", NewJob(pipeline="sleep", tenant_id="acme"))).schedule
    good = {"cron": "0 3 * * *", "timezone": "UTC", "job": '{"pipeline": "sleep"}'}
    jobs = ("{", "[]", '{"pipeline": "ghost"}', '{"colour": 1}')
    for bad in ({"cron": "x"}, {"timezone": "Mars/Base"}, *({"job": text} for text in jobs)):
        (name, value), *_ = bad.items()
        answer = browser.post("/schedules/new", headers=None, **good | bad)
        assert (answer.status_code, f'id="error-{name}"' in answer.text, value in unescape(answer.text)) == (422, True, True), bad
        if name != "job":
            answer = browser.post(f"/schedules/{made.schedule_id}", headers=None, act="change", **bad)
            assert (answer.status_code, f'id="error-{name}"' in answer.text) == (422, True), bad
    assert len(world.cell.schedules.list(tenant_id="acme", workspace_id=None, cursor=None, limit=5).items) == 1
    assert signed_in(client, world, role=Role.READ).post(f"/schedules/{made.schedule_id}", act="run").status_code == 403
    assert signed_in(client, world, "other").post(f"/schedules/{made.schedule_id}", act="delete").status_code == 404
    assert world.ids() == []


def test_an_endpoint_is_made_tested_changed_and_deleted_and_its_secret_is_shown_once(client: FlaskClient, world: World) -> None:
    browser, path = signed_in(client, world, role=Role.ADMIN), "/tenants/acme/webhooks"
    answer = browser.post(path, url=HOOK, events="job.failed", description="the website")
    secret = re.search(r"<pre data-secret>(whsec_[^<]+)</pre>", answer.text)
    assert secret is not None
    (made,) = world.cell.webhooks.endpoints.list("acme", None, 5).items
    assert (made.url, made.events, made.description) == (HOOK, ("job.failed",), "the website")
    own = f"/webhooks/{made.endpoint_id}"
    assert secret[1] not in browser.get(path).text + browser.get(own).text
    delivery = browser.post(own, act="test").headers["Location"].removeprefix(UI)
    assert "endpoint.test" in browser.get(delivery).text
    assert browser.post(f"{delivery}/redeliver", back="delivery").headers["Location"] == UI + delivery
    for shown in (path, f"{path}?status=pending", own):
        assert f"{UI}{delivery}" in browser.get(shown).text
    assert f"{UI}{delivery}" not in browser.get(f"{path}?status=dead").text
    rotated = re.search(r"<pre data-secret>(whsec_[^<]+)</pre>", browser.post(own, act="rotate").text)
    assert rotated is not None
    assert rotated[1] != secret[1]
    assert browser.post(own, act="change", url=HOOK + "/2", description="").status_code == 303
    changed = world.cell.webhooks.endpoints.get(made.endpoint_id)
    assert (changed.url, changed.events, changed.description) == (HOOK + "/2", (), "")
    assert browser.post(own, act="disable").status_code == 303
    assert browser.post(own, act="test").status_code == 409
    assert browser.post(own, act="enable").status_code == 303
    for bad in ("http://hooks.example/x", "https://127.0.0.1/x", "x"):
        for where, act in ((path, "make"), (own, "change")):
            refused = browser.post(where, act=act, url=bad)
            assert (refused.status_code, 'id="error-url"' in refused.text) == (422, True), (bad, act)
    assert browser.post(own, act="delete").headers["Location"] == UI + path
    assert browser.get(own).status_code == 404
    # What jobs bring along has a secret of the tenant's.
    secrets = [re.findall(r"<pre data-secret>([^<]+)<", browser.post(path, act=act).text)[0] for act in ("show", "show", "rotate", "show")]
    assert secrets[0] == secrets[1] != secrets[2] == secrets[3]
    assert browser.post(path, act="x").status_code == 422


def test_an_endpoint_shows_its_deliveries_behind_many_of_another(
    client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = world.cell.webhooks.endpoints
    quiet, busy = (kept.create("acme", HOOK)[0].endpoint_id for _ in range(2))
    sent = kept.test(quiet)
    for _ in range(5):
        kept.test(busy)
    monkeypatch.setattr(webhooks, "PAGE", 2)
    browser = signed_in(client, world, role=Role.ADMIN)
    assert f"{UI}/deliveries/{sent}" in browser.get(f"/webhooks/{quiet}").text
    monkeypatch.setattr(webhooks, "MOST_PAGES", 2)
    assert "None among the newest" in browser.get(f"/webhooks/{quiet}").text


def test_endpoints_are_for_admins_of_their_own_tenant(client: FlaskClient, world: World) -> None:
    endpoint = world.cell.webhooks.endpoints.create("acme", HOOK)[0].endpoint_id
    for role, tenant in ((Role.SUBMIT, "acme"), (Role.ADMIN, "other")):
        browser = signed_in(client, world, tenant, role)
        assert browser.get("/tenants/acme/webhooks").status_code == 403
        assert browser.post("/tenants/acme/webhooks", url=HOOK).status_code == 403
        assert browser.post(f"/webhooks/{endpoint}", act="delete").status_code == (403 if tenant == "acme" else 404)
    assert len(world.cell.webhooks.endpoints.list("acme", None, 5).items) == 1


def test_the_audit_log_is_for_operators(client: FlaskClient, world: World) -> None:
    root = signed_in(client, world, ALL, Role.ADMIN)
    root.post("/tenants/acme/limits", max_concurrent="5")
    page = root.get("/audit").text
    assert ("limits.changed" in page, "key.created" in page) == (True, True)
    older = re.search(r'href="([^"]+cursor=[^"]+)">Older', root.get("/audit?limit=1").text)
    assert older is not None
    assert "limits.changed" not in root.get(older[1].removeprefix(UI)).text
    assert root.get("/audit?colour=red").status_code == 422
    assert signed_in(client, world, role=Role.ADMIN).get("/audit").status_code == 403


def test_a_tenant_s_admin_reads_its_own_rows_and_learns_no_operator_s_name(client: FlaskClient, world: World) -> None:
    key, text = world.keys.create("acme", Role.ADMIN, actor="cli:ann@host", name="the office")
    for actor, tenant in ((f"key:{key.key_id}", "acme"), ("cli:ann@host", "acme"), ("key:0123456789abcdef", "acme"), ("cli:x@y", "other")):
        audit.record(world.store, actor, "job.shared", f"of {tenant}", tenant_id=tenant)
    audit.record(world.store, "cli:ann@host", "limits.changed", "acme")
    headers = {"Authorization": f"Bearer {text}"}
    rows = client.get("/pipeline/tenants/acme/audit", headers=headers).get_json()["rows"]
    assert [(row["actor"], row["target"]) for row in rows if row["action"] == "job.shared"] == [
        ("operator", "of acme"), ("operator", "of acme"), (f"key:{key.key_id}", "of acme"),
    ]  # fmt: skip
    assert {row["action"] for row in rows} == {"job.shared", "key.created"}, "what was done to the tenant is the installation's"
    first = client.get("/pipeline/tenants/acme/audit?limit=1", headers=headers).get_json()
    assert client.get(f"/pipeline/tenants/acme/audit?limit=1&cursor={first['next_cursor']}", headers=headers).get_json()["rows"] == [
        rows[1]
    ]
    browser = signed_in(client, world, role=Role.ADMIN)
    assert f'href="{UI}/tenants/acme/audit"' in browser.get("").text
    page = browser.get("/tenants/acme/audit").text
    assert ("the office" in page, "ann@host" in page, "of other" in page) == (True, False, False)
    older = re.search(r'href="([^"]+cursor=[^"]+)">Older', browser.get("/tenants/acme/audit?limit=1").text)
    assert older is not None
    assert browser.get(older[1].removeprefix(UI)).status_code == 200
    root = signed_in(client, world, ALL, Role.ADMIN)
    assert "cli:ann@host" in root.get("/tenants/acme/audit").text
    assert "limits.changed" in root.get("/tenants/*/audit").text
    assert root.get("/tenants/-x/audit").status_code == 422


def test_a_hundred_lines_become_a_batch_and_cost_what_a_batch_costs(client: FlaskClient, world: World, sock: PacedSocket) -> None:
    browser = signed_in(client, world)
    token = re.search(r'name="token" value="([^"]+)"', browser.get("/submit/many").text)
    assert token is not None
    urls = "\n\n".join(f" https://media.example/{n}.mp4 " for n in range(100))
    form = {"token": token[1], "urls": urls, "title": "The week", "tags": "a, b", "quality": "1080p", "pipeline": "media"}
    sock.owner, sock.cost = None, 0.0
    environ = {**AWAY, "gunicorn.socket": sock}
    first = client.post(UI + "/submit/many", data=form, headers=OURS, environ_overrides=environ).headers["Location"]
    assert sock.cost > 100 * MADE_SECONDS
    charged = sock.cost
    assert client.post(UI + "/submit/many", data=form, headers=OURS, environ_overrides=environ).headers["Location"] == first
    assert sock.cost == charged
    assert "The week" in browser.get(first.removeprefix(UI)).text
    jobs = [world.record(job_id) for job_id in world.ids()]
    assert sorted(job.url or "" for job in jobs) == sorted(f"https://media.example/{n}.mp4" for n in range(100))
    assert {(job.tenant_id, job.quality, job.tags) for job in jobs} == {("acme", "1080p", ("a", "b"))}


def test_a_form_may_be_as_large_as_a_body(client: FlaskClient, world: World) -> None:
    long = "https://media.example/" + "x" * 1_500
    answer = signed_in(client, world).post("/submit/many", urls="\n".join([*[long] * 400, "nope"]))
    assert (answer.status_code, "Line 401" in answer.text) == (422, True)


def test_each_wrong_line_of_many_is_told_with_its_number_and_nothing_is_submitted(client: FlaskClient, world: World) -> None:
    browser = signed_in(client, world)
    answer = browser.post("/submit/many", urls=f"{URL}\n\nftp://x/<b>\n{URL}\nnope")
    page = unescape(answer.text)
    assert (answer.status_code, re.findall(r"Line (\d+) <code>", page)) == (422, ["3", "5"])
    assert (URL in page, "<b>" in answer.text) == (True, False)
    for form in ({"urls": " "}, {"urls": URL, "workspace_id": "-x"}, {"urls": URL, "quality": "9p"}, {"urls": "\n".join([URL] * 1001)}):
        assert browser.post("/submit/many", headers=None, **form).status_code == 422, form
    assert world.ids() == []
    assert signed_in(client, world, role=Role.READ).get("/submit/many").status_code == 403


def test_a_job_of_an_uploaded_film_is_called_as_its_file_was(client: FlaskClient, world: World) -> None:
    mine, nameless = (world.cell.uploads.create("acme", "main", 0, names).url for names in ({"filename": " a talk.mp4"}, {}))
    others = world.cell.uploads.create("other", "main", 0, {"filename": "secret.mp4"}).url
    browser = signed_in(client, world)

    def titles(**fields: str) -> list[object]:
        before = set(world.ids())
        browser.post("/submit/many" if "urls" in fields else "/submit", headers=None, pipeline="media", **fields)
        return [world.record(job).metadata.get("title") for job in world.ids() if job not in before]

    assert titles(url=mine) == ["a talk.mp4"]
    assert titles(url=mine, metadata='{"title": "Monday", "n": 1}') == ["Monday"]
    assert titles(url=nameless) == [None]
    assert titles(url=f" {mine} ", metadata='{"n": 1}') == ["a talk.mp4"]
    assert "secret" not in str(titles(url=others))
    assert sorted(map(str, titles(urls=f"{mine}\n{URL}"))) == ["None", "a talk.mp4"]


def test_a_file_is_sent_in_parts_as_the_api_takes_them(make_client: MakeClient, world: World, tmp_path: Path) -> None:
    client = make_client(data_dir=str(tmp_path), upload_max_bytes=100)
    browser = signed_in(client, world)

    def ask(method: str, path: str, data: bytes = b"", **headers: str) -> TestResponse:
        named = {**OURS, "Tus-Resumable": "1.0.0", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return client.open(UI + path, method=method, data=data, headers=named, environ_overrides=AWAY)

    made = ask("POST", "/uploads", Upload_Length="6", Upload_Metadata="filename dGFsay5tcDQ=").get_json()
    path = f"/uploads/{made['upload_id']}"
    part = {"Content_Type": "application/offset+octet-stream"}
    assert ask("PATCH", path, b"abc", Upload_Offset="0", **part).headers["Upload-Offset"] == "3"
    assert ask("GET", path).get_json()["offset"] == 3
    refused = ask("PATCH", path, b"abc", Upload_Offset="0", **part)
    assert (refused.status_code, refused.get_json()["code"]) == (409, "upload_offset_conflict")
    assert "3 B of" in browser.get("/uploads").text
    assert ask("PATCH", path, b"def", Upload_Offset="3", **part).status_code == 204
    job = browser.post("/submit", pipeline="media", url=made["url"]).headers["Location"].rpartition("/")[2]
    assert (world.record(job).url, "talk.mp4" in browser.get("/uploads").text) == (made["url"], True)
    assert browser.post(f"{path}/delete").status_code == 409
    world.cell.client.cancel(job)
    assert ask("POST", "/uploads", Upload_Length="101").status_code == 413
    # What a page of another site, another tenant or a reader sends.
    assert ask("PATCH", path, b"x", Upload_Offset="6", Origin="https://evil.example", **part).status_code == 403
    assert signed_in(client, world, "other").post(f"{path}/delete").status_code == 404
    assert ask("GET", path).status_code == 404
    signed_in(client, world, role=Role.READ)
    assert (ask("POST", "/uploads", Upload_Length="1").status_code, ask("GET", path).status_code) == (403, 200)
    signed_in(client, world)
    assert browser.post(f"{path}/delete").status_code == 303
    assert ask("GET", path).status_code == 404
    client.delete_cookie(COOKIE, path=UI)
    ended = ask("GET", path)
    assert (ended.status_code, ended.mimetype) == (401, "application/problem+json")


def test_a_form_that_is_sent_after_the_session_s_end_leads_back_to_it(client: FlaskClient, world: World) -> None:
    browser = signed_in(client, world)
    client.delete_cookie(COOKIE, path=UI)
    for referrer, following in (
        ("http://localhost/pipeline/ui/submit?pipeline=sleep", "/pipeline/ui/submit?pipeline%3Dsleep"),
        ("https://evil.example/pipeline/ui/submit", None), ("http://localhost/elsewhere", None), ("", None),
    ):  # fmt: skip
        answer = browser.post("/submit", headers={**OURS, "Referer": referrer}, pipeline="sleep")
        assert answer.status_code == 303
        location = answer.headers["Location"]
        assert (f"next={following}" in location if following else "next=" not in location, "ended=1" in location) == (True, True), location
    assert "Your session had ended" in browser.get("/sign-in?ended=1").text
    assert "Your session had ended" not in browser.get("/sign-in").text
    assert world.ids() == []


def test_a_queued_job_s_priority_and_time_are_changed(client: FlaskClient, world: World) -> None:
    browser, job = signed_in(client, world), world.put()
    path = f"/jobs/{job.job_id}/change"
    assert f"{UI}{path}" in browser.get(f"/jobs/{job.job_id}").text
    assert browser.post(path, priority="7", run_at="2100-01-01T00:00:00Z").status_code == 303
    changed = world.record(job.job_id)
    assert (changed.priority, changed.reason) == (7, "scheduled")
    assert 'value="2100-01-01T00:00:00.000Z"' in browser.get(path).text
    for bad in ({"priority": "x"}, {"priority": "51"}, {"run_at": "soon"}):
        answer = browser.post(path, headers=None, **bad)
        assert (answer.status_code, f'id="error-{next(iter(bad))}"' in answer.text) == (422, True), bad
    assert world.record(job.job_id) == changed
    world.cell.client.cancel(job.job_id)
    assert browser.post(path, priority="1").status_code == 409
    assert signed_in(client, world, "other").post(path, priority="1").status_code == 404
    assert signed_in(client, world, role=Role.READ).get(path).status_code == 403


def test_usage_is_shown_against_the_tenant_s_own_limits(client: FlaskClient, world: World) -> None:
    world.cell.client.set_limits("acme", TenantLimits(max_queued=500, max_storage_bytes=2_000_000), actor="test")
    world.put()
    world.put()
    page = signed_in(client, world, role=Role.ADMIN).get("/tenants/acme").text
    assert ("<dd>2 of 500</dd>" in page, "<dd>0 B of 2.0 MB</dd>" in page, "<dd>0</dd>" in page) == (True, True, True)
