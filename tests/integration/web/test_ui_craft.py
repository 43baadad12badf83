"""What makes the page a page: themes, answers to wrong addresses, sessions that last while they are used, saved views, ticked jobs,
forms from a schema, transcripts to take away, limits that nobody overwrites unseen, and pauses with a name."""

from __future__ import annotations

import gzip
import json
import re
import time
from html import unescape

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.access import audit
from pipeline_jobs.access.api_keys import ALL, MAX_NAME, Role
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.jobs.results import NAME
from pipeline_jobs.operation import pauses
from pipeline_jobs.operation.due_shares import standings
from pipeline_jobs.operation.who_ran import MINUTES, last_hour, of_jobs, shares
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.parts_ran import Held
from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.web.access import sessions
from pipeline_jobs.web.access.sessions import COOKIE
from pipeline_jobs.web.ui.arguments import KNOWN
from pipeline_jobs.web.ui.results import MAX_BYTES

from .test_ui import AWAY, UI, Browser, signed_in
from .world import NOON, World

NAVIGATION = '<nav aria-label="Pages">'


class TestTheme:
    def test_it_is_chosen_by_a_form_and_written_by_the_server(self, client: FlaskClient, world: World) -> None:
        browser = signed_in(client, world)
        assert '<html lang="en">' in browser.get("").text
        back = browser.client.post(
            f"{UI}/theme", data={"theme": "dark"}, headers={**browser.headers, "Referer": f"http://localhost{UI}/jobs?status=failed"},
            environ_overrides=AWAY,
        )  # fmt: skip
        assert (back.status_code, back.headers["Location"]) == (303, f"{UI}/jobs?status=failed")
        assert '<html lang="en" data-theme="dark">' in browser.get("").text
        browser.post("/theme", theme="system")
        assert '<html lang="en">' in browser.get("").text

    def test_another_word_is_refused_and_it_leads_to_no_other_site(self, client: FlaskClient, world: World) -> None:
        browser = signed_in(client, world)
        assert browser.post("/theme", theme="pink").status_code == 422
        headers = {**browser.headers, "Referer": "https://evil.example/pipeline/ui/jobs"}
        assert client.post(f"{UI}/theme", data={"theme": "dark"}, headers=headers, environ_overrides=AWAY).headers["Location"] == UI


class TestWrongAddresses:
    @pytest.mark.parametrize(("path", "status"), [("/nothing/here", 404), ("/jobs/job_1_00000000", 404), ("/jobs?colour=red", 400)])
    def test_each_is_a_page_with_the_navigation(self, client: FlaskClient, world: World, path: str, status: int) -> None:
        answer = signed_in(client, world).get(path)
        assert (answer.status_code, answer.mimetype, NAVIGATION in answer.text) == (status, "text/html", True)
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")

    def test_who_is_nobody_sees_no_navigation_and_the_api_answers_as_before(self, client: FlaskClient, world: World) -> None:
        world.key()
        nobody = Browser(client).get("/nothing/here")
        assert (nobody.status_code, NAVIGATION in nobody.text) == (404, False)
        assert client.get("/pipeline/nothing").mimetype == "application/problem+json"

    def test_a_slash_at_the_end_is_forgiven_and_the_root_leads_to_the_page(self, client: FlaskClient, world: World) -> None:
        assert signed_in(client, world).get("/jobs/?status=failed").headers["Location"] == f"{UI}/jobs?status=failed"
        # Chromium names pictures, too, and something whose parameter makes it more specific than HTML.
        chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
        for accept in ("text/html", chromium):
            there = client.get("/", headers={"Accept": accept})
            assert (there.status_code, there.headers["Location"]) == (303, UI)
        for program in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
            assert client.get("/", headers=program).status_code == 404

    def test_every_page_says_which_parameters_it_knows(self, client: FlaskClient, world: World) -> None:
        pages = {
            rule.endpoint.removeprefix("ui.")
            for rule in client.application.url_map.iter_rules()
            if rule.endpoint.startswith("ui.") and "GET" in (rule.methods or ())
        }
        assert pages == KNOWN.keys()
        root = signed_in(client, world, ALL, Role.ADMIN)
        for path in ("", "/fairness", "/oncall", "/batches", "/schedules", "/uploads", "/audit", "/tenants/acme", "/submit"):
            assert root.get(f"{path}?colour=red").status_code in (400, 422), path


def test_a_session_lasts_from_its_last_use_on(client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = signed_in(client, world)
    assert "Set-Cookie" not in browser.get("/jobs").headers
    monkeypatch.setattr(sessions, "RENEWED_AFTER", 0.0)
    assert "Set-Cookie" not in browser.get("/jobs", **{"HX-Request": "true"}).headers, "what a script asks is no use"
    old = client.get_cookie(COOKIE, path=UI)
    assert f"{COOKIE}=" in browser.get("/jobs").headers["Set-Cookie"]
    assert browser.get("/jobs").status_code == 200
    # It stays the same session: signing out ends all of its cookies.
    browser.post("/sign-out")
    assert old is not None
    client.set_cookie(COOKIE, old.value, path=UI)
    assert browser.get("/jobs").status_code == 303


def test_its_own_files_are_compressed_for_who_takes_them_so(client: FlaskClient) -> None:
    with client.get(f"{UI}/static/ui.css") as plain:
        text, told = plain.data, plain.headers
    packed = client.get(f"{UI}/static/ui.css", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed.data) == text
    assert len(packed.data) < len(text) / 2
    assert ("Accept-Encoding" in packed.headers["Vary"], "Content-Encoding" in told) == (True, False)
    again = {"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]}
    assert client.get(f"{UI}/static/ui.css", headers=again).status_code == 304


class TestViews:
    def test_filters_are_kept_under_a_name_and_forgotten(self, client: FlaskClient, world: World) -> None:
        browser = signed_in(client, world)
        assert browser.post("/jobs/views?status=failed&tag=weekly", name="Broken <b>").status_code == 303
        page = unescape(browser.get("/jobs").text)
        assert f'href="{UI}/jobs?status=failed&tag=weekly">Broken <b><' in page
        assert "Broken &lt;b&gt;" in browser.get("/jobs").text
        assert "forget" in browser.get("/jobs?status=failed&tag=weekly").text
        browser.post("/jobs/views?status=failed&tag=weekly", name="Broken <b>", act="remove")
        assert "Broken" not in browser.get("/jobs").text

    def test_what_is_wrong_is_refused(self, client: FlaskClient, world: World) -> None:
        browser = signed_in(client, world)
        for address, fields in (
            ("status=failed", {"name": " "}), ("status=done", {"name": "x"}), ("status=failed", {"name": "x", "act": "steal"}),
        ):  # fmt: skip
            assert browser.post(f"/jobs/views?{address}", name=fields["name"], act=fields.get("act", "save")).status_code == 422, (
                address,
                fields,
            )
        assert browser.post("/jobs/views?colour=red", name="x").status_code == 400
        assert any(browser.post(f"/jobs/views?q={'x' * 200}", name=f"view {n}").status_code == 422 for n in range(21))

    @pytest.mark.parametrize("cookie", ["", "zz", "5b315d", b'[["x", 7]]'.hex(), b"{}".hex()])
    def test_a_cookie_that_is_not_ours_is_none(self, client: FlaskClient, world: World, cookie: str) -> None:
        browser = signed_in(client, world)
        client.set_cookie("pipeline_views", cookie, path=UI)
        assert browser.get("/jobs").status_code == 200


class TestTicked:
    def test_they_are_cancelled_run_again_and_deleted_after_a_question(self, client: FlaskClient, world: World) -> None:
        browser = signed_in(client, world)
        waits, failed, theirs = world.put(), world.put(status=JobStatus.FAILED), world.put("other")
        assert f'value="{waits.job_id}"' in browser.get("/jobs").text
        ids = "&".join(f"id={job.job_id}" for job in (waits, failed, theirs))
        asked = browser.get(f"/jobs/chosen?action=cancel&{ids}").text
        assert ("Cancel 1 job?" in asked, "1 of those" in asked, theirs.job_id in asked) == (True, True, False)
        assert world.record(waits.job_id).status is JobStatus.QUEUED
        assert "Cancelled: 1 of 1 job" in browser.post(f"/jobs/chosen?action=cancel&{ids}").text
        for _ in range(2):
            # Sent twice, it makes one job.
            browser.post(f"/jobs/chosen?action=retry&id={failed.job_id}", token="t")
        assert [job.retry_of for job in map(world.record, world.ids()) if job.retry_of] == [failed.job_id]
        browser.post(f"/jobs/chosen?action=delete&{ids}")
        assert {waits.job_id, failed.job_id} & set(world.ids()) == set()
        assert world.record(theirs.job_id).status is JobStatus.QUEUED

    @pytest.mark.parametrize(
        "query", ["action=cancel", "action=burn&id=x", "action=cancel" + "".join(f"&id=job_1_{n:08x}" for n in range(101))]
    )
    def test_none_too_many_and_other_acts_are_refused(self, client: FlaskClient, world: World, query: str) -> None:
        assert signed_in(client, world).get(f"/jobs/chosen?{query}").status_code == 422


class TestFormFromTheSchema:
    def test_each_parameter_has_a_field_that_suits_it(self, client: FlaskClient, world: World) -> None:
        text = signed_in(client, world).get("/submit?pipeline=sleep").text
        assert '<input type="number" name="p.steps" value="" step="1" min="1" max="1000" placeholder="10">' in text
        assert 'name="p.seconds" value="" step="any"' in text
        assert 'name="p.parts"' in text

    def test_what_is_filled_in_is_sent_and_faults_are_told_there(self, client: FlaskClient, world: World) -> None:
        browser = signed_in(client, world)
        form = {"p.steps": "7", "p.seconds": "", "params": '{"seconds": 2.5, "steps": 3}', "p.parts": '[{"name": "a"}]'}
        browser.client.post(f"{UI}/submit", data={"pipeline": "sleep", **form}, headers=browser.headers, environ_overrides=AWAY)
        params = world.record(world.ids()[0]).params
        assert (params["steps"], params["seconds"], params["parts"][0]["name"]) == (7, 2.5, "a")
        for name, bad in (("steps", "0"), ("steps", "seven"), ("parts", "[")):
            answer = browser.client.post(
                f"{UI}/submit", data={"pipeline": "sleep", f"p.{name}": bad}, headers=browser.headers, environ_overrides=AWAY
            )
            assert (answer.status_code, f'id="error-params.{name}"' in answer.text, f'value="{bad}"' in answer.text) == (422, True, True)
        assert len(world.ids()) == 1


def test_a_transcript_is_taken_away_in_three_forms(client: FlaskClient, world: World) -> None:
    job = world.put(pipeline="media")
    said = [("0", 0.0, 2.5, "Good <b>\nmorning.", "Ann"), ("1", 2.5, None, "Ships & boats.", "Ann"), ("2", 3661.0, None, "End.", "Bo")]
    segments = [{"start": start, "text": text, "speaker": who} | ({"end": end} if end else {}) for _, start, end, text, who in said]
    world.complete(job.job_id, segments=segments)
    browser = signed_in(client, world)
    page = browser.get(f"/jobs/{job.job_id}").text
    for kind in ("srt", "vtt", "txt"):
        assert f'href="{UI}/jobs/{job.job_id}/transcript?as={kind}"' in page
    srt = browser.get(f"/jobs/{job.job_id}/transcript?as=srt")
    assert srt.text.startswith(
        "1\n00:00:00,000 --> 00:00:02,500\nAnn: Good <b> morning.\n\n2\n00:00:02,500 --> 01:01:01,000\nShips & boats.\n"
    )
    assert srt.text.endswith("3\n01:01:01,000 --> 01:01:05,000\nBo: End.\n")
    assert srt.headers["Content-Disposition"] == f'attachment; filename="{job.job_id}.srt"'
    assert (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nAnn: Good &lt;b&gt; morning.\n"
        in browser.get(f"/jobs/{job.job_id}/transcript?as=vtt").text
    )
    assert browser.get(f"/jobs/{job.job_id}/transcript?as=txt").text == "Ann: Good <b> morning.\nShips & boats.\nBo: End.\n"
    assert browser.get(f"/jobs/{job.job_id}/transcript?as=doc").status_code == 422
    assert browser.get(f"/jobs/{world.put().job_id}/transcript?as=txt").status_code == 404
    assert signed_in(client, world, "other").get(f"/jobs/{job.job_id}/transcript?as=txt").status_code == 404


def test_a_job_is_run_again_from_a_stage_and_names_what_it_waits_for(client: FlaskClient, world: World) -> None:
    browser = signed_in(client, world)
    first = world.cell.client.submit(NewJob(pipeline="sleep", tenant_id="acme", metadata={"title": "Raw footage"}))
    second = world.cell.client.submit(NewJob(pipeline="sleep", tenant_id="acme", depends_on=(first.job_id,)))
    assert f'href="{UI}/jobs/{first.job_id}">Raw footage</a>' in browser.get(f"/jobs/{second.job_id}").text
    film = world.put(pipeline="media", status=JobStatus.FAILED)
    assert "<option selected>fetch</option><option>publish</option>" in browser.get(f"/jobs/{film.job_id}").text
    made = browser.post(f"/jobs/{film.job_id}/retry", from_stage="publish", token="x").headers["Location"].rpartition("/")[2]
    assert (world.record(made).retry_of, world.record(made).fresh_from) == (film.job_id, "publish")
    assert browser.post(f"/jobs/{film.job_id}/retry", from_stage="nothing").status_code == 422
    batch = world.cell.batches.create(NewBatch([NewJob(pipeline="sleep")], "acme", metadata={"title": "The week"}))
    page = browser.get(f"/jobs/{batch.job_ids[0]}").text
    assert f'href="{UI}/batches/{batch.batch.batch_id}">The week</a>' in page


def test_a_transcript_whose_file_is_away_is_not_said_not_to_be(client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job = world.put(pipeline="media")
    world.complete(job.job_id, segments=[{"start": 0, "text": "word " * 10}] * 1_000)
    folder = f"acme/main/{job.job_id}/1"
    path = f"{folder}/{NAME}"
    result = world.record(job.job_id).result
    world.write(job.job_id, artifacts=folder, result={**result, "data": {}, "result_ref": path, "result_bytes": MAX_BYTES + 1})
    browser, address = signed_in(client, world), f"/jobs/{job.job_id}/transcript?as=txt"
    assert browser.get(address).status_code == 410
    monkeypatch.setattr(world.cell.artifacts, "read", lambda wanted: json.dumps(result).encode() if wanted == path else b"")
    # It is larger than what a page has.
    assert browser.get(address).text.count("\n") == 1_000

    def away(wanted: str) -> bytes:
        raise StoreUnavailable("the artifact store cannot be asked")

    monkeypatch.setattr(world.cell.artifacts, "read", away)
    assert browser.get(address).status_code == 503


def test_rows_say_the_reason_and_the_limit_of_the_job_s_own_page(client: FlaskClient, world: World) -> None:
    world.cell.client.set_limits("acme", TenantLimits(max_concurrent=1), actor="test")
    jobs = [world.put() for _ in range(3)]
    world.store.announce("w1", 100, [])
    browser = signed_in(client, world)
    said = "Its tenant has reached its maximum number of running jobs. 1 of 1 taken."
    waiting = [job.job_id for job in jobs if said in browser.get(f"/jobs/{job.job_id}").text]
    assert len(waiting) == 2
    for path in ("/jobs", ""):
        rows = dict(re.findall(r'<tr id="row-(\w+)">(.*?)</tr>', browser.get(path).text, re.DOTALL))
        assert [said in rows[job_id] for job_id in waiting] == [True, True], path


def test_a_key_s_name_may_be_as_long_as_the_form_says(client: FlaskClient, world: World) -> None:
    root, name = signed_in(client, world, ALL, Role.ADMIN), "n" * MAX_NAME
    assert f'name="name" maxlength="{MAX_NAME}"' in root.get("/tenants/acme/keys").text
    assert name in root.post("/tenants/acme/keys", name=name, role="read").text


class TestLimits:
    def test_what_somebody_else_has_set_meanwhile_is_shown_before_it_is_lost(self, client: FlaskClient, world: World) -> None:
        root = signed_in(client, world, ALL, Role.ADMIN)
        (version,) = re.findall(r'name="version" value="(\w+)"', root.get("/tenants/acme").text)
        world.cell.client.set_limits("acme", TenantLimits(max_concurrent=7), actor="test")
        refused = root.post("/tenants/acme/limits", version=version, max_concurrent="3")
        assert refused.status_code == 409
        assert "<td>Maximum number of running jobs</td><td>7</td><td>3</td>" in refused.text
        assert world.cell.client.limits("acme") == TenantLimits(max_concurrent=7)
        (version,) = re.findall(r'name="version" value="(\w+)"', refused.text)
        assert root.post("/tenants/acme/limits", version=version, max_concurrent="3").status_code == 303
        assert world.cell.client.limits("acme") == TenantLimits(max_concurrent=3)

    def test_a_pause_has_a_name_a_time_and_a_reason_that_its_tenant_is_told(self, client: FlaskClient, world: World) -> None:
        world.cell.client.set_limits("acme", TenantLimits(weight=2.0), actor="test")
        root, tenant = signed_in(client, world, ALL, Role.ADMIN), signed_in(world.make_client(), world)
        world.put()
        assert "1 job that waits is not started" in root.get("/oncall/pause?of=acme").text
        assert root.post("/oncall/pause", of="acme", lasts="1 hour", why=" ").status_code == 422
        assert root.post("/oncall/pause", of="acme", lasts="a century", why="x").status_code == 422
        assert root.post("/oncall/pause", of="acme", lasts="1 hour", why="it floods <b>").status_code == 303
        assert world.cell.client.limits("acme") == TenantLimits(weight=2.0, paused=True)
        for page in (root.get("/oncall").text, tenant.get("").text):
            assert "paused by an operator" in page
            assert "loods &lt;b&gt;" in page
            assert re.search(r"until\s+<time datetime=", page)
        (held,) = pauses.pauses(world.cell.client)
        assert (held.tenant_id, held.over) == ("acme", False)
        assert root.post("/oncall/pause", of="acme", act="resume").status_code == 303
        assert world.cell.client.limits("acme") == TenantLimits(weight=2.0)
        assert pauses.pauses(world.cell.client) == []
        assert "paused" not in tenant.get("").text
        assert signed_in(client, world, role=Role.ADMIN).post("/oncall/pause", of="acme", act="resume").status_code == 403

    def test_a_pause_is_told_whatever_else_is_done_and_none_has_the_name_of_another(
        self, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        jobs = world.cell.client
        world.put()
        monkeypatch.setattr(pauses, "LOOKED_AT", 8)
        pauses.pause(jobs, "acme", actor="test", by="Ann", until=1, why="it floods")
        # What a tenant does itself pushes nothing out of sight.
        for number in range(10):
            audit.record(world.store, "test", "job.shared", f"job_{number}", tenant_id="acme")
        (held,) = pauses.pauses(jobs)
        assert (held.by, held.over) == ("Ann", True)
        # Resumed and paused again by its limits alone: by nobody who is known.
        jobs.set_limits("acme", TenantLimits(), actor="test")
        assert pauses.pauses(jobs) == []
        jobs.set_limits("acme", TenantLimits(paused=True), actor="test")
        assert pauses.pauses(jobs) == [pauses.Pause("acme")] == [pauses.pause_of(jobs, "acme")]
        assert "Resume acme" in signed_in(client, world, ALL, Role.ADMIN).get("/oncall").text

    def test_all_tenants_are_paused_by_the_defaults_but_for_those_that_are_resumed(self, client: FlaskClient, world: World) -> None:
        jobs = world.cell.client
        jobs.set_limits(ALL, TenantLimits(paused=True), actor="test")
        jobs.set_limits("free", TenantLimits(paused=False), actor="test")
        world.put(), world.put("free")
        root = signed_in(client, world, ALL, Role.ADMIN)
        for page in (root.get("/oncall").text, root.get("?tenant_id=acme").text):
            assert re.search("Every tenant(</strong>)? is paused by an operator", page)
        assert "is paused" not in root.get("?tenant_id=free").text
        assert {one.tenant_id: one.paused for one in standings(jobs, 1)} == {"acme": True, "free": False}


class TestWhoRan:
    def test_slots_are_counted_by_tenant_and_minute(self, world: World) -> None:
        minute, now = 60_000, NOON + 3_600_000
        whole = world.put(status=JobStatus.COMPLETED).evolve(attempt_started_at=now - 2 * minute, completed_at=now)
        half = whole.evolve(tenant_id="other", attempt_started_at=now - 90 * minute, completed_at=now - MINUTES * minute + minute // 2)
        before = whole.evolve(attempt_started_at=0, completed_at=now - MINUTES * minute)
        acme, other = shares(of_jobs([whole, half, before]), now)
        assert (acme.tenant_id, acme.minutes, acme.slots[-2:], acme.slots[0], acme.jobs) == ("acme", 2.0, (1.0, 1.0), 0.0, 1)
        assert (other.minutes, other.slots[0]) == (0.5, 0.5)
        many = [whole.evolve(tenant_id=f"t{n}") for n in range(9)]
        assert [one.tenant_id for one in shares(of_jobs(many), now)] == [*(f"t{n}" for n in range(6)), "others"]
        assert (shares(of_jobs(many), now)[-1].minutes, shares(of_jobs(many), now)[-1].jobs) == (6.0, 3)

    def test_runs_of_the_parts_of_a_job_are_of_one_job(self) -> None:
        minute, now = 60_000, NOON + 3_600_000
        parts = [Held("acme", "job_1_0", now - 3 * minute, now - minute), Held("acme", "job_1_0", now - 2 * minute, None)]
        (acme,) = shares(parts, now)
        assert (acme.slots[-4:], acme.jobs) == ((0.0, 1.0, 2.0, 1.0), 1)

    def test_it_is_drawn_for_operators(self, client: FlaskClient, world: World) -> None:
        root = signed_in(client, world, ALL, Role.READ)
        assert "Nothing ran in the last hour." in root.get("/fairness").text
        world.put(status=JobStatus.RUNNING, attempt_started_at=int(time.time() * 1000) - 300_000)
        page = root.get("/fairness").text
        assert 'aria-label="Slots by tenant and minute over the last hour"' in page
        assert last_hour(world.cell.client, NOON).tenants == ()
        assert 'style="' not in page


def test_the_largest_trouble_of_the_day_is_said_at_the_top(client: FlaskClient, world: World) -> None:
    browser = signed_in(client, world)
    for code in ("source_forbidden", "source_forbidden", "worker_lost"):
        world.fail(world.put().job_id, code=code, message="x", stage="fetch", retryable=False)
    page = unescape(browser.get("").text)
    assert "3 jobs failed in the last day, 2 of them with <code>source_forbidden</code>" in page
    (address,) = re.findall(r'href="([^"]*error_code=source_forbidden[^"]*)"', page)
    assert len(re.findall(r'<tr id="row-', browser.get(address.removeprefix(UI)).text)) == 2
