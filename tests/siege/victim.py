"""B, the tenant beside the attack: POST, GET, list and upload, one after another, each timed."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

#: Between two rounds of the four requests, in seconds; and how long B waits for an answer.
PAUSE, PATIENCE = 0.05, 60.0
KINDS = ("post", "get", "list", "upload")


class Victim:
    """What B sees of the API. `times`: seconds by kind; `statuses`: how often each was answered."""

    def __init__(self, url: str, key: str, source: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._where, self._source = (parts.hostname, parts.port), source
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self.times: dict[str, list[float]] = defaultdict(list)
        self.statuses: Counter[str] = Counter()
        self._connection = self._connect()

    def live(self, seconds: float) -> None:
        """Rounds of requests for so long; at least one."""
        # A new connection: the API has ended one that was idle since the last time.
        self._connection.close()
        until = time.monotonic() + seconds
        while True:
            job = self._ask("post", "POST", "/pipeline/jobs", {"pipeline": "sleep", "params": {"seconds": 0}})
            if job:
                self._ask("get", "GET", f"/pipeline/jobs/{job['job_id']}")
            self._ask("list", "GET", "/pipeline/jobs?limit=25")
            upload = self._ask("upload", "POST", "/pipeline/uploads", b"x" * 1000, {"Content-Type": "application/offset+octet-stream"})
            if upload:
                self._ask("", "DELETE", f"/pipeline/uploads/{upload['upload_id']}")
            if time.monotonic() >= until:
                return
            threading.Event().wait(PAUSE)

    def close(self) -> None:
        self._connection.close()

    def _ask(self, kind: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        begun = time.perf_counter()
        try:
            self._connection.request(method, path, data, {**self._headers, **(headers or {})})
            answer = self._connection.getresponse()
            text, status = answer.read(), str(answer.status)
        except (OSError, http.client.HTTPException) as error:
            text, status = b"", type(error).__name__
            self._connection.close()
            self._connection = self._connect()
        if kind:
            self.times[kind].append(time.perf_counter() - begun)
        self.statuses[status] += 1
        return json.loads(text) if status in ("200", "201") else None

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self._where, timeout=PATIENCE, source_address=(self._source, 0))


def p99(times: Sequence[float]) -> float:
    """In ms; 0 if there is none."""
    ordered = sorted(times)
    return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] if ordered else 0.0
