"""Every page in every state before axe: nothing serious or critical; and the heading keeps its distance from the edge.

Each in one theme and before two widths, which are drawn; in both and before all: `tests/heavy/bar_themes.py`.
"""

from __future__ import annotations

import os
import random
import secrets
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from pipeline_jobs.access.api_keys import ALL, KeyStore, Role
from tests.browser import Visit, visit
from tests.gallery import UI, Gallery, Painter
from tests.stack import Api, MakeStack, Stack

pytestmark = pytest.mark.usefixtures("shared_browser")

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
#: What axe calls bad enough.
BAD = ("serious", "critical")
#: From phones to walls; between them no style changes.
WIDTHS = (320, 999, 1000, 1100, 2560)
#: Least distance of a heading from the left edge, in px.
LEAST = 12


@pytest.fixture(scope="module")
def stack(make_shared_stack: MakeStack) -> Stack:
    # No worker comes: the one that the gallery tells of stays.
    return make_shared_stack(announce_seconds=1000.0)


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    return KeyStore(stack.client.store).create(ALL, Role.ADMIN, actor="test")[1]


@pytest.fixture(scope="module")
def gallery(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    return Painter(stack, tmp_path_factory.mktemp("gallery")).everything()


def found(axe: Axe, browser: Visit, rules: tuple[str, ...] = ()) -> list[str]:
    """What is bad on the page as it is. :param rules: only these."""
    only: dict[str, Any] = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
    results = axe.run(browser.page, options={"resultTypes": ["violations"], **only}).response["violations"]
    return [f"{one['id']}: {node['target']} {node['html'][:120]}" for one in results if one["impact"] in BAD for node in one["nodes"]]


class Looks:
    """Of which themes and widths each page is looked at."""

    def __init__(self, *, everything: bool = False, seed: int | None = None) -> None:
        self.everything = everything
        self.seed = secrets.randbelow(1_000_000) if seed is None else seed
        self._random = random.Random(self.seed)

    def themes(self) -> tuple[Theme, ...]:
        return THEMES if self.everything else (self._random.choice(THEMES),)

    def widths(self) -> tuple[int, ...]:
        return WIDTHS if self.everything else (WIDTHS[0], self._random.choice(WIDTHS[1:]))


def looked_at(axe: Axe, browser: Visit, path: str, looks: Looks) -> list[str]:
    """A page, all that can be opened open; in a second theme, only what a colour can do wrong."""
    page, wrong = browser.page, list[str]()
    browser.go(path)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    for number, theme in enumerate(looks.themes()):
        page.emulate_media(color_scheme=theme)
        wrong += [f"{theme}: {one}" for one in found(axe, browser, ("color-contrast",) if number else ())]
    for width in looks.widths():
        page.set_viewport_size({"width": width, "height": 800})
        left, wide = page.evaluate("[document.querySelector('h1').getBoundingClientRect().left, document.documentElement.scrollWidth]")
        wrong += [f"{width} px: its heading is {left} px from the edge"] if left < LEAST else []
        wrong += [f"{width} px: it is {wide} px wide"] if wide > width else []
    page.set_viewport_size({"width": 1280, "height": 800})
    return wrong


def check_pages(key: str, gallery: Gallery, api: Api, looks: Looks) -> None:
    """Nothing serious on any page."""
    axe = Axe()
    with visit(api.url) as browser:
        wrong = {"sign-in": looked_at(axe, browser, UI, looks)}
        browser.page.get_by_label("API key").fill(key)
        browser.page.get_by_role("button", name="Sign in").click()
        expect(browser.page.get_by_role("heading", name="Latest jobs")).to_be_visible()
        wrong |= {name: looked_at(axe, browser, path, looks) for name, path in (gallery.pages | gallery.wrong).items()}
        browser.go(f"{UI}/jobs")
        browser.page.keyboard.press("?")
        expect(browser.page.get_by_role("dialog")).to_be_visible()
        wrong["shortcuts"] = found(axe, browser)
        assert {name: said for name, said in wrong.items() if said} == {}


def test_no_page_has_a_serious_violation_in_any_state(key: str, gallery: Gallery, api: Api) -> None:
    """`AXE_SEED` draws the same again."""
    # The key is made before the API comes, which would let everybody in for some seconds more.
    seed = os.environ.get("AXE_SEED")
    looks = Looks(seed=int(seed) if seed else None)
    print(f"AXE_SEED={looks.seed}")
    check_pages(key, gallery, api, looks)
