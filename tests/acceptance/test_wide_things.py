"""What is wider than the page is scrolled in a box of its own, which shows by its edges on which side there is more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline_jobs.jobs.graph import Drawn, svg
from pipeline_jobs.states import JobStatus
from tests.browser import Visit, visit

STATIC = Path(__file__).resolve().parents[2] / "pipeline_jobs" / "web" / "ui" / "static"
NAMES = ("fetch", "transcode", "hear", "join", "publish")


def flow() -> str:
    """The picture of a workflow of five levels."""
    states = (JobStatus.COMPLETED, JobStatus.RUNNING, *3 * (JobStatus.QUEUED,))
    nodes = [Drawn(name, f"job_{at}", states[at], (at - 1,) if at else ()) for at, name in enumerate(NAMES)]
    return svg(nodes, lambda node: f"/jobs/{node.job_id}")


def draw(browser: Visit) -> None:
    styles = "\n".join((STATIC / name).read_text() for name in ("base.css", "ui.css"))
    browser.page.set_content(
        f'<!doctype html><html><head><style>{styles}</style></head><body><div class="wide">{flow()}</div></body></html>'
    )


def edges(browser: Visit, to: str) -> Sequence[bytes]:
    """How the box looks above the boxes of the jobs, at its left and at its right edge. :param to: where it is scrolled to."""
    browser.page.evaluate("to => { const box = document.querySelector('.wide'); box.scrollLeft = to === 'end' ? box.scrollWidth : 0 }", to)
    box = browser.page.locator(".wide").bounding_box()
    assert box
    return [
        browser.page.screenshot(clip={"x": x, "y": box["y"] + 8, "width": 3, "height": 2})
        for x in (box["x"] + 6, box["x"] + box["width"] - 9)
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_edge_behind_which_there_is_more_has_a_shadow(scheme: str) -> None:
    with visit("", color_scheme=scheme, viewport={"width": 1400, "height": 400}) as browser:
        draw(browser)
        plain, right = edges(browser, "start")
        assert right == plain
        browser.page.set_viewport_size({"width": 400, "height": 400})
        left, right = edges(browser, "start")
        assert left == plain != right
        left, right = edges(browser, "end")
        assert right == plain != left
