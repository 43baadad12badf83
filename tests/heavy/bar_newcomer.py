"""What somebody without curl does in the page, by what can be seen there: roles and visible words, no address and no id (`make newcomer`).

The reader is this script. It keeps a trace of each click (`playwright show-trace`) and a picture after each step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from pipeline_jobs.access.api_keys import KeyStore, Role
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.states import JobStatus
from tests.browser import one_browser, visit
from tests.gallery import UI
from tests.receiver import Receiver
from tests.stack import ROOT, MakeStack, Stack
from tests.waiting import until

FOLDER = Path(os.environ.get("PICTURES") or ROOT / ".pictures")
#: A sentence of the film, as a listener would remember a word of it.
WORD = "harbor"


def upload(page: Page, film: Path) -> None:
    page.get_by_role("link", name="New job").first.click()
    page.get_by_role("link", name="media", exact=True).click()
    page.get_by_label("A file of yours").set_input_files(film)
    expect(page.get_by_text("uploaded", exact=True)).to_be_visible()
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("completed", exact=True).first).to_be_visible(timeout=600_000)
    expect(page.get_by_role("heading", name=film.name)).to_be_visible()


def find(page: Page) -> None:
    page.get_by_label("Find in the transcript").fill(WORD)
    expect(page.get_by_text("found")).to_be_visible()
    assert page.locator("mark").count() > 0


def copied(page: Page) -> str:
    """What the button beside it puts into the clipboard."""
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    return str(page.evaluate("navigator.clipboard.readText()"))


def share(page: Page) -> None:
    page.get_by_text("Share ...").click()
    page.get_by_role("button", name="Make a link").click()
    link = copied(page)
    with visit(link) as friend:
        friend.go("")
        expect(friend.page.get_by_label("Transcript", exact=True)).to_contain_text(WORD)


def cancel_batch(page: Page) -> None:
    page.get_by_role("link", name="Batches", exact=True).click()
    page.get_by_role("link", name="Autumn term").click()
    page.get_by_role("button", name="Cancel all ...").click()
    page.get_by_role("button", name="Cancel 4 jobs").click()
    expect(page.get_by_text("4 jobs cancelled.")).to_be_visible()
    expect(page.get_by_role("heading", name="Autumn term")).to_be_visible()


def make_key(page: Page) -> None:
    page.get_by_role("link", name="API keys").click()
    page.get_by_label("What it is for").fill("the website")
    page.get_by_role("button", name="Make a key").click()
    expect(page.get_by_text("Copy it now")).to_be_visible()
    assert copied(page).startswith("pjk_")


def redeliver(page: Page) -> None:
    page.get_by_role("link", name="Webhooks", exact=True).click()
    page.get_by_role("link", name="dead", exact=True).click()
    page.get_by_role("button", name="Send").first.click()
    # What became of it is told without a reload.
    expect(page.get_by_text("delivered", exact=True)).to_be_visible()


def failed_batch(stack: Stack, hook: str) -> str:
    """A batch of which a job has failed and others go on, and an endpoint with a delivery that was given up."""
    jobs = [NewJob(pipeline="broken"), *[NewJob(pipeline="hold")] * 4]
    made = stack.app.cell.batches.create(NewBatch(jobs, "lumen", metadata={"title": "Autumn term, all lectures"}))
    first = made.job_ids[0]
    assert first is not None
    stack.until_status(first, JobStatus.FAILED, seconds=120)
    kept = stack.app.cell.webhooks
    sent = kept.endpoints.test(kept.endpoints.create("lumen", hook)[0].endpoint_id)
    until(lambda: kept.ledger.get(sent).status == "dead", "the delivery to be given up")
    return str(made.batch.batch_id)


def walk(page: Page) -> dict[str, float]:
    """What is asked of a newcomer, and how many seconds each took."""
    steps: dict[str, Callable[[Page], None]] = {
        "uploads a film": lambda page: upload(page, ROOT / "samples" / "harbor.mp4"), "finds a sentence": find, "shares it": share,
        "cancels all jobs of a failed batch": cancel_batch, "makes a key": make_key, "redelivers a webhook": redeliver,
    }  # fmt: skip
    took = {}
    for number, (name, step) in enumerate(steps.items(), 1):
        began = time.monotonic()
        step(page)
        took[name] = time.monotonic() - began
        page.screenshot(path=FOLDER / f"newcomer-{number}.png")
    return took


def test_a_newcomer_finds_everything(make_stack: MakeStack) -> None:
    stack = make_stack(lease_seconds=60.0, webhook_allow_private=True, webhook_retry_seconds="0.1")
    keys = KeyStore(stack.client.store)
    _, text = keys.create("lumen", Role.ADMIN, actor="test")
    api = stack.api()
    stack.together(stack.worker, stack.maintenance)
    FOLDER.mkdir(exist_ok=True)
    # Away for both tries of the first webhook.
    with Receiver(lambda hit: 500 if len(hook.hits) < 2 else 200) as hook:
        batch = failed_batch(stack, hook.url())
        with one_browser(), visit(api.url, viewport={"width": 1280, "height": 800}) as browser:
            page = browser.page
            page.context.tracing.start(screenshots=True, snapshots=True)
            page.context.grant_permissions(["clipboard-read", "clipboard-write"])
            browser.go(UI)
            page.get_by_label("API key").fill(text)
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("heading", name="Latest jobs")).to_be_visible()
            took = walk(page)
            page.context.tracing.stop(path=FOLDER / "newcomer.zip")
    counts = until(lambda: (b := stack.app.cell.batches.get(batch)).completed_at and b.counts, "the batch to end")
    assert counts[JobStatus.CANCELLED] == 4
    assert [key.name for key in keys.list("lumen") if key.name] == ["the website"]
    print("\nA script that reads the page: " + "; ".join(f"{name} in {seconds:.1f} s" for name, seconds in took.items()))
