"""Pictures of every page at three widths in both themes, into an untracked folder, to be looked at (`make pictures`)."""

from __future__ import annotations

import os
import re
from pathlib import Path

from playwright.sync_api import ViewportSize

from pipeline_jobs.access.api_keys import ALL, KeyStore, Role
from tests.browser import one_browser, visit
from tests.gallery import UI, Painter
from tests.stack import ROOT, MakeStack

FOLDER = Path(os.environ.get("PICTURES") or ROOT / ".pictures")
#: The page is drawn anew at a new width, and that is shown.
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
SIZES = (360, 1024, 1920)
#: Of which pages, by a part of their names: all.
ONLY = os.environ.get("ONLY", "")


def test_pictures_of_every_page(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(announce_seconds=1000.0)
    gallery = Painter(stack, tmp_path).everything()
    _, text = KeyStore(stack.client.store).create(ALL, Role.ADMIN, actor="test")
    api, made = stack.api(), 0
    pages = {name: path for name, path in (gallery.pages | gallery.wrong).items() if re.search(ONLY, name)}
    FOLDER.mkdir(exist_ok=True)
    with one_browser(), visit(api.url) as browser:
        page = browser.page
        browser.go(UI)
        page.screenshot(path=FOLDER / "sign-in.png")
        page.get_by_label("API key").fill(text)
        page.get_by_role("button", name="Sign in").click()
        for name, path in pages.items():
            browser.go(path)
            for width in SIZES:
                page.set_viewport_size(ViewportSize(width=width, height=800))
                for scheme in ("light", "dark"):
                    page.emulate_media(color_scheme=scheme)
                    page.evaluate(DRAWN)
                    page.screenshot(path=FOLDER / f"{name}-{width}-{scheme}.png", full_page=True)
                    made += 1
    print(f"\n{made} pictures in {FOLDER.name}/: look at them")
    assert made == len(SIZES) * 2 * len(pages) > 0
