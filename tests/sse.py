"""A client of Server-sent events as the standard says (WHATWG HTML, 9.2), which drops its connection at random and comes back."""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

#: How long a client waits before it comes back, in seconds, as a multiple of a random number below 1.
PAUSE = 0.05


@dataclass
class SseClient:
    """Follows one stream over many connections. `received` has every message in the order in which it came."""

    #: Where the API is now: it may be another process, on another port.
    address: Callable[[], tuple[str, int]]
    path: str
    random: random.Random
    headers: dict[str, str] = field(default_factory=dict)
    #: A connection is dropped after so many messages, chosen anew each time; 0: never.
    patience: int = 8
    received: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    connections: int = 0
    refused: int = 0
    #: Asked between two connections: all that was wanted is there.
    is_done: Callable[[SseClient], bool] = lambda client: False
    _last: str = ""
    _pause: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until the server says that there is nothing more (204, 404), or `is_done`."""
        while not self.is_done(self) and self._connect():
            self._pause.wait(self.random.random() * PAUSE)

    def _connect(self) -> bool:
        """One connection. :return: come back."""
        connection = http.client.HTTPConnection(*self.address(), timeout=60)
        self.connections += 1
        try:
            headers = {"Accept": "text/event-stream", **self.headers}
            if self._last:
                headers["Last-Event-ID"] = self._last
            connection.request("GET", self.path, headers=headers)
            answer = connection.getresponse()
            if answer.status in (204, 404):
                return False
            if answer.status == 503:
                assert int(answer.headers["Retry-After"]) > 0
                self.refused += 1
                self._pause.wait(0.2)
                return True
            assert answer.status == 200, (answer.status, answer.read())
            self._read(answer)
        except (OSError, http.client.HTTPException):
            # The server was killed, or is not there yet.
            self._pause.wait(0.1)
        finally:
            self._drop(connection)
        return True

    def _read(self, answer: http.client.HTTPResponse) -> None:
        left = self.random.randint(1, self.patience) if self.patience else -1
        fields: dict[str, str] = {}
        for line in _lines(answer):
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
                continue
            self._last = fields.get("id", self._last)
            if "data" in fields:
                self.received.append(json.loads(fields["data"]))
                self.ids.append(self._last)
                left -= 1
            fields = {}
            if left == 0 or self.is_done(self):
                return

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        """Half of the time without a word: a reset, as of a machine that is switched off."""
        if connection.sock is not None and self.random.random() < 0.5:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()


def _lines(answer: http.client.HTTPResponse) -> Iterator[str]:
    while line := answer.readline():
        if not line.endswith(b"\n"):
            return
        yield line.decode().rstrip("\r\n")
