"""Event streams over HTTP: what an SSE answer is made of, and when one must end early."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from wsgiref.types import WSGIEnvironment

from flask import request

from pipeline_jobs.events.hub import End, Follower, Told
from pipeline_jobs.events.log import Place
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.web.server.giving_way import give_way, stand_back
from pipeline_jobs.web.state import web

#: A silent stream sends so often a sign of life, in seconds: proxies close what is silent for a minute.
PING_SECONDS = 15.0
#: After how many ms a client comes back whose stream broke off.
RETRY_MS = 1000

_HANGUP = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class EventStream:
    """The body of an SSE answer (WHATWG HTML, "Server-sent events").

    An iterator and not a generator: one that is closed before its first step (the client is gone already) would give nothing back.
    """

    def __init__(self, follower: Follower, place: ExitStack, is_allowed: Callable[[], bool], *, first_id: str | None = None) -> None:
        """
        :param is_allowed: asked before anything is sent: whoever was let in may have lost the right meanwhile.
        :param first_id: told at once, so that a client that comes back before the first event goes on from there.
        """
        self._follower, self._place, self._is_allowed = follower, place, is_allowed
        first = f"retry: {RETRY_MS}\n\n" if first_id is None else f"retry: {RETRY_MS}\nid: {first_id}\n\n"
        self._first: bytes | None = first.encode()
        #: Of the last thing that was told.
        self._told: Place = follower.place

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        stand_back()
        events = self._follower.next(PING_SECONDS)
        give_way()
        if not self._is_allowed():
            raise StopIteration
        if events:
            self._told = events[-1].place
            return _frames(events)
        return b": ping\n\n" if self._follower.end is None else self._last()

    def _last(self) -> bytes:
        """The place that was reached, if what was told is before it: a client that came back from there would be sent here again and again.

        :raises StopIteration: it knows.
        """
        if self._follower.end is not End.COMPLETE or self._follower.place <= self._told:
            raise StopIteration
        self._told = self._follower.place
        first, number = self._told
        return f"id: {f'{first}-{number}' if first else number}\n\n".encode()

    def close(self) -> None:
        self._follower.close()
        self._place.close()


def _frames(events: Sequence[Told]) -> bytes:
    # No `event:` line: a browser's `onmessage` gets all of them, and `type` is in the data.
    return "".join(f"id: {event.feed_id or event.seq}\ndata: {event.json}\n\n" for event in events).encode()


def still_allowed() -> Callable[[], bool]:
    """Whether whoever made this request may still have its answer; for later, in another context. A store that is away says yes."""
    access, who = web().access, request.environ["pipeline_jobs.caller"]

    def ask() -> bool:
        try:
            return access.still_good(who)
        except StoreUnavailable:
            return True

    return ask


def reader_gone(environ: WSGIEnvironment) -> Callable[[], bool]:
    """Whether the client has closed its end: a silent stream would notice only at its second ping, and hold its place until then."""
    connection = environ.get("gunicorn.socket")
    if connection is None:
        return lambda: False
    poller = select.poll()
    poller.register(connection, _HANGUP)
    return lambda: bool(poller.poll(0))
