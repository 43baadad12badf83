"""gunicorn's worker as we have it: a thread stays with its connection, and gives way."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.web.server import balance
from tests.stack import free_port
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Gives the path back, or says which process answers."""
    body = str(os.getpid()).encode() if environ["PATH_INFO"] == "/process" else environ["PATH_INFO"].encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def options() -> list[str]:
    """A single thread."""
    return ["--threads", "1"]


@pytest.fixture
def port(options: list[str]) -> Iterator[int]:
    """A server."""
    number = free_port()
    command = [
        sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{number}", *options, "--keep-alive", "60", "--no-control-socket",
        "--worker-class", "pipeline_jobs.web.server.gunicorn_worker.Worker", f"{__name__}:application",
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            yield number
        finally:
            process.terminate()


def get(connection: http.client.HTTPConnection, path: str) -> str:
    connection.request("GET", path)
    return connection.getresponse().read().decode()


def answers(connection: http.client.HTTPConnection) -> bool:
    try:
        return get(connection, "/up") == "/up"
    except OSError:
        connection.close()
        return False


def test_kept_connections_are_served_one_request_after_another(port: int) -> None:
    first, second = (http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(2))
    until(lambda: answers(first), "gunicorn")
    sock = first.sock
    # The only thread stays with the first; the second gets it all the same, and the first is not forgotten.
    for number in range(5):
        assert get(first, f"/first/{number}") == f"/first/{number}"
        assert get(second, f"/second/{number}") == f"/second/{number}"
    assert first.sock is sock
    first.close()
    second.close()


@pytest.mark.parametrize("options", [["--threads", "8", "--workers", "2"]])
def test_the_processes_share_the_kept_connections(port: int) -> None:
    first = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    until(lambda: answers(first), "gunicorn")
    # Both are there: a connection that is not kept comes to each at some time.
    seen: set[str] = set()

    def both() -> bool:
        other = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        seen.add(get(other, "/process"))
        other.close()
        return len(seen) == 2

    until(both, "the second process")
    kept = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(16)]
    served = Counter(get(connection, "/process") for connection in kept)
    # Whoever is busy with something else may let a few go to the other; left alone, one process takes nearly all.
    assert min(served.values()) >= 4
    assert len(served) == 2
    for connection in (first, *kept):
        connection.close()


def test_who_is_gone_counts_no_more() -> None:
    shares = balance.Shares()
    shares.tell(1, 5)
    assert not shares.has_more(1, 5)
    shares.tell(2, 3)
    assert shares.has_more(1, 5)
    assert not shares.has_more(2, 3)
    # As if the second had said nothing for long.
    shares._cells[5] -= 2 * balance.SILENT_SECONDS
    assert not shares.has_more(1, 5)
