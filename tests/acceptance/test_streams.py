"""Event streams of the real API process: over lost connections, a killed server, a killed API, and to a stop."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
import requests
from simple_websocket import Client as Socket
from simple_websocket import ConnectionClosed

from pipeline_jobs.access.api_keys import KeyStore, Role
from pipeline_jobs.events import log as events
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused
from tests.events_load import live, log_of, new_jobs, run_streams
from tests.servers import Server
from tests.stack import Api, MakeStack, Stack
from tests.waiting import until


@pytest.fixture(scope="module")
def stack(make_shared_stack: MakeStack) -> Stack:
    """Of the tests that end no process and make no key."""
    return make_shared_stack(announce_seconds=1000.0)


@pytest.fixture(scope="module")
def api(stack: Stack) -> Api:
    return stack.api()


def address(api: Api) -> tuple[str, int]:
    host, _, port = api.url.removeprefix("http://").partition(":")
    return host, int(port)


def closing_code(socket: Socket) -> int:
    """What the server closed it with, after what it may still have told."""
    while True:
        try:
            socket.receive(60)
        except ConnectionClosed as closed:
            return int(closed.reason)


def running(stack: Stack, job_number: int = 0) -> tuple[str, int]:
    """A job that a pretended worker runs, and its fence."""
    stack.client.store.announce("w", 100, [])
    job = stack.client.store.submit(new_jobs(stack.client, job_number + 1)[job_number], nonce="n").job
    assert not isinstance(stack.client.store.claim(job.job_id, job.fence, worker="w", run="r"), ClaimRefused)
    return job.job_id, job.fence


def test_clients_that_drop_and_return_see_every_event_once_over_kills_of_server_and_api(make_stack: MakeStack, own: Server) -> None:
    stack = make_stack(redis_url=own.url, announce_seconds=1000.0, events_per_tenant=1_000_000, http_streams=40, max_concurrent_jobs=100)
    api = stack.api()

    def kill(share: Callable[[], float]) -> None:
        until(lambda: share() >= 0.3, "a third of the jobs to end", 120)
        own.kill()
        own.start()
        until(lambda: share() >= 0.6, "the second third", 120)
        process = stack._processes[-1]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        stack.api(address(api)[1])

    verdict = run_streams(
        stack.client, lambda: address(api), jobs=60, on_jobs=8, jobs_each=10, on_feed=4, seed=int(os.environ.get("SEED", "1")),
        meanwhile=kill,
    )  # fmt: skip
    print(verdict)
    assert verdict.wrong == []
    assert verdict.streams == 84
    assert verdict.connections > 2 * verdict.streams, "nobody came back: nothing was tried"


def first_message(url: str) -> Any:
    """None: this client loses what arrives in one piece with the answer to its handshake, if the server has closed by then."""
    try:
        return json.loads(Socket.connect(url).receive(60))
    except ConnectionClosed:
        return None


def test_a_websocket_tells_the_same_and_is_closed_after_the_end(stack: Stack, api: Api) -> None:
    url = api.url.replace("http", "ws", 1)
    job_id, fence = running(stack)
    socket = Socket.connect(f"{url}/pipeline/jobs/{job_id}/ws", headers={"Origin": "http://127.0.0.1"})
    told = [json.loads(socket.receive(60)) for _ in range(2)]
    # What a client says is nobody's business.
    socket.send("hello")
    stack.client.store.progress(job_id, fence, 50.0, "s", "half")
    told.append(json.loads(socket.receive(60)))
    stack.client.store.finish(job_id, fence, JobStatus.COMPLETED, result={})
    told.append(json.loads(socket.receive(60)))
    with pytest.raises(ConnectionClosed) as closed:
        socket.receive(60)
    assert (closed.value.reason, closed.value.message) == (1000, "ended")
    assert told == log_of(stack.client.store, job_id)
    # This client leaves the port out of `Host`, so an origin without one is its own.
    later = f"{url}/pipeline/jobs/{job_id}/ws?after=3"
    assert until(lambda: first_message(later), "the last event once more") == told[3]
    handshake = {
        "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    for path, headers, status in (
        (f"/pipeline/jobs/{job_id}/ws", {**handshake, "Origin": "http://evil.example"}, 403), ("/pipeline/jobs/x/ws", handshake, 404),
        (f"/pipeline/jobs/{job_id}/ws", {**handshake, "Sec-WebSocket-Version": "1"}, 400), (f"/pipeline/jobs/{job_id}/ws", {}, 426),
    ):  # fmt: skip
        refused = api.get(path, headers=headers)
        assert (refused.status_code, refused.headers["Content-Type"]) == (status, "application/problem+json")
    assert "Traceback" not in stack.log("api")


def test_a_stop_ends_streams_at_once_and_tells_sockets_to_come_back(make_stack: MakeStack) -> None:
    stack = make_stack(announce_seconds=1000.0)
    api = stack.api()
    job_id, _ = running(stack)
    socket = Socket.connect(f"{api.url.replace('http', 'ws', 1)}/pipeline/jobs/{job_id}/ws")
    with api.get(f"/pipeline/jobs/{job_id}/events", headers={"Accept": "text/event-stream"}, stream=True) as answer:
        lines = answer.iter_lines()
        until(lambda: next(lines).startswith(b"data:"), "the first event")
        for _ in range(2):
            socket.receive(60)
        stack._processes[-1].send_signal(signal.SIGTERM)
        assert [line for line in lines if line.startswith(b"data:")][1:] == []
    assert closing_code(socket) == 1001
    stack._processes[-1].wait(60)


def test_places_are_capped_and_come_back_when_clients_leave(make_stack: MakeStack) -> None:
    stack = make_stack(announce_seconds=1000.0, http_streams=3)
    api = stack.api()
    job_id, _ = running(stack)
    url = f"/pipeline/jobs/{job_id}/events"
    open_streams = [api.get(url, headers={"Accept": "text/event-stream"}, stream=True) for _ in range(3)]
    refused = api.get(url, headers={"Accept": "text/event-stream"})
    assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (503, "too_many_streams", "5")
    assert api.get("/health/live").ok
    for stream in open_streams:
        stream.close()

    def admitted() -> bool:
        with api.get(url, headers={"Accept": "text/event-stream"}, stream=True) as answer:
            return answer.status_code == 200

    # Nothing is written meanwhile: that the readers have left is seen at their connections.
    until(admitted, "a place")


def test_a_key_that_is_revoked_ends_its_streams(make_stack: MakeStack) -> None:
    stack = make_stack(announce_seconds=1000.0)
    keys = KeyStore(stack.client.store)
    key, text = keys.create("acme", Role.READ, actor="test")
    api = stack.api()
    job_id, fence = running(stack)
    mine = {"Authorization": f"Bearer {text}"}
    token = api.post("/pipeline/events/token", {"job_id": job_id}, headers=mine).json()["token"]
    socket = Socket.connect(f"{api.url.replace('http', 'ws', 1)}/pipeline/jobs/{job_id}/ws?token={token}")
    for _ in range(2):
        socket.receive(60)
    keys.revoke("acme", key.key_id, actor="test")

    def told() -> bool:
        # Each event asks anew whether its reader may have it; an answer of the store is good for a second.
        stack.client.store.progress(job_id, fence, told.percent, "s")  # type: ignore[attr-defined]
        told.percent += 0.1  # type: ignore[attr-defined]
        return not socket.connected

    told.percent = 1.0  # type: ignore[attr-defined]
    until(told, "the end of the stream")
    assert closing_code(socket) == 4401
    assert api.get(f"/pipeline/jobs/{job_id}/events?token={token}").status_code == 401
    assert token not in stack.log("api")


def test_a_purged_job_ends_its_streams_cleanly(stack: Stack, api: Api) -> None:
    job_id, fence = running(stack, 1)
    seen: list[bytes] = []

    def read() -> None:
        with api.get(f"/pipeline/jobs/{job_id}/events", headers={"Accept": "text/event-stream"}, stream=True) as answer:
            seen.extend(line for line in answer.iter_lines() if line.startswith(b"data:"))

    reader = threading.Thread(target=read)
    reader.start()
    until(lambda: seen or len(events.read(stack.client.store, job_id).events) == 2, "the log")
    stack.client.store.finish(job_id, fence, JobStatus.COMPLETED, result={})
    stack.client.delete(job_id)
    reader.join(60)
    assert not reader.is_alive()
    assert requests.get(f"{api.url}/pipeline/jobs/{job_id}/events", headers={"Accept": "text/event-stream"}, timeout=60).status_code == 404


def test_live_tells_of_every_kind_of_end(make_stack: MakeStack) -> None:
    stack = make_stack(announce_seconds=1000.0, max_concurrent_jobs=100)
    stack.client.store.announce("w", 100, [])
    jobs = new_jobs(stack.client, 3)
    for job in jobs:
        live(stack.client, job, lambda: None)
    ends = [log_of(stack.client.store, job.job_id)[-1]["type"] for job in jobs]
    assert ends == ["job.cancelled", "job.failed", "job.completed"]
