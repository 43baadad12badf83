"""The site as the API serves it, in a real browser: each page, in both themes, wide and narrow (`make site-test`)."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.acceptance.test_docs_page import BROWSER
from tests.docs_site.places import SERVED
from tests.stack import MakeStack

PAGES = sorted(page.relative_to(SERVED).as_posix() for page in SERVED.rglob("*.html"))
LOOKS = [("light", 1280), ("dark", 360)]


@pytest.fixture
def site(make_stack: MakeStack) -> str:
    return f"{make_stack().api().url}/pipeline/docs"


def test_every_page_is_whole_fits_and_asks_nobody_else(site: str) -> None:
    assert BROWSER, "a Chromium is needed (Debian: apt install chromium)"
    assert len(PAGES) > 50, "make site"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for scheme, width in LOOKS:
            look(browser, site, scheme, width)
        find(browser, site)
        browser.close()


def look(browser: Browser, site: str, scheme: str, width: int) -> None:
    """Nothing is asked of another address, no script fails, the policy forbids nothing, and nothing is wider than the window."""
    page = browser.new_context(viewport={"width": width, "height": 800}, color_scheme="dark" if scheme == "dark" else "light").new_page()
    asked: set[str] = set()
    said: list[str] = []
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    for name in PAGES:
        answer = page.goto(f"{site}/{name}")
        assert answer is not None
        assert answer.status == 200, name
        expect(page.locator("article h1").first).to_be_visible()
        assert said == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    assert asked - {""} == {urlsplit(site).netloc}


def find(browser: Browser, site: str) -> None:
    """The search works: its index is the site's own, in a worker."""
    page = browser.new_page()
    page.goto(f"{site}/index.html")
    page.locator("input.md-search__input").fill("queue_full")
    expect(page.locator(".md-search-result__item").first).to_contain_text("queue_full", timeout=60_000)
