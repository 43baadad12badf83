"""The system under test, as its own documents say to run it: one server, job workers, maintenance, beat, the API."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import requests

from pipeline_jobs.failpoints import VARIABLE
from pipeline_jobs.pools.pool_names import DEFAULT
from pipeline_jobs.settings import Settings, load_settings
from tests.chaos.pipeline import GPU
from tests.chaos.processes import Role
from tests.chaos.proxy import Proxies
from tests.chaos.small_disk import RESERVE_BYTES, SmallDisk
from tests.servers import Server
from tests.stack import free_port

#: Short times, so that a run is minutes: leases end and are missed in seconds.
TIMES = {
    "lease_seconds": 6.0, "announce_seconds": 0.5, "rescue_seconds": 1.0, "cleanup_seconds": 3.0, "hint_seconds": 5.0,
    "cancel_grace_seconds": 2.0, "shutdown_grace_seconds": 0.5, "fire_seconds": 0.5,
    # A canary has no client, and goes when it has ended: nothing for the oracle.
    "canary_seconds": 0,
}  # fmt: skip
#: What the fleet knows, and what a worker of the version before does.
MODULES = ("tests.chaos.pipeline", "tests.chaos.newer_pipeline")
OLDER_MODULES = MODULES[:1]
#: Longer than the clock is ever stepped.
TTL_SECONDS = 30 * 86400
#: One machine with a small disk: a worker, and the maintenance worker that sweeps what killed runs left there.
ON_SMALL_DISK = ("w1", "m1")
_CELERY = (sys.executable, "-m", "celery", "-A", "celery_app")


@dataclass(frozen=True, slots=True)
class System:
    """What to start."""

    #: Job workers `w1`..., with two slots each.
    workers: int = 3
    #: Job workers `g1`... of the pool `gpu`, with two slots each.
    gpu: int = 0
    #: Maintenance workers `m1`...
    maintenance: int = 2
    #: Celery's broker is another database than the store: hints are published by the processes, not pushed by the scripts.
    other_broker: bool = False
    #: The broker is RabbitMQ.
    rabbitmq: bool = False
    #: The broker is three nodes of RabbitMQ, with quorum queues.
    quorum: bool = False
    #: The last job worker knows fewer pipelines than the others.
    mixed: bool = False
    #: Workers and API reach the servers through proxies, and one worker has a small disk.
    around: bool = False
    #: Failpoints of the first process in a role: `{"w1": "run.after_claim=kill@2"}`.
    failpoints: Mapping[str, str] = field(default_factory=dict)
    #: Processes are forked from one that has imported all that they need: for the short forms.
    forked: bool = False

    @property
    def older(self) -> str | None:
        """The worker that knows fewer pipelines."""
        return f"w{self.workers}" if self.mixed else None


def pool_of(mark: str) -> str:
    """The pool that a job worker serves, by the mark of one of its processes."""
    return GPU if mark.split(":")[1].startswith("g") else DEFAULT


def make_settings(server: Server, folder: Path, system: System, broker: str = "") -> Settings:
    """A cell whose records stay until the oracle has seen them. :param broker: its URL or URLs, if it is another server than the store."""
    settings = load_settings(
        {
            "PIPELINE_REDIS_URL": server.url,
            "CELERY_BROKER_URL": server.url.replace("/0", "/1") if system.other_broker else broker,
            "PIPELINE_BROKER_QUEUE_TYPE": "quorum" if system.quorum else "classic",
            "PIPELINE_DATA_DIR": str(folder / "data"),
            "ENABLE_PIPELINE_JOB_QUEUE": "1",
            "PIPELINE_MODULES": ",".join(MODULES),
            "PIPELINE_SECRET_KEY": "chaos",
            # Its workers start all the time, and run no media.
            "PIPELINE_SELF_TEST": "0",
            "PIPELINE_HTTP_PORT": str(free_port()),
            "PIPELINE_JOB_TTL_SECONDS": str(TTL_SECONDS),
            "PIPELINE_DISK_RESERVE_BYTES": str(RESERVE_BYTES),
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
        *(_worker(system, f"g{number}", "worker", "-Q", f"jobs.{GPU}", "--autoscale=2,1") for number in range(1, system.gpu + 1)),
        *(_worker(system, f"m{number}", "maintenance", "-Q", "maintenance", "-c", "1") for number in range(1, system.maintenance + 1)),
        Role("beat", "beat", beat, lambda log: "beat: Starting..." in log),
        Role("api", "api", api, lambda log: "Booting worker" in log and _answers(settings.base_url), _armed(system, "api")),
    ]


def surrounded(roles: list[Role], system: System, settings: Settings, proxies: Proxies, disk: SmallDisk) -> list[Role]:
    """The same, each with what is about it: its way to the servers, its disk, its version."""
    return [_surrounded(role, system, settings, proxies, disk) for role in roles]


def _surrounded(role: Role, system: System, settings: Settings, proxies: Proxies, disk: SmallDisk) -> Role:
    always: dict[str, str] = {}
    if system.around and role.kind != "beat":
        always["PIPELINE_REDIS_URL"] = proxies.through(role.name, settings.redis_url)
        if settings.broker_is_store:
            always["CELERY_BROKER_URL"] = always["PIPELINE_REDIS_URL"]
        elif not system.quorum:
            # Three nodes are reached directly: each of them is killed now and then.
            always["CELERY_BROKER_URL"] = proxies.through(role.name, settings.broker_url)
    if system.around and role.name in ON_SMALL_DISK:
        always |= disk.environment
    if role.name == system.older:
        always["PIPELINE_MODULES"] = ",".join(OLDER_MODULES)
    return replace(role, always=always)


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
