"""A receiver of webhooks on loopback that misbehaves as it is told, and keeps a journal of what it was sent."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: How a receiver answers: a status, a status with headers, `hang` (until the sender gives up, or the receiver ends), `reset` (after it
#: has read all), `drip` (a byte now and then), `endless` (a good status and a body without end).
Answer = int | tuple[int, Mapping[str, str]] | str


@dataclass(frozen=True)
class Hit:
    """One request, and when it was answered."""

    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.time)
    answer: Answer = 200

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]


class Receiver:
    """`with Receiver(answer) as receiver`: `answer(hit)` says how each request is answered."""

    def __init__(self, answer: Callable[[Hit], Answer] = lambda hit: 200) -> None:
        self.hits: list[Hit] = []
        self._closing = threading.Event()
        self._hanging: list[socket.socket] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                said = answer(Hit(headers, body))
                receiver.hits.append(Hit(headers, body, answer=said))
                receiver._reply(self, said)

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A sender that was killed is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def _reply(self, handler: BaseHTTPRequestHandler, said: Answer) -> None:
        if said == "hang":
            # Until the sender gives up: then there is nothing more to read.
            self._hanging.append(handler.connection)
            handler.connection.settimeout(60)
            try:
                handler.connection.recv(1)
            except OSError:
                pass
        elif said == "reset":
            # Linger 0: the close is a reset, whatever was read.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
        elif said == "drip":
            started = time.monotonic()
            # For much longer than any sender of a test may wait.
            while not self._closing.wait(0.05) and time.monotonic() < started + 30:
                handler.wfile.write(b"H")
        elif said == "endless":
            handler.send_response(200)
            handler.end_headers()
            while not self._closing.is_set():
                handler.wfile.write(b"x" * 65536)
        else:
            status, headers = said if isinstance(said, tuple) else (said, {})
            handler.send_response(int(status))
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        handler.close_connection = True

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def ids(self) -> list[str]:
        return [hit.message_id for hit in self.hits]

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        # Senders that it still holds go on at once, not when their patience ends.
        for connection in self._hanging:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._server.server_close()
