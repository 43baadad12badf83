"""A proxy before an API that stumbles: the first request of each kind is answered 502 in its own words, as by nginx while an API restarts,
and of requests that wait the first one is answered at once, as where all places are taken."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

#: A page of a proxy's own: no JSON.
PAGE = b"<html><head><title>502 Bad Gateway</title></head></html>"
#: What of a request makes its kind; other requests are passed on from the first one on.
KINDS = re.compile(r"(POST /pipeline/jobs|GET /pipeline/jobs/\w+(/events)?|PATCH /pipeline/uploads/)")
_OF_A_HOP = {"connection", "transfer-encoding", "host"}


@contextmanager
def flaky(api: str) -> Iterator[tuple[str, list[str]]]:
    """Its address, and the kinds of requests that it answered itself."""
    stumbled: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kind = KINDS.match(f"{self.command} {self.path}")
            if kind and _sort(kind) not in stumbled:
                stumbled.append(_sort(kind))
                self._answer(502, {"Content-Type": "text/html"}, [PAGE])
                return
            self._ask(body)

        def _ask(self, body: bytes) -> None:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_A_HOP}
            if "Prefer" in headers and "prefer" not in stumbled:
                stumbled.append("prefer")
                del headers["Prefer"]
            with_api = http.client.HTTPConnection(urlsplit(api).netloc, timeout=120)
            with_api.request(self.command, self.path, body or None, headers)
            answer = with_api.getresponse()
            self._answer(answer.status, dict(answer.getheaders()), iter(lambda: answer.read1(65536), b""))
            with_api.close()

        def _answer(self, status: int, headers: dict[str, str], parts: Any) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in _OF_A_HOP:
                    self.send_header(name, value)
            self.end_headers()
            for part in parts:
                self.wfile.write(part)
                self.wfile.flush()

        do_GET = do_POST = do_PATCH = do_HEAD = _pass

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", stumbled
        server.shutdown()


def _sort(kind: re.Match[str]) -> str:
    """Of whichever job or upload."""
    return re.sub(r"/jobs/\w+", "/jobs/JOB", kind[0])
