"""What stands in for the API and for Flower: `standin_server.py NAME PORT`. It imports nothing of ours, which takes a second."""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KIND = os.environ.get("PYTEST_STANDIN", "")
JOB = {
    "job_id": "job_1_a",
    "tenant_id": "demo",
    "status": "queued",
    "progress": 0.0,
    **dict.fromkeys(("stage", "message", "reason", "error")),
}
RUNNING = {**JOB, "status": "running", "progress": 50.0, "stage": "transcribe"}
DONE = {**JOB, "status": "completed", "progress": 100.0, "result": {"success": True, "data": {"transcript": "welcome to the test"}}}
FAILED = {**RUNNING, "status": "failed", "error": "it is no media", "error_detail": {"code": "not_media"}}


class Api(BaseHTTPRequestHandler):
    """API and Flower at once. The job runs at the first look and has ended at the second."""

    looks = 0

    def do_GET(self) -> None:
        if self.path.startswith("/pipeline/jobs/"):
            Api.looks += 1
            self._answer(200, RUNNING if Api.looks == 1 else FAILED if KIND == "job_fails" else DONE)
        else:
            self._answer(200, {"parts": {name: {"ok": True, "reason": None} for name in ("store", "broker", "workers", "beat")}})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(201, JOB)

    def _answer(self, status: int, body: Any) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None: ...


def serve(name: str, port: str) -> None:
    if KIND == "api_dies" and name == "api":
        raise SystemExit("wsgi.py is broken")
    if KIND == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ThreadingHTTPServer(("127.0.0.1", int(port)), Api).serve_forever()


if __name__ == "__main__":
    serve(*sys.argv[1:3])
