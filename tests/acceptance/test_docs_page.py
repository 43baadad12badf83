"""The page of the API's documentation in a real browser that reaches nothing but the API."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route, expect, sync_playwright

from tests.stack import MakeStack

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def page() -> Iterator[Page]:
    assert BROWSER, "a Chromium is needed (Debian: apt install chromium)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def test_the_docs_page_works_without_the_network(make_stack: MakeStack, page: Page) -> None:
    api = make_stack().api()
    host = urlsplit(api.url).netloc
    elsewhere: list[str] = []
    said: list[str] = []

    def only_the_api(route: Route) -> None:
        if urlsplit(route.request.url).netloc == host or route.request.url.startswith("data:"):
            route.continue_()
        else:
            elsewhere.append(route.request.url)
            route.abort()

    page.route("**/*", only_the_api)
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"{api.url}/docs")
    # Each operation of the document is there, and opens.
    document = api.get("/openapi.json").json()
    operations = sum(len(item) for item in document["paths"].values())
    expect(page.locator(".opblock")).to_have_count(operations, timeout=60_000)
    page.locator(".opblock-summary", has_text="/pipeline/uploads").first.click()
    expect(page.locator(".opblock-description").first).to_be_visible()
    assert (elsewhere, said) == ([], [])
    # What the page lets one try reaches the API.
    page.locator(".opblock-summary-path", has_text="/health/live").first.click()
    block = page.locator(".opblock", has=page.locator(".opblock-summary-path", has_text="/health/live")).first
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    expect(block.locator(".live-responses-table")).to_contain_text("200", timeout=30_000)
    assert elsewhere == []
