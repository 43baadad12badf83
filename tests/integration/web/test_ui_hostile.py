"""Whoever means harm: hostile names on the pages of operators and of saved views, forms of other sites, addresses that lead away, and the
next one at the same browser."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.access.api_keys import ALL, Role
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.ui.views import COOKIE, MAX_BYTES, MOST
from tests.cases import each

from .drawn import harmless
from .test_ui import AWAY, UI, Browser, signed_in
from .test_ui_text import PAYLOADS
from .world import NOON, World

FRAGMENT = {"HX-Request": "true"}


@pytest.mark.parametrize("text", PAYLOADS)
def test_hostile_names_stay_text_on_the_pages_of_operators(client: FlaskClient, world: World, text: str) -> None:
    _, key = world.keys.create(ALL, Role.ADMIN, actor="test", name=text)
    root, tenant = Browser(client), signed_in(world.make_client(), world, role=Role.ADMIN)
    assert root.post("/sign-in", key=key).status_code == 303
    world.store.announce(text, 3, [])
    failed = world.write(
        world.put().job_id, status=JobStatus.FAILED, error=text, error_detail={"code": text, "message": text, "stage": text}
    )
    running = world.write(world.start(world.put().job_id).job_id, worker=text, stage=text, message=text, attempt_started_at=NOON)
    batch = world.cell.batches.create(NewBatch([NewJob(pipeline="sleep", tags=(text,))], "acme", metadata={"title": text}))
    assert root.post("/oncall/pause", of="acme", lasts="1 hour", why=text).status_code == 303
    pages = (
        "", "/jobs", "/jobs?group=tag", "/jobs?group=error_code", "/fairness", "/oncall", "/oncall/pause?of=acme", "/audit",
        "/tenants/acme", "/tenants/acme/keys", "/batches",
        f"/batches/{batch.batch.batch_id}", f"/jobs/{failed.job_id}", f"/jobs/{running.job_id}",
    )  # fmt: skip
    seen = []
    for browser in (root, tenant):
        for path in pages:
            for headers in ({}, FRAGMENT):
                answer = browser.get(path, **headers)
                harmless(answer.text)
                seen.append((path, answer.status_code))
    assert {path for path, status in seen if status == 200} >= {"", "/oncall", "/fairness", "/batches", f"/jobs/{failed.job_id}"}


@pytest.mark.parametrize("text", PAYLOADS)
def test_hostile_views_stay_text(client: FlaskClient, world: World, text: str) -> None:
    browser = signed_in(client, world)
    saved = browser.client.post(
        f"{UI}/jobs/views", query_string={"q": text}, data={"name": text}, headers=browser.headers, environ_overrides=AWAY
    )
    assert saved.status_code == 303
    assert re.match(rf"{UI}/jobs\?", saved.headers["Location"])
    for path in ("/jobs", saved.headers["Location"].removeprefix(UI)):
        page = browser.get(path)
        assert page.status_code == 200
        assert "Saved views" in page.text
        harmless(page.text)


def test_a_cookie_of_views_holds_what_a_browser_takes_and_only_filters(client: FlaskClient, world: World) -> None:
    browser = signed_in(client, world)
    answers = [browser.post(f"/jobs/views?q={'é' * 40}", name=f"view {n}") for n in range(MOST + 1)]
    assert (answers[0].status_code, answers[-1].status_code) == (303, 422)
    cookie = client.get_cookie(COOKIE, path=UI)
    assert cookie is not None
    assert len(cookie.value) <= MAX_BYTES
    # What somebody else wrote into it is read as filters, or not at all.
    key_id = bytes.fromhex(cookie.value).split(b'"')[1].decode()
    forged = f'["{key_id}", [["x", {{"_external": "1", "_anchor": "y", "next": "//evil.example", "status": "failed"}}]]]'
    client.set_cookie(COOKIE, forged.encode().hex(), path=UI)
    page = browser.get("/jobs").text
    assert f'<a href="{UI}/jobs?status=failed">x</a>' in page
    assert "evil.example" not in page


def test_the_next_one_at_this_browser_neither_sees_nor_keeps_the_views_of_the_one_before(client: FlaskClient, world: World) -> None:
    browser = signed_in(client, world)
    browser.post("/jobs/views?status=failed", name="Secret merger")
    assert "Secret merger" in browser.get("/jobs").text
    kept = client.get_cookie(COOKIE, path=UI)
    assert kept is not None
    other = signed_in(client, world, "other")
    assert client.get_cookie(COOKIE, path=UI) is None
    # Whoever puts it back is not shown it.
    client.set_cookie(COOKIE, kept.value, path=UI)
    assert "Secret merger" not in other.get("/jobs").text
    other.post("/jobs/views?status=queued", name="Mine")
    assert "Secret merger" not in bytes.fromhex(client.get_cookie(COOKIE, path=UI).value).decode()  # type: ignore[union-attr]


def test_views_are_kept_for_the_same_key_and_safe_over_https(client: FlaskClient, world: World) -> None:
    _, text = world.keys.create("acme", Role.READ, actor="test")
    browser = Browser(client, Origin="https://localhost")
    for _ in range(2):
        assert browser.post("/sign-in", key=text).status_code == 303
        saved = browser.client.post(
            f"{UI}/jobs/views?status=failed",
            data={"name": "Broken"},
            headers=browser.headers,
            environ_overrides={**AWAY, "wsgi.url_scheme": "https"},
        )
        assert "Secure" in saved.headers["Set-Cookie"]


def test_every_form_refuses_what_another_site_sends(client: FlaskClient, world: World) -> None:
    browser = signed_in(client, world, ALL, Role.ADMIN)
    job = world.put()
    names = {"job_id": job.job_id, "tenant_id": "acme", "pipeline": "sleep"}
    refused = 0
    for rule in client.application.url_map.iter_rules():
        if not rule.endpoint.startswith("ui.") or "POST" not in (rule.methods or ()):
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: names.get(found[1], "x"), rule.rule).removeprefix(UI)
        for headers in (
            {},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://localhost.evil.example"},
            {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
            {"Origin": "http://localhost", "Sec-Fetch-Site": "same-site"},
        ):
            answer = browser.post(
                path, headers=dict(headers), of="acme", lasts="1 hour", why="x", name="x", theme="dark", max_concurrent="1"
            )
            # Who is at the page may learn that what he names is unknown; nothing was written.
            assert answer.status_code == 403 or (answer.status_code == 404 and "/x" in path), (rule.rule, headers)
            refused += answer.status_code == 403
    assert refused > 100
    assert world.record(job.job_id) == replace(job)
    assert client.get_cookie(COOKIE, path=UI) is None


@each(
    "path",
    [
        "//evil.example/", f"//evil.example{UI}/jobs/", f"{UI}//evil.example/", f"{UI}/jobs//evil.example/", f"{UI}/%5cevil.example/",
        f"{UI}/jobs/a%0d%0aSet-Cookie:%20a=b/", f"{UI}/jobs/a%3fb%23c/", f"{UI}/jobs/%c3%a9/", f"{UI}/jobs/x/?next=//evil.example",
    ],
)  # fmt: skip
def test_a_slash_at_the_end_leads_nowhere_else(client: FlaskClient, world: World, path: str) -> None:
    signed_in(client, world)
    environ = {**AWAY, "PATH_INFO": path.partition("?")[0]}
    for answer in (
        client.get(path, base_url="http://localhost", environ_overrides=AWAY),
        client.get("/", environ_overrides={**environ, "QUERY_STRING": path.partition("?")[2]}),
    ):
        assert answer.status_code in (303, 308, 404), path
        where = answer.headers.get("Location", UI)
        assert re.match(rf"{UI}(?:/[\w%.~/-]*)?(?:\?|\Z)", where), where
        assert "Set-Cookie" not in answer.headers or "a=b" not in answer.headers["Set-Cookie"]


@each(("fields", "status"), [(1000, 401), (1001, 413)])
def test_a_form_of_very_many_fields_is_refused_before_it_is_read(client: FlaskClient, world: World, fields: int, status: int) -> None:
    """Nobody need have a key for the form to sign in with."""
    world.keys.create("acme", Role.READ, actor="test")
    browser = Browser(client)
    sent = "&".join(["key=x"] + ["a=b"] * (fields - 1))
    answer = client.post(
        f"{UI}/sign-in", data=sent, content_type="application/x-www-form-urlencoded", headers=browser.headers, environ_overrides=AWAY
    )
    assert answer.status_code == status
