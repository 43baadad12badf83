"""`WS /pipeline/jobs/{id}/ws`: a job's events over a WebSocket, the same envelopes as over SSE."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterable, Mapping
from functools import partial
from threading import Thread
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Response, request
from simple_websocket import ConnectionClosed, Server
from wsproto.utilities import ProtocolError

from pipeline_jobs.events.hub import End, Follower
from pipeline_jobs.web.access.origin import refuse_other_origin
from pipeline_jobs.web.api.events import log_of
from pipeline_jobs.web.http.openapi import answer
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.http.streams import PING_SECONDS, still_allowed
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.events import SocketRequest
from pipeline_jobs.web.schemas.jobs import JobPath
from pipeline_jobs.web.server.giving_way import give_way, stand_back
from pipeline_jobs.web.state import web

#: Closing codes (RFC 6455, section 7.4; from 4000 on our own): all was told; this process stops; the key is good no more; the job is gone.
CODES: Mapping[End, tuple[int, str]] = {End.COMPLETE: (1000, "ended"), End.STOPPED: (1001, "going away"), End.GONE: (4404, "gone")}
UNAUTHORIZED = (4401, "unauthorized")
#: Clients have nothing to say here.
MAX_MESSAGE = 1024
#: Bytes that are read of a client at a time, and how often: so many times at once, and so many a second in the long run. Each frame, a ping
#: of six bytes, costs more to read and to answer than to send, and no turn counts that: whoever sends more waits.
READ_BYTES, READS_AT_ONCE, READS_A_SECOND = 64, 32, 1.0
#: How long a client may take to answer that the connection is closed, in seconds.
CLOSE_SECONDS = 1.0
#: How long what was sent may stay unread before the connection is given up, in ms.
UNREAD_MS = 30_000

routes = Routes("sockets", "/pipeline", tag="events")


class Taken(Response):
    """The connection was taken over and is closed by now: the web server has nothing to answer."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._mode = mode

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self._mode == "gunicorn":
            raise StopIteration
        return []


class _Patience(selectors.DefaultSelector):
    """Says that something has come from a client only as often as it is to be read."""

    def __init__(self) -> None:
        super().__init__()
        self._reads, self._at = float(READS_AT_ONCE), time.monotonic()

    def select(self, timeout: float | None = None) -> Any:
        """As ever; empty after `timeout`."""
        now = time.monotonic()
        self._reads, self._at = min(READS_AT_ONCE, self._reads + (now - self._at) * READS_A_SECOND), now
        short = max(0.0, (1 - self._reads) / READS_A_SECOND)
        if timeout is not None and short >= timeout:
            time.sleep(timeout)
            return []
        time.sleep(short)
        found = super().select(timeout and timeout - short)
        self._reads -= bool(found)
        return found


class _Unheard(list[Any]):
    """What clients send is dropped."""

    def append(self, item: Any, /) -> None:
        pass


@routes.get(
    "/jobs/<job_id>/ws",
    "Follow a job over a WebSocket",
    "Each message is the envelope of an event, starting after the event `after`. Closed with 1000 after the job's last "
    "event, 1001 when the server shuts down (reconnect with `after`), 4404 when the job was deleted, 4401 when the key is "
    "not valid any more. A web page must have the API's own origin, and uses a `token`.",
    {101: answer("The connection is a WebSocket now.", None)},
    errors=(426,),
)
def follow(path: JobPath, query: SocketRequest) -> Response:
    here = web()
    page = log_of(path.job_id, query.after, 1)
    refuse_other_origin(here.settings)
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise Refused(
            426, "upgrade_required", "this is the address of a WebSocket: connect with a WebSocket client", headers={"Upgrade": "websocket"}
        )
    with here.streams.take(page.tenant_id):
        connection = _accept()
        with here.cell.events.follow(path.job_id, page.tenant_id, query.after, lambda: not connection.connected) as follower:
            _send_all(connection, follower)
        _hang_up(connection)
    return Taken(connection.mode)


# werkzeug matches handshakes with rules of their own only.
routes.blueprint.add_url_rule("/jobs/<job_id>/ws", "connect", follow, websocket=True, methods=["GET"])


def _accept() -> Server:
    """:raises Refused: 400, it is no proper handshake."""
    taken = request.environ.get("gunicorn.socket")
    limit = getattr(socket, "TCP_USER_TIMEOUT", None)
    if isinstance(taken, socket.socket) and limit is not None:
        # A client that reads nothing must not hold its thread for ever.
        taken.setsockopt(socket.IPPROTO_TCP, limit, UNREAD_MS)
    listener = partial(Thread, daemon=True)
    try:
        connection = Server.accept(
            request.environ, receive_bytes=READ_BYTES, ping_interval=PING_SECONDS, max_message_size=MAX_MESSAGE, thread_class=listener,
            selector_class=_Patience,
        )  # fmt: skip
    except (ProtocolError, RuntimeError) as error:
        raise Refused(400, "bad_handshake", "the WebSocket handshake is not valid") from error
    connection.input_buffer = _Unheard()
    return connection


def _hang_up(connection: Server) -> None:
    """The connection's thread, which listens for what the client says, ends with the socket's life and not with its number."""
    connection.thread.join(CLOSE_SECONDS)
    try:
        connection.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The client was quicker.
        return


def _send_all(connection: Server, follower: Follower) -> None:
    is_allowed = still_allowed()
    try:
        while follower.end is None:
            stand_back()
            events = follower.next(PING_SECONDS)
            give_way()
            if not is_allowed():
                connection.close(*UNAUTHORIZED)
                return
            for event in events:
                connection.send(event.json)
        connection.close(*CODES[follower.end])
    except (ConnectionClosed, OSError):
        # The client has left.
        return
