"""What the page's scripts do in a browser: keys, the bar below a film, what is copied, the theme, and what is told at a job's end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from pipeline_jobs.access.api_keys import KeyStore, Role
from pipeline_jobs.files.artifacts import RunArtifacts
from pipeline_jobs.states import JobStatus
from tests.browser import Visit, visit
from tests.gallery import UI, Painter
from tests.stack import ROOT, MakeStack
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("shared_browser")

#: A reader far from UTC.
ZONE = {"timezone_id": "Pacific/Honolulu", "locale": "en-US"}
MAY = ["clipboard-read", "clipboard-write", "notifications"]


def film_with_chapters(painter: Painter) -> str:
    """A job with a film of 14.7 s, three chapters, and a storyboard of two pictures beside each other."""
    job_id = painter.job(title="How glaciers remember")
    fence = painter.start(job_id)
    run = RunArtifacts(painter.cell.artifacts, f"lumen/main/{job_id}/{fence}")
    Image.new("RGB", (320, 90), "teal").save(painter.folder / "tiles.jpg")
    picture = run.publish(painter.folder / "tiles.jpg", "tiles.jpg")
    cues = [f"00:00:0{n * 7}.000 --> 00:00:0{n * 7 + 7}.000\n{picture}#xywh={n * 160},0,160,90\n" for n in range(2)]
    (painter.folder / "storyboard.vtt").write_text("\n".join(["WEBVTT\n", *cues]))
    links = {
        "media": run.publish(ROOT / "samples" / "harbor.mp4", "video.mp4"),
        "storyboard": run.publish(painter.folder / "storyboard.vtt", "storyboard.vtt"),
    }
    data = {
        "segments": [{"start": 0.0, "text": "Good morning."}, {"start": 9.0, "text": "Any questions?"}],
        "chapters": [{"start": start, "title": title} for start, title in ((0, "Welcome"), (4, "Air in a bubble"), (9, "Questions"))],
        "artifacts": links,
    }
    painter.store.finish(job_id, fence, JobStatus.COMPLETED, result={"success": True, "data": data}, artifacts=run.prefix)
    return job_id


def the_bar_below_the_film(page: Page) -> None:
    bar, film = page.get_by_role("slider", name="Place in the film"), page.locator("video")
    expect(bar).to_be_visible()
    # The chapters are its pieces.
    expect(bar.locator(".part")).to_have_count(3)
    wide = bar.bounding_box()
    assert wide is not None
    bar.hover(position={"x": wide["width"] * 0.9, "y": 10})
    expect(page.locator(".tip span")).to_have_text(re.compile(r"^0:1[23] Questions$"))
    expect(page.locator(".tip i")).to_have_css("background-position", "-160px 0px")
    bar.click(position={"x": wide["width"] * 0.5, "y": 10})
    until(lambda: 6 < film.evaluate("film => film.currentTime") < 9, "the film to go where the bar was pressed")
    bar.focus()
    page.keyboard.press("ArrowLeft")
    until(lambda: film.evaluate("film => film.currentTime") < 4, "the film to go back five seconds")
    page.get_by_role("link", name="0:09").last.click()
    until(lambda: film.evaluate("film => film.currentTime") >= 9, "the film to go to the chapter")
    expect(page.locator(".chapters li[aria-current]")).to_contain_text("Questions")
    page.get_by_label("Find in the transcript").fill("questions")
    expect(bar.locator(".hit")).to_have_count(1)


def copied(page: Page, button: Any) -> str:
    button.click()
    expect(button).to_have_text("Copied")
    return str(page.evaluate("navigator.clipboard.readText()"))


def what_is_copied(page: Page) -> None:
    assert copied(page, page.locator("[data-copy]")) == "Good morning.\nAny questions?"
    page.get_by_text("Copy as curl").click()
    assert copied(page, page.locator("[data-copies=curl]")).startswith("curl http")


def keys(browser: Visit, film: str) -> None:
    page = browser.page
    browser.go(f"{UI}/jobs")
    rows = page.locator("table.jobs tbody tr")
    expect(rows).to_have_count(2)
    for key, chosen in (("j", 0), ("j", 1), ("k", 0)):
        page.keyboard.press(key)
        expect(rows.nth(chosen).get_by_role("link")).to_be_focused()
    # The list is drawn anew every two seconds: where the reader is, is kept.
    page.evaluate("new Promise((done) => document.addEventListener('htmx:after:swap', () => done(1), {once: true}))")
    expect(rows.nth(0).get_by_role("link")).to_be_focused()
    page.keyboard.press("x")
    expect(rows.nth(0).get_by_role("checkbox")).to_be_checked()
    page.keyboard.press("/")
    expect(page.locator("input[name=find]")).to_be_focused()
    # They are letters in a field.
    page.keyboard.type("gone")
    expect(page.locator("input[name=find]")).to_have_value("gone")
    page.locator("h1").click()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.get_by_label("Use these keys").uncheck()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("n")
    page.get_by_role("button", name="Shortcuts").click()
    page.get_by_label("Use these keys").check()
    page.get_by_role("button", name="Close").click()
    expect(page).to_have_url(re.compile("/jobs$"))
    page.keyboard.press("g")
    page.keyboard.press("b")
    page.wait_for_url(re.compile("/batches$"))
    browser.go(f"{UI}/jobs/{film}")
    expect(page.get_by_label("Find in the transcript")).to_be_visible()
    page.keyboard.press("f")
    expect(page.get_by_label("Find in the transcript")).to_be_focused()
    page.locator("h1").click()
    page.keyboard.press(" ")
    until(lambda: not page.locator("video").evaluate("film => film.paused"), "the film to play")
    page.keyboard.press(" ")
    until(lambda: page.locator("video").evaluate("film => film.paused"), "the film to stop")


def the_theme(page: Page) -> None:
    """It changes without a new page, and the server writes it into the next one."""
    page.evaluate("window.same = 1")
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("window.same") == 1
    until(lambda: "dark" in {one["value"] for one in page.context.cookies()}, "the choice to be kept")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_what_the_scripts_of_the_page_do(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(announce_seconds=1000.0)
    painter = Painter(stack, tmp_path)
    painter.store.announce("cpu-1", 6, [])
    film, running = film_with_chapters(painter), painter.job(title="Complex analysis II")
    fence = painter.start(running)
    _, text = KeyStore(painter.store).create("lumen", Role.SUBMIT, actor="test")
    api = stack.api()
    with visit(api.url, permissions=MAY, **ZONE) as browser:
        page = browser.page
        browser.go(UI)
        page.get_by_label("API key").fill(text)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(re.compile("/ui$"))
        expect(page.get_by_text("Times are in Pacific/Honolulu.")).to_be_visible()
        browser.go(f"{UI}/jobs/{film}")
        the_bar_below_the_film(page)
        what_is_copied(page)
        keys(browser, film)
        the_theme(page)
        browser.go(f"{UI}/jobs/{running}")
        page.evaluate("window.told = []; window.Notification = class { constructor(text) { window.told.push(text); } "
                      "static permission = 'granted'; static requestPermission = async () => 'granted'; }; null")  # fmt: skip
        page.get_by_role("button", name="Tell me when it ends").click()
        expect(page.get_by_text("You will be told when it ends")).to_be_visible()
        painter.store.finish(running, fence, JobStatus.COMPLETED, result={"success": True, "data": {}})
        expect(page).to_have_title("completed: Complex analysis II")
        expect(page.locator("#said")).to_have_text("completed: Complex analysis II")
        assert page.evaluate("window.told") == ["completed: Complex analysis II"]
        browser.quiet()
