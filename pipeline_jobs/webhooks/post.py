"""One POST to a receiver: guarded, bounded in time as a whole, no redirect followed, its answer's body read up to a cap and thrown away."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import requests
import urllib3
from ssrfguard import Policy, Resolver, SSRFGuardError
from ssrfguard.requests import SafeAdapter

#: Of an answer's body, in bytes. Its status is all that counts.
MOST_BODY = 16_384
#: Seconds to connect, within the time for the whole.
CONNECT_SECONDS = 10.0

_DIGITS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said."""

    #: None: no answer came.
    status: int | None
    #: Empty when the status is good, else a word of ours: `http_500`, `redirect`, `timeout`, `address_forbidden`, ...
    error: str
    #: What it asked for, in seconds.
    retry_after: float | None = None
    #: How long it took, in seconds.
    seconds: float = 0.0


def post(url: str, body: bytes, headers: Mapping[str, str], *, policy: Policy, timeout: float, resolver: Resolver | None = None) -> Answer:
    """Send it. Never raises what a receiver can cause.

    :param timeout: for the whole, in seconds, whatever the receiver does: a timer cuts the connection. (A look-up of its name is cut only
        when it comes back.)
    :param resolver: in tests.
    """
    started = time.monotonic()
    cut = _Cut(timeout)
    try:
        status, later = _send(url, body, headers, policy, timeout, resolver, cut)
        return Answer(status, _word(status), later, time.monotonic() - started)
    except Exception as error:
        return Answer(None, "timeout" if cut.done else _reason(error), None, time.monotonic() - started)
    finally:
        cut.cancel()


def _send(
    url: str, body: bytes, headers: Mapping[str, str], policy: Policy, timeout: float, resolver: Resolver | None, cut: _Cut
) -> tuple[int, float | None]:
    policy.check_url(url)
    request = requests.Request("POST", url, data=body, headers=dict(headers)).prepare()
    # The adapter and not a session: a session would look where a redirect leads (and read its body whole), ask the environment for a
    # proxy, which would resolve the name itself, and .netrc for a password.
    with closing(_Adapter(cut, policy=policy, resolver=resolver)) as adapter:
        # An empty dict and not None: yt-dlp, where it was imported, puts a function of its own into requests that needs one.
        response = adapter.send(request, stream=True, timeout=(min(CONNECT_SECONDS, timeout), timeout), proxies={})
        with closing(response):
            try:
                response.raw.read(MOST_BODY)
            except (urllib3.exceptions.HTTPError, OSError, ValueError):
                # It has answered: what becomes of the rest is all one.
                pass
            return response.status_code, retry_after(response.headers.get("Retry-After"))


def retry_after(text: str | None, now: float | None = None) -> float | None:
    """`Retry-After` in seconds (RFC 9110: a number or a date), or None: there is none that can be read."""
    if text is None:
        return None
    text = text.strip()
    if _DIGITS.fullmatch(text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, moment - (time.time() if now is None else now))


def _word(status: int) -> str:
    if 200 <= status < 300:
        return ""
    return "redirect" if 300 <= status < 400 else f"http_{status}"


def _reason(error: Exception) -> str:
    """A word of ours for it: what a library says may name addresses that are nobody's business."""
    if isinstance(error, SSRFGuardError | requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return "address_forbidden"
    if isinstance(error, requests.exceptions.SSLError | urllib3.exceptions.SSLError):
        return "tls_failed"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return "timeout"
    if isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError | OSError):
        return "connection_failed"
    return "internal_error"


class _Cut:
    """Cuts the connection when the time is up: a read timeout begins anew with each byte that a slow receiver sends."""

    def __init__(self, timeout: float) -> None:
        self.done = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(timeout, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def watch(self, opened: socket.socket) -> None:
        with self._lock:
            self._socket = opened
            if self.done:
                _shut(opened)

    def cancel(self) -> None:
        self._timer.cancel()
        with self._lock:
            self._socket = None

    def _cut(self) -> None:
        with self._lock:
            self.done = True
            if self._socket is not None:
                _shut(self._socket)


def _shut(opened: socket.socket) -> None:
    try:
        opened.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has just ended by itself


class _Adapter(SafeAdapter):
    """ssrfguard's adapter, which tells of the socket as soon as it is open."""

    def __init__(self, cut: _Cut, **options: Any) -> None:
        self._cut = cut
        super().__init__(**options)

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        pool.ConnectionCls = _watched(pool.ConnectionCls, self._cut)
        return pool


def _watched(connection: Any, cut: _Cut) -> Any:
    class Watched(connection):  # type: ignore[misc]
        """A connection whose socket can be cut from another thread."""

        def _new_conn(self) -> socket.socket:
            opened: socket.socket = super()._new_conn()
            cut.watch(opened)
            return opened

    return Watched
