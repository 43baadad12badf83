"""The list among 10,000 jobs of which 50 change each second: its first page, what was sent for it, and the longest task of its script."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

from playwright.sync_api import Page, expect

from pipeline_jobs.access.api_keys import KeyStore, Role
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused
from tests.browser import one_browser, visit
from tests.gallery import UI
from tests.stack import MakeStack, Stack
from tests.waiting import until

JOBS, RUNNING, UPDATES, WATCHED_SECONDS = 10_000, 50, 50, 30
#: The longest task in ms, and the bytes of the first page. (Its time is told, and not judged: it is the machine's.)
MOST_MS, MOST_BYTES = 100, 150_000
LONG_TASKS = """window.long = [];
new PerformanceObserver((list) => long.push(...list.getEntries().map((one) => one.duration))).observe({type: 'longtask'});"""
FIRST = "performance.getEntriesByType('navigation')[0]"


def startable(stack: Stack) -> bool:
    """Those of the first page have been given to workers."""
    return all(job.reason == "dispatched" for job in stack.client.list(JobQuery(tenant_id="acme", limit=RUNNING)).items)


def filled(stack: Stack) -> list[tuple[str, int]]:
    """The jobs, and of those that run the ids and fences."""
    store = stack.client.store
    for _ in range((JOBS - RUNNING) // 200):
        stack.app.cell.batches.create(NewBatch([NewJob(pipeline="sleep", metadata={"title": "Lecture"})] * 200, "acme"))
    # The newest ones run, which are on the first page.
    for _ in range(JOBS - stack.client.store.sizes([("status", JobStatus.QUEUED)])[0]):
        stack.submit(tenant_id="acme", priority=50, metadata={"title": "Lecture"})
    # There is room for all: the newest, which stand behind all others, may run.
    store.set_max_concurrent_jobs(2 * JOBS)
    store.announce("w", 2 * JOBS, [])
    until(lambda: store.reconcile() and startable(stack), "the newest to be started", seconds=120)
    runs = []
    for job in stack.client.list(JobQuery(tenant_id="acme", limit=RUNNING)).items:
        claimed = store.claim(job.job_id, job.fence, worker="w", run="r")
        # Of those that are not dispatched (a workspace's turn) none runs.
        runs += [] if isinstance(claimed, ClaimRefused) else [(job.job_id, claimed.fence)]
    assert len(runs) >= RUNNING / 2, f"only {len(runs)} run"
    return runs


@contextmanager
def changing(stack: Stack, runs: list[tuple[str, int]]) -> Iterator[list[int]]:
    """Meanwhile so many updates are written each second. :return: how many it were"""
    end, done, store = threading.Event(), [0], stack.client.store

    def write() -> None:
        began = time.monotonic()
        for n, (job_id, fence) in enumerate(cycle(runs)):
            # What the update before took is not waited for in addition.
            if end.wait(max(0.0, began + n / UPDATES - time.monotonic())):
                return
            store.progress(job_id, fence, min(99.0, n / 50), "sleep", f"step {n}")
            done[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield done
    finally:
        end.set()
        thread.join()


def weight(page: Page) -> list[int]:
    """Bytes that come over the wire from now on, one number for each answer."""
    session, sizes = page.context.new_cdp_session(page), list[int]()
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"])))
    return sizes


def test_a_list_of_ten_thousand_jobs_that_change(make_stack: MakeStack) -> None:
    stack = make_stack(max_concurrent_jobs=1000, announce_seconds=1000.0)
    _, text = KeyStore(stack.client.store).create("acme", Role.ADMIN, actor="test")
    api, runs = stack.api(), filled(stack)
    with one_browser(), changing(stack, runs) as done, visit(api.url) as browser:
        page: Any = browser.page
        browser.go(UI)
        page.get_by_label("API key").fill(text)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Latest jobs")).to_be_visible()
        page.add_init_script(LONG_TASKS)
        session = page.context.new_cdp_session(page)
        session.send("Network.clearBrowserCache")
        sizes = weight(page)
        browser.go(f"{UI}/jobs")
        expect(page.locator("table.jobs tbody tr").first).to_be_visible()
        first = page.evaluate(f"[{FIRST}.responseStart, {FIRST}.domContentLoadedEventEnd, {FIRST}.loadEventEnd]")
        sent, before = sum(sizes), done[0]
        page.wait_for_timeout(WATCHED_SECONDS * 1000)
        longest = page.evaluate("Math.max(0, ...long)")
        updates = (done[0] - before) / WATCHED_SECONDS
        # That none was seen says something only of an observer that sees one. (What `evaluate` does itself is no task of the page.)
        page.evaluate("() => { setTimeout(() => { const end = performance.now() + 200; while (performance.now() < end); }) }")
        until(lambda: page.evaluate("long.some((one) => one >= 150)"), "the observer to see a task of 200 ms")
        browser.quiet()
    print(
        f"\nA list of {JOBS:,} jobs, {len(runs)} of them running, {updates:.0f} updates a second: first answer after {first[0]:.0f} ms, "
        f"read after {first[1]:.0f} ms, loaded after {first[2]:.0f} ms; {sent / 1000:.0f} kB transferred with an empty cache; "
        f"longest task in {WATCHED_SECONDS} s: {longest:.0f} ms"
    )
    assert updates >= UPDATES / 2
    assert longest <= MOST_MS
    assert sent <= MOST_BYTES
