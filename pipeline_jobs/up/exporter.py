"""celery-exporter in an environment of its own: `python -m pipeline_jobs.up.exporter BROKER_URL PORT PREFIX` installs and becomes it.

PyPI has it as `prometheus-exporter-celery`: for Python < 3.13, with a top-level package named `src` and older libraries than ours,
so it cannot share our environment. Nothing waits for it, and nothing fails without it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from pipeline_jobs.exceptions import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "exporter.lock"
FOLDER = ROOT / ".venv-exporter"
#: Newest first. The exporter does not install on 3.13.
PYTHONS = ("python3.12", "python3.11")
#: How long after its last heartbeat (one every two seconds) a worker counts as down, in seconds; by default it would be five minutes.
WORKER_SECONDS = 30
#: The package has no console script.
LAUNCH = "import sys; from src.cli import cli; sys.argv[0] = 'celery-exporter'; cli()"


def find_python() -> str:
    """An interpreter that the exporter can be installed with: ours if it is old enough, else one on PATH.

    :raises ConfigurationError: there is none.
    """
    if sys.version_info[:2] in ((3, 11), (3, 12)):
        return sys.executable
    for name in PYTHONS:
        path = shutil.which(name)
        # Asked, not trusted: version managers put names on PATH behind which nothing is installed.
        if path and subprocess.run([path, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode == 0:
            return path
    raise ConfigurationError(f"celery-exporter needs one of {', '.join(PYTHONS)}; it is not started")


def installed(folder: Path = FOLDER, lock: Path = LOCK) -> bool:
    """Its environment is there, as this lock file has it."""
    stamp = folder / "installed"
    return stamp.is_file() and stamp.read_text() == _digest(lock)


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def install(folder: Path = FOLDER, lock: Path = LOCK) -> Path:
    """Make its environment if there is none for this lock file.

    :return: the environment's interpreter.
    :raises subprocess.CalledProcessError: it cannot be installed (no network, say); pip's words are on our stderr.
    """
    python = folder / "bin" / "python"
    if not installed(folder, lock):
        subprocess.run([find_python(), "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(lock)], check=True)
        (folder / "installed").write_text(_digest(lock))
    return python


def options(broker_url: str, port: str, prefix: str) -> list[str]:
    """Its options.

    :raises ConfigurationError: it cannot see the events of an installation with a prefix on RabbitMQ.
    """
    given = ["--broker-url", broker_url, "--host", "127.0.0.1", "--port", port, "--retry-interval", "5"]
    given += ["--worker-timeout", str(WORKER_SECONDS)]
    if not prefix:
        return given
    if broker_url.startswith("amqp"):
        raise ConfigurationError("celery-exporter has no option for a prefix on RabbitMQ; it is not started")
    return [*given, "--broker-transport-option", f"global_keyprefix={prefix}"]


def main(arguments: list[str]) -> int:
    """Install, then become the exporter.

    :param arguments: the broker's URL, the port (on loopback), and what stands before Celery's names (`Settings.celery_prefix`).
    :return: 1, and only if it cannot run.
    """
    try:
        given = options(*arguments)
        python = str(install())
        os.execv(python, [python, "-P", "-c", LAUNCH, *given])  # noqa: S606 - an interpreter that we installed  # nosec B606
    except (ConfigurationError, OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{error}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
