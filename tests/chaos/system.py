"""The system under test, as its own documents say to run it: one server, job workers, maintenance, beat, the API."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests

from pipeline_jobs.failpoints import VARIABLE
from pipeline_jobs.settings import Settings, load_settings
from tests.chaos.processes import Role
from tests.servers import Server
from tests.stack import free_port

#: Short times, so that a run is minutes: leases end and are missed in seconds.
TIMES = {
    "lease_seconds": 6.0, "announce_seconds": 0.5, "rescue_seconds": 1.0, "cleanup_seconds": 3.0, "hint_seconds": 5.0,
    "cancel_grace_seconds": 2.0, "shutdown_grace_seconds": 0.5, "fire_seconds": 0.5,
    # A canary has no client, and goes when it has ended: nothing for the oracle.
    "canary_seconds": 0,
}  # fmt: skip
_CELERY = (sys.executable, "-m", "celery", "-A", "celery_app")


@dataclass(frozen=True, slots=True)
class System:
    """What to start."""

    #: Job workers `w1`..., with two slots each.
    workers: int = 3
    #: Maintenance workers `m1`...
    maintenance: int = 2
    #: Celery's broker is another database than the store: hints are published by the processes, not pushed by the scripts.
    other_broker: bool = False
    #: Failpoints of the first process in a role: `{"w1": "run.after_claim=kill@2"}`.
    failpoints: Mapping[str, str] = field(default_factory=dict)


def make_settings(server: Server, folder: Path, system: System) -> Settings:
    """A cell whose records stay until the oracle has seen them."""
    settings = load_settings(
        {
            "PIPELINE_REDIS_URL": server.url,
            "CELERY_BROKER_URL": server.url.replace("/0", "/1") if system.other_broker else "",
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


def make_roles(settings: Settings, folder: Path, system: System) -> list[Role]:
    """Job workers, maintenance workers, `beat`, `api`."""
    beat = (*_CELERY, "beat", f"--schedule={folder}/schedule", "--pidfile=", "--loglevel=INFO")
    api = (sys.executable, "-m", "gunicorn", "-c", "python:pipeline_jobs.web.gunicorn_conf", "wsgi:app")
    return [
        *(_worker(system, f"w{number}", "worker", "--autoscale=2,1") for number in range(1, system.workers + 1)),
        *(_worker(system, f"m{number}", "maintenance", "-Q", "maintenance", "-c", "1") for number in range(1, system.maintenance + 1)),
        Role("beat", "beat", beat, lambda log: "beat: Starting..." in log),
        Role("api", "api", api, lambda log: "Booting worker" in log and _answers(settings.base_url), _armed(system, "api")),
    ]


def _worker(system: System, name: str, kind: str, *options: str) -> Role:
    command = (*_CELERY, "worker", "-n", f"{name}@chaos", "--loglevel=INFO", *options)
    return Role(name, kind, command, lambda log: f"{name}@chaos ready" in log, _armed(system, name))


def _armed(system: System, name: str) -> Mapping[str, str]:
    return {VARIABLE: system.failpoints[name]} if name in system.failpoints else {}


def _answers(url: str) -> bool:
    """Looked at between two other things: no answer at once is no answer."""
    try:
        return requests.get(f"{url}/health/live", timeout=0.5).ok
    except requests.RequestException:
        return False
