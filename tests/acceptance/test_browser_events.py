"""A real browser's EventSource and WebSocket: it reconnects by itself and goes on where it was, and stops when all was told."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from playwright.sync_api import Page

from pipeline_jobs.access.api_keys import KeyStore, Role
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused
from tests.browser import visit
from tests.events_load import log_of, new_jobs
from tests.stack import MakeStack, Stack
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("shared_browser")


#: The page keeps what it is told in `told`, and how often its connection opened and broke.
FOLLOW = """(url) => {
  window.told = []; window.ids = []; window.opened = 0; window.broken = 0;
  window.source = new EventSource(url);
  source.onmessage = (message) => { told.push(JSON.parse(message.data)); ids.push(message.lastEventId); };
  source.onopen = () => { opened += 1; };
  source.onerror = () => { broken += 1; };
}"""
CONNECT = """(url) => {
  window.told = []; window.code = null;
  const socket = new WebSocket(url);
  socket.onmessage = (message) => told.push(JSON.parse(message.data));
  socket.onclose = (event) => { code = event.code; };
}"""


def running(stack: Stack) -> tuple[str, int]:
    stack.client.store.announce("w", 100, [])
    job = stack.client.store.submit(new_jobs(stack.client, 1)[0], nonce="n").job
    assert not isinstance(stack.client.store.claim(job.job_id, job.fence, worker="w", run="r"), ClaimRefused)
    return job.job_id, job.fence


def read(page: Page, expression: str) -> Any:
    return page.evaluate(expression)


def test_an_event_source_comes_back_by_itself_and_misses_nothing(make_stack: MakeStack) -> None:
    stack = make_stack(announce_seconds=1000.0)
    api = stack.api()
    job_id, fence = running(stack)
    with visit(api.url) as browser:
        page = browser.page
        browser.go("/docs")
        page.evaluate(FOLLOW, f"{api.url}/pipeline/jobs/{job_id}/events")
        until(lambda: read(page, "told.length") == 2, "the events so far")
        for turn in range(2):
            process = stack._processes[-1]
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            stack.client.store.progress(job_id, fence, 10.0 * turn + 1, "s", "while nobody listens")
            stack.api(int(api.url.rpartition(":")[2]))
            stack.client.store.progress(job_id, fence, 10.0 * turn + 2, "s", "back")
            until(lambda turn=turn: read(page, "told.length") == 4 + 2 * turn, "what happened meanwhile")
        stack.client.store.finish(job_id, fence, JobStatus.COMPLETED, result={})
        until(lambda: read(page, "source.readyState") == 2, "the browser to stop: it was answered 204")
        assert read(page, "told") == log_of(stack.client.store, job_id)
        assert read(page, "ids") == [str(number) for number in range(1, 8)]
        assert (read(page, "opened"), read(page, "broken") >= 3) == (3, True)


def test_with_keys_on_a_page_follows_with_a_token(make_stack: MakeStack) -> None:
    stack = make_stack(announce_seconds=1000.0)
    _, text = KeyStore(stack.client.store).create("acme", Role.READ, actor="test")
    api = stack.api()
    job_id, fence = running(stack)
    with visit(api.url) as browser:
        page = browser.page
        browser.go("/docs")
        mine = {"Authorization": f"Bearer {text}"}
        page.evaluate(FOLLOW, f"{api.url}/pipeline/jobs/{job_id}/events")
        until(lambda: read(page, "source.readyState") == 2, "401: no reconnect")
        token = api.post("/pipeline/events/token", {"job_id": job_id}, headers=mine).json()["token"]
        page.evaluate(FOLLOW, f"{api.url}/pipeline/jobs/{job_id}/events?token={token}")
        until(lambda: read(page, "told.length") == 2, "the events so far")
        socket = f"{api.url.replace('http', 'ws', 1)}/pipeline/jobs/{job_id}/ws?after=1&token={token}"
        stack.client.store.finish(job_id, fence, JobStatus.COMPLETED, result={})
        until(lambda: read(page, "told.length") == 3, "the end")
        page.evaluate(CONNECT, socket)
        until(lambda: read(page, "code") == 1000, "the socket to be closed after the last event")
        assert read(page, "told") == log_of(stack.client.store, job_id)[1:]


def test_a_page_of_another_origin_reads_nothing(make_stack: MakeStack) -> None:
    stack = make_stack(announce_seconds=1000.0)
    api = stack.api()
    job_id, _ = running(stack)
    with visit(api.url) as browser:
        page = browser.page
        # A page that may connect anywhere: only the API stands between it and the job.
        page.goto("about:blank")
        page.evaluate(CONNECT, f"{api.url.replace('http', 'ws', 1)}/pipeline/jobs/{job_id}/ws")
        until(lambda: read(page, "code") == 1006, "the refusal")
        assert read(page, "told") == []
        page.evaluate(FOLLOW, f"{api.url}/pipeline/jobs/{job_id}/events")
        until(lambda: read(page, "broken") > 0, "the refusal")
        assert (read(page, "told"), read(page, "opened")) == ([], 0)
