"""gunicorn's worker as we have it: a thread stays with its connection, and gives way."""

from __future__ import annotations

import http.client
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack import free_port
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Gives the path back."""
    body = environ["PATH_INFO"].encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def port() -> Iterator[int]:
    """A server with a single thread."""
    number = free_port()
    command = [
        sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{number}", "--threads", "1", "--keep-alive", "15", "--no-control-socket",
        "--worker-class", "pipeline_jobs.web.gunicorn_worker.Worker", f"{__name__}:application",
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            yield number
        finally:
            process.terminate()


def get(connection: http.client.HTTPConnection, path: str) -> str:
    connection.request("GET", path)
    return connection.getresponse().read().decode()


def test_kept_connections_are_served_one_request_after_another(port: int) -> None:
    first, second = (http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(2))

    def up() -> bool:
        try:
            return get(first, "/up") == "/up"
        except OSError:
            first.close()
            return False

    until(up, "gunicorn")
    sock = first.sock
    # The only thread stays with the first; the second gets it all the same, and the first is not forgotten.
    for number in range(5):
        assert get(first, f"/first/{number}") == f"/first/{number}"
        assert get(second, f"/second/{number}") == f"/second/{number}"
    assert first.sock is sock
    first.close()
    second.close()
