"""`python -m pipeline_jobs.up` with stand-ins for everything but the embedded server; run by `test_main.py`.

`STANDIN` says what is different this time: `api_dies`, `job_fails`, `stubborn`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pipeline_jobs.settings import Settings
from pipeline_jobs.up import main as up
from pipeline_jobs.up import stack
from pipeline_jobs.up.supervisor import Command, Supervisor

KIND = os.environ.get("STANDIN", "")
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


def processes(settings: Settings, root: Path = stack.ROOT) -> list[Command]:
    ports = {"api": settings.http_port, "flower": settings.flower_port}
    return [Command(name, (sys.executable, __file__, name, str(port))) for name, port in ports.items()]


if __name__ == "__main__":
    if sys.argv[1:2] != ["up"]:
        serve(*sys.argv[1:3])
    stack.check_root = lambda *_: None
    stack.processes = processes
    stack.exporter = lambda *_: Command("exporter", (sys.executable, "-c", "raise SystemExit('no network')"), optional=True)
    up.CLIP = Path(__file__)
    if KIND == "stubborn":
        # Only the second signal can end it.
        Supervisor.stop.__defaults__ = (86_400.0,)
    raise SystemExit(up.main(sys.argv[2:]))
