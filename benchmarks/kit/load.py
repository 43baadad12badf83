"""A load generator for HTTP/1.1 with kept-alive connections: one thread, one selector, so that it takes little from what it measures."""

from __future__ import annotations

import itertools
import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class Load:
    """What came of some requests."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    #: Each answer's time in ms.
    took: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.took) / self.seconds


class Connection:
    """A kept-alive connection with at most one request on its way."""

    __slots__ = ("buffer", "sent", "socket")

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.sent = 0.0

    def send(self, request: bytes) -> None:
        self.buffer = b""
        self.sent = time.perf_counter()
        self.socket.sendall(request)

    def answer(self) -> int | None:
        """The status, when the whole answer is there."""
        got = self.socket.recv(65_536)
        if not got:
            raise ConnectionError("the server closed the connection")
        self.buffer += got
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return None
        status = int(head[9:12])
        at = head.lower().find(b"content-length:")
        if at >= 0:
            length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        elif status in (204, 304):
            length = 0
        else:
            raise ConnectionError(f"an answer without a length: {head[:200]!r}")
        return status if len(body) >= length else None


def request(url: str, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """A whole request as it goes over the wire."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}", "Connection: keep-alive"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def load(url: str, requests: Iterable[bytes], total: int, connections: int = 16) -> Load:
    """Send `total` requests, cycling over `requests`, at most one at a time on each connection."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    todo = itertools.islice(itertools.cycle(requests), total)
    result = Load()
    with selectors.DefaultSelector() as selector:
        lines = [Connection(parts.hostname, parts.port) for _ in range(min(connections, total))]
        for line in lines:
            selector.register(line.socket, selectors.EVENT_READ, line)
        start = time.perf_counter()
        busy = 0
        for line in lines:
            line.send(next(todo))
            busy += 1
        while busy:
            ready = selector.select(60)
            if not ready:
                raise TimeoutError(f"no answer from {url} for 60 s")
            for key, _ in ready:
                line = key.data
                status = line.answer()
                if status is None:
                    continue
                result.took.append((time.perf_counter() - line.sent) * 1000)
                result.statuses[status] += 1
                following = next(todo, None)
                if following is None:
                    busy -= 1
                else:
                    line.send(following)
        result.seconds = time.perf_counter() - start
        for line in lines:
            line.socket.close()
    return result
