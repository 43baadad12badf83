"""Ask each part whether it answers, until it does."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

import requests

from pipeline_jobs.exceptions import PipelineJobsError

POLL_SECONDS = 0.1
ANSWER_SECONDS = 2.0
#: After how long somebody who waits is told for what, and how often again, in seconds.
TELL_SECONDS, TELL_AGAIN_SECONDS = 2.9, 15.0

#: Where a Redis URL names none.
REDIS_PORT = 6379

#: None: ready. Otherwise why not, for people.
Probe = Callable[[], str | None]


class NotReady(PipelineJobsError):
    """A part of the stack did not get ready in time."""

    code = "not_ready"


def wait_until(name: str, probe: Probe, *, deadline: float, alive: Callable[[], None], tell: Callable[[str], None]) -> None:
    """Ask `probe` until it gives None.

    :param deadline: by `time.monotonic()`.
    :param alive: called before each question; raises if waiting is pointless.
    :param tell: is told for what is waited, as soon as it takes longer than a moment.
    :raises NotReady: with the probe's last answer.
    """
    next_word = time.monotonic() + TELL_SECONDS
    while True:
        alive()
        reason = probe()
        if reason is None:
            return
        now = time.monotonic()
        if now >= deadline:
            raise NotReady(f"{name} is not ready: {reason}")
        if now >= next_word:
            next_word = now + TELL_AGAIN_SECONDS
            tell(f"Waiting for {name}: {reason}")
        time.sleep(POLL_SECONDS)


def reachable(url: str) -> Probe:
    """The server of a Redis URL takes connections."""
    address = urlsplit(url)

    def probe() -> str | None:
        try:
            if address.scheme == "unix":
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(address.path)
            else:
                socket.create_connection((address.hostname, address.port or REDIS_PORT), timeout=ANSWER_SECONDS).close()
        except OSError as error:
            return f"{address.hostname or address.path}:{address.port or REDIS_PORT} cannot be reached: {error.strerror or error}"
        return None

    return probe


def ping(host: str, port: int) -> Probe:
    """A Redis or Valkey server that answers PING with PONG: not while it loads its data, nor when it is something else."""

    def probe() -> str | None:
        try:
            with socket.create_connection((host, port), timeout=ANSWER_SECONDS) as connection:
                connection.sendall(b"PING\r\n")
                answer = connection.recv(128)
        except OSError as error:
            return str(error)
        return None if answer == b"+PONG\r\n" else answer.decode(errors="replace").strip() or "it closed the connection"

    return probe


def http_ok(url: str) -> Probe:
    """An address that answers GET with 200. Otherwise the reason is what it said, at most 500 characters."""

    def probe() -> str | None:
        try:
            answer = requests.get(url, timeout=ANSWER_SECONDS)
        except requests.RequestException as error:
            return _unanswered(url, error)
        return None if answer.status_code == 200 else f"{answer.status_code} {answer.text[:500]}"

    return probe


def _unanswered(url: str, error: requests.RequestException) -> str:
    """For people who wait: of a part that still starts `requests` would say all that it tried."""
    if isinstance(error, requests.Timeout):
        return f"{url} does not answer within {ANSWER_SECONDS:.0f} s"
    return f"nothing answers yet at {url}" if isinstance(error, requests.ConnectionError) else str(error)


def parts_ok(url: str, names: Iterable[str]) -> Probe:
    """Parts of which the API's `/health/ready` says that they work (`store`, `broker`, `workers`, `beat`)."""

    def probe() -> str | None:
        try:
            parts = requests.get(url, timeout=ANSWER_SECONDS).json()["parts"]
            failing = [f"{name}: {parts[name]['reason']}" for name in names if not parts[name]["ok"]]
        except requests.RequestException as error:
            return _unanswered(url, error)
        except (KeyError, TypeError):
            return "the API does not say which part is ready"
        return "; ".join(failing) or None

    return probe
