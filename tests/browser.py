"""A real browser for tests: the system's Chromium, which reaches the API under test and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

#: What Playwright waits for its conditions, in ms: five seconds of its own are too few on a busy machine.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
#: No name leads anywhere. A route of Playwright's around each request would be asked in this process, and turns the cache off: a page would
#: fetch its styles, scripts and fonts anew each time.
ALONE = ("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",)
#: What the browser does without here: for each visit it made two pages of its own for suggestions below its address bar and, for each page,
#: a process for the next one: half of all that it cost. It takes the last such list only, so Playwright's own comes first.
WITHOUT = (
    "AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades", "HttpsFirstBalancedModeAutoEnable",
    "LensOverlay", "MediaRouter", "PaintHolding", "ThirdPartyStoragePartitioning", "AvoidCorsURLLoaderRestartOnRedirect",
    "OptimizationHints", "NetworkTimeServiceQuerying", "AimEnabled", "PreconnectToSearch",
    "WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup", "SpareRendererForSitePerProcess",
)  # fmt: skip
ARGUMENTS = (*ALONE, f"--disable-features={','.join(WITHOUT)}")
#: Addresses of what a page holds in itself.
INSIDE = ("data:", "blob:")


class Visit:
    """A page, and what it did that it should not have."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        #: Errors of scripts, violations of the content security policy, dialogs.
        self.wrong: list[str] = []
        #: Requests to anywhere but the API.
        self.strayed: list[str] = []

    def go(self, path: str) -> None:
        self.page.goto(self.base + path)

    def quiet(self) -> None:
        """Nothing went wrong so far, and nothing was asked of others."""
        assert (self.wrong, self.strayed) == ([], []), (self.wrong, self.strayed)


#: The one that `one_browser` has started.
_kept: list[Browser] = []


@contextmanager
def one_browser() -> Iterator[None]:
    """Meanwhile all visits are of one browser, each with nothing of the others' (no cookie, no cache): a start takes seconds.

    Until it ends, this thread cannot run another loop of asyncio.
    """
    with _started() as browser:
        _kept.append(browser)
        try:
            yield
        finally:
            _kept.remove(browser)


@contextmanager
def _started() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("CI"):
            raise AssertionError("no Chromium was found")
        pytest.skip("no Chromium was found")
    with sync_playwright() as playwright:
        # Root, in a container: there is no user namespace for its sandbox.
        browser = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(base: str, **options: Any) -> Iterator[Visit]:
    """A fresh visit of an API, of somebody who wants no motion: a badge that breathes is drawn sixty times a second, by the processor.

    :param options: of Playwright's `new_context` (viewport, color_scheme, ...).
    """
    calm = {"reduced_motion": "reduce", **options}
    with nullcontext(_kept[0]) if _kept else _started() as browser, browser.new_context(**calm) as context:
        context.set_default_timeout(PATIENCE_MS)
        found = Visit(context.new_page(), base)
        _watch(context, found)
        yield found


def _watch(context: BrowserContext, visit: Visit) -> None:
    own = urlsplit(visit.base).netloc

    def request(request: Request) -> None:
        if urlsplit(request.url).netloc != own and not request.url.startswith(INSIDE):
            visit.strayed.append(request.url)

    def dialog(dialog: Any) -> None:
        visit.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    context.on("request", request)
    context.on("console", lambda message: visit.wrong.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: visit.wrong.append(str(error.error)))
    context.on("dialog", dialog)
