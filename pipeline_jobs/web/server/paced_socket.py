"""A client's socket: what is sent to it within a budget, and who waits for it. Written against gunicorn 27, as `gunicorn_worker` is."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from pipeline_jobs.settings import load_settings

#: So many bytes that went out earn a second of waiting for room: who reads more slowly in the long run loses the connection.
BYTES_PER_SECOND = 16_384
#: A number: an operation with Python's enumeration costs 2 us.
NOW = int(socket.MSG_DONTWAIT)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_SEND_SECONDS = load_settings().send_seconds
_RESET = struct.pack("ii", 1, 0)


class PacedSocket(socket.socket):
    """Waits for room to send, in all the sends of a response, for `PIPELINE_SEND_SECONDS`, and longer only for a client that reads.

    gunicorn sends blockingly and without a limit: a client that reads nothing held its thread for ten minutes.
    """

    __slots__ = ("_left", "cost", "is_invited", "owner", "rest", "waits")
    #: To be called as its thread begins to wait for a job, an event, or a long body: see `Worker._rest`. From any thread.
    rest: Callable[[], None]
    #: Whose the request is, as soon as that is known, and what it costs besides the time of its thread, in seconds.
    owner: str | None
    cost: float
    #: Its thread waits for the client, to send or to read.
    waits: bool
    #: The client was told to send its body: gunicorn would tell it again.
    is_invited: bool

    def begin(self) -> None:
        """A response's budget."""
        self._left = _SEND_SECONDS

    def setblocking(self, flag: bool) -> None:
        """Most often it is so already: that costs no system call, nor the interpreter's lock."""
        if self.gettimeout() != (None if flag else 0.0):
            super().setblocking(flag)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        self.waits = not flags & NOW
        try:
            return super().recv(size, flags)
        finally:
            self.waits = False

    def send_now(self, data: bytes) -> None:
        """As much of it as there is room for. :raises OSError: there is none, or no client."""
        super().send(data, NOW)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._try(lambda part: socket.socket.send(self, part, flags | NOW), rest) :]

    def send(self, data: Any, flags: int = 0, /) -> int:
        """All of it: the WebSockets' library looks at no count."""
        if self.is_invited and data == CONTINUE:
            self.is_invited = False
        else:
            self.sendall(data, flags)
        return len(data)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """:param count: gunicorn always gives it."""
        until = offset + (count or 0)
        self.setblocking(False)
        try:
            while offset < until and (sent := self._try(lambda at: os.sendfile(self.fileno(), file.fileno(), at, until - at), offset)):
                offset += sent
        finally:
            self.setblocking(True)
        return offset

    def _try(self, send: Callable[[Any], int], what: Any) -> int:
        """How much was sent, as soon as there is room. :raises ConnectionResetError: the budget is spent."""
        while True:
            try:
                sent = send(what)
            except BlockingIOError:
                self._wait()
            else:
                self._left = min(_SEND_SECONDS, self._left + sent / BYTES_PER_SECOND)
                return sent

    def _wait(self) -> None:
        begun = time.monotonic()
        room = select.poll()
        room.register(self, select.POLLOUT)
        self.waits = True
        if self._left > 0:
            room.poll(self._left * 1000)
        self.waits = False
        self._left -= time.monotonic() - begun
        if self._left <= 0:
            # What lies in the kernel for this client goes with the connection.
            self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            raise ConnectionResetError(errno.ECONNRESET, "the client does not read")
