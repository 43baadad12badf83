"""Bounds how long a request may take to arrive: a sender of a byte a minute must not hold a thread.

gunicorn's threads read blockingly and without a time limit. One thread a process watches those that read: a socket whose time is over is
shut for reading, which wakes its reader with the end of the body, and the answer can still be sent. Other servers do not show their
socket: behind them, and in tests, the limit is theirs.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from wsgiref.types import WSGIEnvironment

#: How often the watch looks, in seconds.
TICK = 0.5


class Limit:
    """A time limit for what is read from a socket inside `with`; `over` says that it was reached."""

    __slots__ = ("_watch", "over", "sock", "until")

    def __init__(self, watch: Watch, sock: socket.socket | None, until: float) -> None:
        self._watch, self.sock, self.until, self.over = watch, sock, until, False

    def __enter__(self) -> Limit:
        if self.sock is not None:
            self._watch.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        if self.sock is not None:
            self._watch.remove(self)


class Watch:
    """Shuts the sockets whose time is over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limits: dict[int, Limit] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def limit(self, environ: WSGIEnvironment, seconds: float) -> Limit:
        """For the body of a request."""
        return self.limit_of(environ.get("gunicorn.socket"), seconds)

    def limit_of(self, sock: socket.socket | None, seconds: float) -> Limit:
        return Limit(self, sock, self._clock() + seconds)

    def add(self, limit: Limit) -> None:
        with self._lock:
            self._limits[id(limit)] = limit
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="slow-senders", daemon=True)
                self._thread.start()
        if not self._wake.is_set():
            self._wake.set()

    def remove(self, limit: Limit) -> None:
        with self._lock:
            self._limits.pop(id(limit), None)

    def look(self) -> None:
        """Shut what is over its time."""
        now = self._clock()
        with self._lock:
            for limit in [limit for limit in self._limits.values() if limit.until <= now]:
                limit.over = True
                del self._limits[id(limit)]
                if limit.sock is not None:
                    try:
                        limit.sock.shutdown(socket.SHUT_RD)
                    except OSError:
                        pass  # the other end has just gone

    def _run(self) -> None:
        while True:
            with self._lock:
                idle = not self._limits
                if idle:
                    self._wake.clear()
            self._wake.wait()
            time.sleep(TICK)
            self.look()


def arrived(environ: WSGIEnvironment, length: int) -> bytes | None:
    """The body of a request, so long, if all of it is here: it needs no limit. Behind other servers nobody can tell."""
    take: Callable[[int], bytes | None] | None = getattr(environ["wsgi.input"], "arrived", None)
    return None if take is None else take(length)


def rests(environ: WSGIEnvironment) -> None:
    """This request's thread waits from now on: another request of its client may be served meanwhile."""
    sock = environ.get("gunicorn.socket")
    if sock is not None and hasattr(sock, "rest"):
        sock.rest()


def belongs_to(environ: WSGIEnvironment, owner: str) -> None:
    """This request is this one's: the requests of one take turns with those of others (`web/server/accounts.py`)."""
    sock = environ.get("gunicorn.socket")
    if sock is not None and hasattr(sock, "owner"):
        sock.owner = owner


def costs(environ: WSGIEnvironment, seconds: float) -> None:
    """This request takes so much of the store's time, which everybody waits for."""
    sock = environ.get("gunicorn.socket")
    if sock is not None and hasattr(sock, "cost"):
        sock.cost += seconds


#: Of this process.
WATCH = Watch()
