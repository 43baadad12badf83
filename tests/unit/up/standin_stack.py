"""`python -m pipeline_jobs.up` with stand-ins for everything but the embedded server; run by `test_main.py`.

`PYTEST_STANDIN` says what is different this time: `api_dies`, `job_fails`, `stubborn`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pipeline_jobs.settings import Settings
from pipeline_jobs.up import main as up
from pipeline_jobs.up import stack
from pipeline_jobs.up.supervisor import Command, Supervisor

KIND = os.environ.get("PYTEST_STANDIN", "")
SERVER = Path(__file__).with_name("standin_server.py")


def processes(settings: Settings, root: Path = stack.ROOT) -> list[Command]:
    ports = {"api": settings.http_port, "flower": settings.flower_port}
    return [Command(name, (sys.executable, str(SERVER), name, str(port))) for name, port in ports.items()]


if __name__ == "__main__":
    stack.check_root = lambda *_: None
    stack.processes = processes
    stack.exporter = lambda *_: Command("exporter", (sys.executable, "-c", "raise SystemExit('no network')"), optional=True)
    up.CLIP = Path(__file__)
    if KIND == "stubborn":
        # Only the second signal can end it.
        Supervisor.stop.__defaults__ = (86_400.0,)
    raise SystemExit(up.main(sys.argv[2:]))
