"""The system under test, as its own documents say to run it: one server, job workers, maintenance, beat, the API."""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline_jobs.settings import Settings, load_settings
from tests.chaos.processes import Role
from tests.servers import Server
from tests.stack import free_port

#: Short times, so that a run is minutes: leases end and are missed in seconds.
TIMES = {
    "lease_seconds": 6.0, "announce_seconds": 0.5, "rescue_seconds": 1.0, "cleanup_seconds": 3.0, "hint_seconds": 5.0,
    "cancel_grace_seconds": 2.0,
}  # fmt: skip
_CELERY = (sys.executable, "-m", "celery", "-A", "celery_app")


def make_settings(server: Server, folder: Path) -> Settings:
    """A cell whose records stay until the oracle has seen them."""
    settings = load_settings(
        {
            "PIPELINE_REDIS_URL": server.url,
            "PIPELINE_DATA_DIR": str(folder / "data"),
            "ENABLE_PIPELINE_JOB_QUEUE": "1",
            "PIPELINE_MODULES": "tests.chaos.pipeline",
            "PIPELINE_SECRET_KEY": "chaos",
            "PIPELINE_HTTP_PORT": str(free_port()),
            "PIPELINE_JOB_TTL_SECONDS": "86400",
            "PIPELINE_MAX_CONCURRENT_JOBS": "100",
            "PIPELINE_HTTP_THREADS": "8",
        }
    )
    return settings.model_copy(update=TIMES)


def make_roles(folder: Path, *, workers: int, maintenance: int) -> list[Role]:
    """Job workers `w1`..., maintenance workers `m1`..., `beat`, `api`."""
    return [
        *(_worker(f"w{number}", "worker", "--autoscale=2,1") for number in range(1, workers + 1)),
        *(_worker(f"m{number}", "maintenance", "-Q", "maintenance", "-c", "1") for number in range(1, maintenance + 1)),
        Role("beat", "beat", (*_CELERY, "beat", f"--schedule={folder}/schedule", "--pidfile=", "--loglevel=INFO"), "beat: Starting..."),
        Role(
            "api",
            "api",
            (sys.executable, "-m", "gunicorn", "-c", "python:pipeline_jobs.web.gunicorn_conf", "wsgi:app"),
            "Booting worker with pid",
        ),
    ]


def _worker(name: str, kind: str, *options: str) -> Role:
    return Role(name, kind, (*_CELERY, "worker", "-n", f"{name}@chaos", "--loglevel=INFO", *options), f"{name}@chaos ready")
