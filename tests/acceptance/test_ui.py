"""The page in a real browser, over the real stack, with the rest of the network shut off."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Route, expect

from pipeline_jobs.access.api_keys import ALL, KeyStore, Role
from pipeline_jobs.files.artifacts import RunArtifacts
from pipeline_jobs.job import NewJob, rfc3339
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused
from tests.browser import Visit, visit
from tests.stack import ROOT, MakeStack
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("shared_browser")

UI = "/pipeline/ui"
#: How long a page may take to show what happened, in ms: machines are shared.
PATIENCE = 60_000
expect.set_options(timeout=PATIENCE)


MARK = "window.pwned=1"
PAYLOADS = (
    f"<script>{MARK}</script>",
    f"\"><img src=x onerror='{MARK}'>",
    f"' autofocus onfocus='{MARK}' x='",
    f"</textarea></title></script><svg onload={MARK}>",
    f"javascript:{MARK}",
    f"<a href='javascript:{MARK}' hx-get='/x' hx-trigger='load' hx-on:click='{MARK}'>x</a>",
    "<iframe src=https://evil.example></iframe><style>@import 'https://evil.example'</style>",
)


def sign_in(browser: Visit, text: str) -> None:
    browser.go(UI)
    browser.page.get_by_label("API key").fill(text)
    browser.page.get_by_role("button", name="Sign in").click()
    expect(browser.page.get_by_role("heading", name="Latest jobs")).to_be_visible()


def submit(browser: Visit, params: str, tags: str = "", pipeline: str = "sleep") -> str:
    browser.go(f"{UI}/submit?pipeline={pipeline}")
    browser.page.get_by_text("As JSON instead").click()
    browser.page.get_by_label("As JSON").fill(params)
    if tags:
        browser.page.get_by_text("Priority and tags").click()
        browser.page.get_by_label("Tags").fill(tags)
    browser.page.get_by_role("button", name="Submit").click()
    browser.page.wait_for_url(re.compile(r"/jobs/job_"))
    return browser.page.url.rpartition("/")[2]


def badge(browser: Visit) -> Any:
    return browser.page.locator(".heading .badge")


def test_a_tenant_signs_in_submits_follows_cancels_and_deletes(make_stack: MakeStack) -> None:
    stack = make_stack()
    _, text = KeyStore(stack.client.store).create("acme", Role.SUBMIT, actor="test")
    _, api = stack.together(partial(stack.worker, "jobs", "--autoscale=2,1"), stack.api)
    with visit(api.url) as browser:
        page = browser.page
        sign_in(browser, text)
        done = submit(browser, '{"echo": "hello"}', "weekly", "hold")
        page.evaluate("window.same = 1")
        stack.tell(done)
        expect(badge(browser)).to_have_text("completed")
        expect(page.locator("pre").first).to_contain_text('"echo": "hello"')
        assert page.evaluate("window.same") == 1, "the page was loaded anew"
        assert stack.client.get(done).tenant_id == "acme"

        long = submit(browser, '{"seconds": 600, "steps": 10000}')
        expect(badge(browser)).to_have_text("running")
        bar = page.locator(".meter progress")
        before = float(bar.get_attribute("value") or 0)
        until(lambda: float(bar.get_attribute("value") or 0) > before, "the bar to move")
        page.get_by_text("Cancel ...").click()
        page.get_by_role("button", name="Cancel the job").click()
        expect(badge(browser)).to_have_text("cancelled")
        assert stack.client.get(long).status is JobStatus.CANCELLED

        browser.go(f"{UI}/jobs?status=completed")
        expect(page.locator("table.jobs tbody tr")).to_have_count(1)
        page.get_by_role("link", name=done).click()
        page.get_by_role("link", name="weekly").click()
        page.get_by_role("link", name=done).click()
        page.get_by_text("Delete ...").click()
        page.get_by_role("button", name="Delete for good").click()
        expect(page.get_by_role("link", name=long)).to_be_visible()
        expect(page.get_by_role("link", name=done)).to_have_count(0)
        browser.quiet()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("API key")).to_be_visible()
        browser.quiet()


def test_what_others_wrote_runs_nothing_in_a_reader_s_browser(make_stack: MakeStack) -> None:
    stack = make_stack(max_concurrent_jobs=1000, announce_seconds=1000.0)
    store = stack.client.store
    _, text = KeyStore(store).create(ALL, Role.ADMIN, actor="test")
    api = stack.api()
    store.announce("w", 1000, [])
    made: list[str] = []
    for payload in PAYLOADS:
        tag = payload[:64]
        more = {"metadata": {payload: payload}, "tags": (tag,), "params": {"echo": payload}}
        for end in (JobStatus.COMPLETED, JobStatus.FAILED, None):
            job = stack.client.submit(NewJob(pipeline="sleep", tenant_id="acme", **more))  # type: ignore[arg-type]
            made.append(job.job_id)
            claimed = store.claim(job.job_id, stack.client.get(job.job_id).fence, worker="w", run="r")
            assert not isinstance(claimed, ClaimRefused)
            store.progress(job.job_id, claimed.fence, 40, payload, payload)
            data = dict.fromkeys(("transcript", "summary", "title", "drive_url", "language", "speech_model", payload), payload)
            lists = {"keywords": [payload], "warnings": [payload], "segments": [{"start": 0, "text": payload}]}
            if end is JobStatus.COMPLETED:
                everything = {**data, **lists, "artifacts": {payload: payload}}
                store.finish(job.job_id, claimed.fence, end, result={"success": True, "data": everything})
            elif end is JobStatus.FAILED:
                detail = {"code": payload, "message": payload, "stage": payload, "retryable": True}
                store.finish(job.job_id, claimed.fence, end, error=payload, error_detail=detail)
    with visit(api.url) as browser:
        sign_in(browser, text)
        for path in (*(f"{UI}/jobs/{job_id}" for job_id in made), f"{UI}/jobs", UI, f"{UI}?tenant_id=acme"):
            browser.go(path)
            # What a poll brings is put into the page by a script.
            browser.page.evaluate("htmx.ajax('GET', location.href, {target: '#live', swap: 'innerMorph'})")
            assert browser.page.evaluate("window.pwned") is None, path
        browser.quiet()
        for payload in PAYLOADS:
            browser.go(f"{UI}/submit?pipeline=sleep")
            page = browser.page
            page.locator("form.card").evaluate("form => form.noValidate = true")
            page.locator("form.card details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
            for name in ("params", "tenant_id", "workspace_id", "tags"):
                page.locator(f"form.card [name={name}]").fill(payload)
            page.get_by_role("button", name="Submit").click()
            expect(page.locator("[aria-invalid=true]").first).to_be_visible()
            assert page.evaluate("window.pwned") is None
        # A refused form is told as a failed load; nothing else was wrong.
        assert {text.split("(")[0] for text in browser.wrong} == {"Failed to load resource: the server responded with a status of 422 "}
        assert browser.strayed == []


def test_polls_pause_while_nobody_looks_and_a_revoked_key_ends_the_visit(make_stack: MakeStack) -> None:
    stack = make_stack()
    keys = KeyStore(stack.client.store)
    key, text = keys.create("acme", Role.READ, actor="test")
    api = stack.api()
    with visit(api.url) as browser:
        page = browser.page
        sign_in(browser, text)
        with page.expect_request(lambda request: request.headers.get("hx-request") == "true", timeout=PATIENCE):
            pass
        asked: list[str] = []
        page.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.away === true}); window.away = true")
        page.on("request", lambda request: asked.append(request.url))
        # As the timer does it.
        page.evaluate("for (let i = 0; i < 5; i++) document.getElementById('live').dispatchEvent(new Event('every'))")
        assert page.evaluate("new Promise((resolve) => setTimeout(() => resolve(1), 0))") == 1
        assert asked == []
        with page.expect_request(lambda request: request.headers.get("hx-request") == "true", timeout=PATIENCE):
            page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
        browser.quiet()
        keys.revoke("acme", key.key_id, actor="test")
        page.wait_for_url(re.compile(r"/sign-in\?next="), timeout=PATIENCE)
        expect(page.get_by_label("API key")).to_be_visible()


def uploaded(browser: Visit, film: Path) -> None:
    """A file is sent in parts: a part that is lost is sent again, and after a reload the same file goes on where it was."""
    page, sent = browser.page, list[int]()

    def part(route: Route) -> None:
        if route.request.method != "PATCH":
            route.fallback()
            return
        sent.append(int(route.request.headers["upload-offset"]))
        if len(sent) == 2:
            route.abort("connectionreset")
        elif len(sent) != 3:
            # The third is never answered: the reader reloads the page meanwhile.
            route.continue_()

    browser.go(f"{UI}/submit?pipeline=media")
    page.route(re.compile(rf"{UI}/uploads/[0-9a-f]+$"), part)
    page.locator("input[type=file]").set_input_files(film)
    # A wait of Playwright's own, which serves the routes meanwhile.
    until(lambda: page.evaluate("1") and len(sent) >= 3, "the second part to be sent again")
    page.reload()
    expect(page.locator("[data-drop]")).to_be_visible()
    expect(page.get_by_label("Media address")).to_have_value("")
    page.locator("input[type=file]").set_input_files(film)
    expect(page.get_by_label("Media address")).to_have_value(re.compile("^upload://"))
    assert sent == [0, PART, PART, PART], "what was stored is not sent again"
    page.unroute_all()


#: Bytes of a part of an upload (`upload.js`).
PART = 4 * 1024 * 1024


def test_a_file_goes_on_after_a_reload_and_a_form_outlives_its_session(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack()
    _, text = KeyStore(stack.client.store).create("acme", Role.SUBMIT, actor="test")
    api = stack.api()
    # Long, and of letters of two bytes and more: it is cut between them.
    film = tmp_path / ("\U0001f3ac \u043b\u0435\u043a\u0446\u0438\u044f " * 9 + ".mp4")
    film.write_bytes(bytes(PART + 1000))
    with visit(api.url, timezone_id="Asia/Tokyo") as browser:
        page = browser.page
        sign_in(browser, text)
        uploaded(browser, film)
        browser.wrong.clear()
        address = page.get_by_label("Media address").input_value()
        page.get_by_text("Priority and tags").click()
        page.get_by_label("Tags").fill("weekly")
        page.get_by_text("More", exact=True).click()
        page.get_by_label("Not before").fill("2090-01-31T18:00")
        page.context.clear_cookies()
        page.get_by_role("button", name="Submit").click()
        expect(page.get_by_text("Your session had ended, so nothing was sent.")).to_be_visible()
        assert stack.client.list(JobQuery()).items == ()
        page.get_by_label("API key").fill(text)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("This is what you had typed before")).to_be_visible()
        expect(page.get_by_label("Media address")).to_have_value(address)
        expect(page.get_by_label("Tags")).to_have_value("weekly")
        page.get_by_role("button", name="Submit").click()
        page.wait_for_url(re.compile(r"/jobs/job_"))
        job = stack.client.get(page.url.rpartition("/")[2])
        assert (job.url, job.tags) == (address, ("weekly",))
        assert rfc3339(job.run_at) == "2090-01-31T09:00:00.000Z", "by the reader's clock"
        page.get_by_role("button", name="Priority and time").click()
        expect(page.get_by_label("Not before")).to_have_value("2090-01-31T18:00")
        page.get_by_label("Not before").fill("2090-01-31T18:30:05")
        page.get_by_role("button", name="Save").click()
        page.wait_for_url(re.compile(r"/jobs/job_[^/]*$"))
        assert rfc3339(stack.client.get(job.job_id).run_at) == "2090-01-31T09:30:05.000Z"
        # It was sent: the next one is empty.
        browser.go(f"{UI}/submit?pipeline=media")
        expect(page.get_by_label("Media address")).to_have_value("")
        expect(page.get_by_text("This is what you had typed before")).to_have_count(0)
        browser.quiet()


def test_who_signs_out_leaves_nothing_of_what_was_typed(make_stack: MakeStack) -> None:
    """At the same tab the next one may be somebody else with the same key, or with the same rights."""
    _, text = KeyStore((stack := make_stack()).client.store).create("acme", Role.SUBMIT, actor="test")
    api = stack.api()
    with visit(api.url) as browser:
        page = browser.page
        sign_in(browser, text)
        browser.go(f"{UI}/submit?pipeline=media")
        page.get_by_label("Media address").fill("https://secret.example/film.mp4")
        assert "secret.example" in page.evaluate("JSON.stringify({...sessionStorage})")
        # Without a sign-out it is given back.
        browser.go(f"{UI}/submit?pipeline=media")
        expect(page.get_by_label("Media address")).to_have_value("https://secret.example/film.mp4")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("API key")).to_be_visible()
        assert page.evaluate("[sessionStorage.length, document.cookie]") == [0, ""]
        page.go_back()
        expect(page.get_by_label("API key")).to_be_visible()
        sign_in(browser, text)
        browser.go(f"{UI}/submit?pipeline=media")
        expect(page.get_by_label("Media address")).to_have_value("")
        expect(page.get_by_text("This is what you had typed before")).to_have_count(0)
        browser.quiet()


def follows_and_finds(browser: Visit) -> None:
    """A click on a line goes there, the list follows the film until somebody scrolls, and a search marks what it finds."""
    page = browser.page
    video, lines = page.locator("video"), page.locator(".transcript li")
    top = "() => document.querySelector('.transcript').scrollTop"
    lines.nth(3).get_by_role("link").click()
    until(lambda: video.evaluate("video => video.currentTime") > 1.4, "the film to go there")
    expect(page.locator(".transcript li[aria-current]")).to_have_count(1)
    assert "?t=1" in page.url
    video.evaluate("video => { video.pause(); video.currentTime = 12; }")
    expect(lines.nth(24)).to_have_attribute("aria-current", "true")
    followed = until(lambda: page.evaluate(top), "the list to follow")
    page.locator(".transcript").dispatch_event("wheel")
    video.evaluate("video => { video.currentTime = 0; }")
    expect(lines.nth(0)).to_have_attribute("aria-current", "true")
    assert page.evaluate(top) == followed
    page.get_by_role("button", name="Follow").click()
    assert page.evaluate(top) == 0
    page.get_by_label("Find in the transcript").fill("line 1")
    expect(page.locator("[data-found]")).to_have_text("11 found")
    assert page.locator(".transcript mark").all_text_contents() == ["Line 1"] * 11
    page.get_by_label("Find in the transcript").fill("")
    expect(page.locator(".transcript mark")).to_have_count(0)
    assert lines.nth(1).locator("[data-text]").inner_text() == "Line 1 of the harbor & <b>more</b>."


def test_a_film_of_a_result_is_played_and_its_files_open(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(announce_seconds=1000.0)
    api = stack.api()
    store = stack.client.store
    store.announce("w", 5, [])
    job = stack.client.submit(NewJob(url="https://media.example/x.mp4", tenant_id="acme"))
    claimed = store.claim(job.job_id, stack.client.get(job.job_id).fence, worker="w", run="r")
    assert not isinstance(claimed, ClaimRefused)
    run = RunArtifacts(stack.app.cell.artifacts, f"acme/main/{job.job_id}/{claimed.fence}")
    (tmp_path / "transcript.txt").write_text("A harbor in the morning.\n")
    # The links name the host of the settings, not the one that the browser asked for.
    links = {
        "media": run.publish(ROOT / "samples" / "harbor.mp4", "video.mp4"),
        "transcript": run.publish(tmp_path / "transcript.txt", "transcript.txt"),
    }
    lines = [{"start": n * 0.5, "end": n * 0.5 + 0.5, "text": f"Line {n} of the harbor & <b>more</b>."} for n in range(40)]
    data = {"transcript": "A harbor in the morning.", "artifacts": links, "drive_url": links["media"], "segments": lines}
    store.finish(job.job_id, claimed.fence, JobStatus.COMPLETED, result={"success": True, "data": data}, artifacts=run.prefix)
    with visit(api.url) as browser:
        browser.go(f"{UI}/jobs/{job.job_id}")
        video = browser.page.locator("video")
        until(lambda: video.evaluate("video => video.readyState >= 1"), "the film's metadata")
        assert video.evaluate("video => video.videoWidth") > 0
        follows_and_finds(browser)
        browser.quiet()
        browser.page.get_by_role("link", name="transcript", exact=True).click()
        expect(browser.page.locator("body")).to_contain_text("A harbor in the morning.")


def test_a_job_s_page_follows_its_stream(make_stack: MakeStack) -> None:
    stack = make_stack(announce_seconds=1000.0)
    store = stack.client.store
    _, text = KeyStore(store).create("acme", Role.READ, actor="test")
    api = stack.api()
    store.announce("w", 5, [])
    job = stack.client.submit(NewJob(pipeline="sleep", tenant_id="acme"))
    claimed = store.claim(job.job_id, stack.client.get(job.job_id).fence, worker="w", run="r")
    assert not isinstance(claimed, ClaimRefused)
    store.progress(job.job_id, claimed.fence, 10, "sleep", "step 1")
    with visit(api.url) as browser:
        page = browser.page
        sign_in(browser, text)
        browser.go(f"{UI}/jobs/{job.job_id}")
        expect(page.locator("#live[data-following]")).to_be_attached()
        # No poll comes through: what is shown now comes by the stream. The one that was sent before it is answered after it.
        asked: list[tuple[Route, APIResponse]] = []
        polls = re.compile(rf"{UI}/jobs/{job.job_id}$")
        page.route(polls, lambda route: asked.append((route, route.fetch())))
        until(lambda: page.evaluate("htmx.trigger('#live', 'refresh'), null") or asked, "a poll that is sent")
        browser.quiet()
        store.progress(job.job_id, claimed.fence, 42, "sleep", "step <b>2</b>")
        expect(page.locator(".meter strong")).to_have_text("42 %")
        expect(page.locator("[data-message]")).to_have_text("Step <b>2</b>")
        page.evaluate("window.swapped = new Promise(done => document.addEventListener('htmx:after:swap', done, {once: true})), null")
        (route, answer), *_ = asked
        route.fulfill(response=answer)
        page.evaluate("window.swapped.then(() => null)")
        expect(page.locator(".meter strong")).to_have_text("42 %")
        assert page.locator(".meter progress").evaluate("bar => bar.value") == 42
        page.unroute(polls)
        store.finish(job.job_id, claimed.fence, JobStatus.COMPLETED, result={"success": True, "data": {}})
        expect(badge(browser)).to_have_text("completed")
        expect(page.locator("#live[data-following]")).to_have_count(0)
        assert browser.strayed == []
