"""pytest-celery's nodes as processes of this machine: its setup, clusters and waits, without Docker.

What pytest-celery calls a container is a process here, with a log file for its output. A node is killed, restarted and asked for its log
as in pytest-celery's documentation; a test written for these nodes reads the same with its Docker nodes.
"""

from __future__ import annotations

import os
import signal as signals
import subprocess
import sys
from abc import abstractmethod
from pathlib import Path
from typing import Any

import psutil
from pytest_celery import CeleryTestBackend, CeleryTestBroker, CeleryTestContainer, CeleryTestWorker

from pipeline_jobs.settings import Settings
from pipeline_jobs.up.stack import WORKER
from tests.living import children
from tests.servers import Server
from tests.stack import ROOT, environment
from tests.waiting import until


class ProcessContainer(CeleryTestContainer):
    """A process in the place of a container: the part of Docker's container that pytest-celery's nodes use."""

    def __init__(self, name: str, log: Path) -> None:
        # Not the base's: it keeps a container of Docker's, whose networks and ports nobody has here.
        self._name, self._log = name, log

    @property
    def id(self) -> str:
        """What stands behind the `@` of a worker's node name."""
        return "local"

    @property
    def name(self) -> str:
        return self._name

    @property
    def status(self) -> str:
        return "running" if self.pid is not None else "exited"

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """Of the process; None: it has ended."""

    @abstractmethod
    def start(self) -> None:
        """Start it; its log goes on."""

    @abstractmethod
    def end(self, signal: int) -> None:
        """Send it a signal and wait until it is gone."""

    def logs(self) -> str:
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    def reload(self) -> None:
        """Docker's object would ask its daemon anew. This one always says what is."""

    def ready(self) -> bool:
        """Wait until it is. :raises AssertionError: it has ended, or says so too late."""
        until(lambda: self.status == "exited" or (self.ready_prompt or "") in self.logs(), f"{self.name} to be ready")
        assert self.status == "running", self.logs()[-3000:]
        return True

    def kill(self, signal: str | int = "SIGKILL") -> None:
        self.end(signals.Signals[signal] if isinstance(signal, str) else signal)

    def restart(self, timeout: int = 0) -> None:
        """As Docker: end it if it runs, and start it. It is not waited for: `ready` does."""
        if self.status == "running":
            self.end(signals.SIGTERM)
        self._log.write_text("")
        self.start()

    def teardown(self) -> None:
        if self.status == "running":
            self.end(signals.SIGTERM)


class StoreContainer(ProcessContainer):
    """The server that is store, broker and backend."""

    def __init__(self, folder: Path) -> None:
        super().__init__("store", folder / "server.log")
        self.server = Server(folder).start()

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return {"url": self.server.url, "host_url": self.server.url}

    @property
    def client(self) -> Any:
        return self.server.client()

    @property
    def pid(self) -> int | None:
        return _pid(self.server._process)

    def start(self) -> None:
        self.server.start()

    def end(self, signal: int) -> None:
        _end(self.server._process, signal, group=False)


class WorkerContainer(ProcessContainer):
    """A worker of our app, of any queues."""

    def __init__(self, name: str, settings: Settings, folder: Path, *options: str) -> None:
        super().__init__(name, folder / f"{name}.log")
        folder.mkdir(parents=True, exist_ok=True)
        self._command = [*self.command(*options), "-n", f"{name}@{self.id}"]
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @classmethod
    def command(cls, *args: str, debugpy: bool = False, wait_for_client: bool = True, **kwargs: Any) -> list[str]:
        return [sys.executable, "-m", "celery", "-A", "celery_app", "worker", *WORKER, *args]

    @property
    def ready_prompt(self) -> str:
        return f"{self.name}@{self.id} ready."

    @property
    def pid(self) -> int | None:
        return _pid(self._process)

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=environment(self._settings), stdout=log, stderr=log, start_new_session=True
            )

    def end(self, signal: int) -> None:
        _end(self._process, signal, group=signal == signals.SIGKILL)

    def worker_name(self) -> str:
        return self.name


class StoreBroker(CeleryTestBroker):
    """The store as Celery's broker."""


class StoreBackend(CeleryTestBackend):
    """The same server as the backend of results. It is the broker's node that ends it."""

    def teardown(self) -> None:
        pass


class JobWorker(CeleryTestWorker):
    """A worker of our app as pytest-celery's node. `kill()` is a SIGKILL, `kill("SIGTERM")` a warm shutdown."""

    def get_running_processes_info(self, columns: list[str] | None = None, filters: dict[str, str] | None = None) -> list[dict[str, Any]]:
        """The worker's process and those of its pool; pytest-celery would run a program in the container.

        :param columns: as of psutil; `filters`: values that a process must have.
        """
        pid = self.container.pid
        processes = [] if pid is None else [psutil.Process(pid), *children(pid, recursive=True)]
        found = [process.as_dict(columns) for process in processes]
        return [one for one in found if all(one.get(name) == value for name, value in (filters or {}).items())]


def _pid(process: subprocess.Popen[bytes] | None) -> int | None:
    return process.pid if process is not None and process.poll() is None else None


def _end(process: subprocess.Popen[bytes] | None, signal: int, *, group: bool) -> None:
    assert process is not None
    (os.killpg if group else os.kill)(process.pid, signal)
    process.wait(60)
