"""An open load: requests leave at a given rate, whether or not earlier ones have been answered, as those of many clients do.

An answer's time is counted from the moment at which its request was due. A server that stands still for a second is so charged for
every request of that second, not for one of them (a closed load waits with it, and does not see it).
"""

from __future__ import annotations

import itertools
import selectors
import time
from collections import deque
from collections.abc import Iterable
from urllib.parse import urlsplit

from benchmarks.kit.load import Connection, Load

#: How long answers are waited for after the last request, in seconds.
PATIENCE = 30.0


def open_load(url: str, requests: Iterable[bytes], *, rate: float, seconds: float, connections: int = 64) -> Load:
    """Send `rate` requests a second for so many seconds, cycling over `requests`.

    Requests that are due while all connections wait for an answer go out as soon as one is free.
    """
    sending = _Sending(url, requests, rate, int(rate * seconds), connections)
    try:
        return sending.run()
    finally:
        sending.close()


class _Sending:
    def __init__(self, url: str, requests: Iterable[bytes], rate: float, total: int, connections: int) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._requests = itertools.cycle(requests)
        self._rate, self._total = rate, total
        self._selector = selectors.DefaultSelector()
        self._free = deque(Connection(parts.hostname, parts.port) for _ in range(min(connections, total)))
        self._lines = list(self._free)
        for line in self._lines:
            self._selector.register(line.socket, selectors.EVENT_READ, line)
        self._sent = 0
        self._result = Load()

    def run(self) -> Load:
        start = time.perf_counter()
        heard = start
        while len(self._result.took) < self._total:
            wait = self._send_what_is_due(start)
            for key, _ in self._selector.select(wait):
                heard = time.perf_counter()
                self._answer(key.data)
            if time.perf_counter() - heard > PATIENCE:
                raise TimeoutError(f"no answer for {PATIENCE:.0f} s")
        self._result.seconds = time.perf_counter() - start
        return self._result

    def _send_what_is_due(self, start: float) -> float:
        """:return: seconds until the next request is due."""
        now = time.perf_counter()
        while self._free and self._sent < self._total:
            due = start + self._sent / self._rate
            if due > now:
                return due - now
            line = self._free.popleft()
            line.send(next(self._requests))
            line.sent = due
            self._sent += 1
        return 1.0

    def _answer(self, line: Connection) -> None:
        status = line.answer()
        if status is not None:
            self._result.took.append((time.perf_counter() - line.sent) * 1000)
            self._result.statuses[status] += 1
            self._free.append(line)

    def close(self) -> None:
        self._selector.close()
        for line in self._lines:
            line.socket.close()
