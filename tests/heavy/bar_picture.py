"""The moving picture of README.md: a real job of the page, from the form to the transcript. `make picture` writes it."""

from __future__ import annotations

import functools
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.acceptance.films import Quiet, serving
from tests.browser import visit
from tests.stack import ROOT, MakeStack
from tests.waiting import until

#: So wide that the film stands beside its transcript; the picture is smaller.
SEEN = {"width": 1240, "height": 775}
SIZE = (960, 600)
MOST_BYTES = 400_000
#: How long a frame is shown, in ms: while something moves, and where there is something to read.
MOVES, READ = 450, 2600
#: Of the frames that show progress at most so many: a reader does not wait for the job.
MOST_PROGRESS = 8


class Film:
    """Frames, each with the time that it is shown."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.frames: list[tuple[Image.Image, int]] = []

    def take(self, shown: int) -> None:
        shot = self.page.screenshot(animations="disabled", caret="hide")
        self.frames.append((Image.open(io.BytesIO(shot)).convert("RGB").resize(SIZE, Image.Resampling.LANCZOS), shown))

    def thin(self, first: int, most: int) -> None:
        """Of the frames from this one on keep `most`, evenly."""
        taken = self.frames[first:]
        if len(taken) > most:
            self.frames[first:] = [taken[round(n * (len(taken) - 1) / (most - 1))] for n in range(most)]

    def save(self, path: Path) -> None:
        images, times = zip(*self.frames, strict=True)
        images[0].save(
            path, save_all=True, append_images=images[1:], duration=times, loop=0, quality=55, method=6, minimize_size=True, kmin=9, kmax=17
        )


@pytest.fixture
def samples() -> Iterator[str]:
    with serving(functools.partial(Quiet, directory=str(ROOT / "samples"))) as address:
        yield address


def test_the_picture_of_the_readme(make_stack: MakeStack, samples: str, tmp_path: Path) -> None:
    stack = make_stack(lease_seconds=60.0, modules="")
    api = stack.api()
    stack.worker("jobs", "--autoscale=2,1")
    stack.maintenance()
    until(lambda: api.alive("/health/ready"), "beat's first duty")
    with visit(api.url, viewport=SEEN, color_scheme="light", reduced_motion="reduce") as browser:
        film, page = Film(browser.page), browser.page
        asked(film, api.url, f"{samples}/welcome.mp4")
        followed(film)
        read(film)
        assert "job_" in page.url
        browser.quiet()
    path = Path(os.environ.get("PICTURE") or tmp_path / "ui.webp")
    film.save(path)
    with Image.open(path) as made:
        assert (made.format, made.size) == ("WEBP", SIZE)
        assert getattr(made, "n_frames", 1) >= 8
    assert path.stat().st_size < MOST_BYTES
    if os.environ.get("FRAMES"):
        for number, (image, _) in enumerate(film.frames):
            image.save(Path(os.environ["FRAMES"]) / f"{number:02}.png")


def asked(film: Film, api: str, url: str) -> None:
    page = film.page
    page.goto(f"{api}/pipeline/ui/submit?pipeline=media")
    film.take(1200)
    page.get_by_label("Media address").fill(url)
    page.get_by_role("textbox", name="Tenant", exact=True).fill("acme")
    film.take(1200)
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile(r"/jobs/job_"))


def followed(film: Film) -> None:
    """A frame for each change until the job has ended; the page follows it by itself."""
    page, first, seen = film.page, len(film.frames), ""
    badge = page.locator(".heading .badge")
    while badge.inner_text() in ("queued", "running"):
        now = page.locator("main").inner_text()
        if now != seen:
            film.take(MOVES)
            seen = now
        page.wait_for_timeout(100)
    expect(badge).to_have_text("completed")
    film.thin(first, MOST_PROGRESS)


def read(film: Film) -> None:
    """The film beside its transcript; a word is found, and a click on its line goes there."""
    page = film.page
    # With all that a finished job shows.
    page.reload()
    expect(page.get_by_role("region", name="Transcript")).to_be_visible()
    until(lambda: page.evaluate("document.querySelector('video').readyState") >= 3, "the film")
    film.take(READ)
    page.get_by_role("searchbox", name="Find in the transcript").fill("smaller")
    expect(page.locator("[data-found]")).not_to_be_empty()
    film.take(1500)
    page.locator("[data-words] li", has_text="smaller").click()
    until(lambda: page.evaluate("document.querySelector('video').currentTime") > 8, "the film to go there")
    page.evaluate("document.querySelector('video').pause()")
    expect(page.locator("[data-words] li[aria-current]")).to_contain_text("smaller")
    film.take(READ)
    page.get_by_role("heading", name="How it went").scroll_into_view_if_needed()
    page.mouse.wheel(0, 400)
    film.take(READ)
