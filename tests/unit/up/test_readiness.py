"""Readiness: each part is really asked, and a part that never answers is told with its own words."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from pipeline_jobs.up import readiness
from pipeline_jobs.up.readiness import NotReady, http_ok, parts_ok, ping, wait_until
from tests.free_ports import free_port


@contextmanager
def http_server(status: int, body: object) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(64)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def test_a_server_is_ready_when_it_says_pong() -> None:
    with answering(b"+PONG\r\n") as port:
        assert ping("127.0.0.1", port)() is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(b"-LOADING Valkey is loading its data\r\n", "-LOADING Valkey is"), (b"HTTP/1.1 400\r\n", "HTTP/1.1 400"), (b"", "closed")],
)
def test_a_server_is_not_ready_while_it_says_anything_else(answer: bytes, reason: str) -> None:
    with answering(answer) as port:
        assert reason in str(ping("127.0.0.1", port)())


def test_nobody_there_is_a_reason() -> None:
    assert "refused" in str(ping("127.0.0.1", free_port())())
    url = f"http://127.0.0.1:{free_port()}/"
    assert http_ok(url)() == parts_ok(url, ("store",))() == f"nothing answers yet at {url}"


def test_http_is_ready_at_200_and_otherwise_tells_its_body() -> None:
    with http_server(200, "fine") as url:
        assert http_ok(url)() is None
    with http_server(503, {"detail": "no worker"}) as url:
        assert http_ok(url)() == '503 {"detail": "no worker"}'


def test_parts_are_asked_by_name() -> None:
    body = {"parts": {"store": {"ok": True, "reason": None}, "beat": {"ok": False, "reason": "has not run"}}}
    with http_server(503, body) as url:
        assert parts_ok(url, ("store",))() is None
        assert parts_ok(url, ("store", "beat"))() == "beat: has not run"


@pytest.mark.parametrize("body", [{}, {"parts": {}}, [], "text"])
def test_an_answer_without_the_parts_is_not_ready(body: object) -> None:
    with http_server(200, body) as url:
        assert parts_ok(url, ("store",))() == "the API does not say which part is ready"


def test_waiting_asks_until_there_is_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "POLL_SECONDS", 0)
    answers = iter(["not yet", "nearly", None])
    wait_until("flower", lambda: next(answers), deadline=time.monotonic() + 60, alive=lambda: None, tell=print)
    assert list(answers) == []


def test_waiting_ends_at_the_deadline_with_the_last_reason() -> None:
    with pytest.raises(NotReady, match="flower is not ready: it sleeps"):
        wait_until("flower", lambda: "it sleeps", deadline=time.monotonic(), alive=lambda: None, tell=print)


def test_waiting_ends_when_it_is_pointless() -> None:
    def dead() -> None:
        raise RuntimeError("it died")

    with pytest.raises(RuntimeError, match="it died"):
        wait_until("flower", lambda: None, deadline=time.monotonic() + 60, alive=dead, tell=print)
