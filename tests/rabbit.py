"""A RabbitMQ node for tests, or three that are a cluster, from Debian's package, on loopback alone."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.waiting import until

#: The program itself: Debian's wrapper on PATH changes to another user.
PROGRAM = shutil.which("rabbitmq-server", path="/usr/lib/rabbitmq/bin")


def _port() -> int:
    """A free one that no connection of another test is given meanwhile: a node takes its ports one after another, over seconds."""
    with socket.socket() as probe:
        while True:
            port = 20_000 + secrets.randbelow(12_000)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@dataclass(frozen=True, slots=True)
class Quorum:
    """A quorum queue, as a node has it."""

    #: The name of the node that leads it; empty: none, as far as is known.
    leader: str = ""
    #: How many nodes of it are there.
    online: int = 0


class Rabbit:
    """One node with a folder, a name and ports of its own; with its management API at `api`, if it is asked for."""

    def __init__(self, folder: Path, *, management: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self._distribution, epmd, web = (_port() for _ in range(4))
        self.api = f"http://guest:guest@127.0.0.1:{web}/api/" if management else ""
        conf = f"listeners.tcp.local = 127.0.0.1:{self.port}\nloopback_users = none\n"
        if management:
            # How old its figures may be, in ms.
            conf += f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {web}\ncollect_statistics_interval = 500\n"
        self._conf = folder / "rabbitmq.conf"
        self._conf.write_text(conf)
        (folder / "enabled_plugins").write_text("[rabbitmq_management].\n" if management else "[].\n")
        self._log = folder / "rabbitmq.log"
        self._environment = {
            **os.environ,
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_BASE": str(folder),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._joins = False

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    @property
    def name(self) -> str:
        return self._environment["RABBITMQ_NODENAME"]

    @property
    def own_environment(self) -> dict[str, str]:
        """What makes `rabbitmq-server` this node."""
        return {name: value for name, value in self._environment.items() if name.startswith(("RABBITMQ_", "ERL_", "HOME"))}

    def as_of(self, first: Rabbit) -> None:
        """Before it is started: with the home (Erlang's cookie) and the name server of another one."""
        self._environment |= {name: first._environment[name] for name in ("HOME", "ERL_EPMD_PORT")}
        self._joins = True

    def join(self, first: Rabbit) -> None:
        """Into the cluster of another one. By itself a node asks for its peers from a second Erlang, which wants the same port."""
        code = f"rabbit:stop(), ok = rabbit_db_cluster:join('{first.name}', disc), ok = rabbit:start()."
        done = subprocess.run(
            [str(PROGRAM).replace("-server", "ctl"), "-n", self.name, "eval", code],
            env=self._environment, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        until(self._listens, "the node in the cluster", 90)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> Rabbit:
        self.launch()
        until(lambda: self.check_alive() or self._listens(), "RabbitMQ", seconds=180)
        return self

    def launch(self) -> None:
        """Start it, and do not wait until it is there."""
        assert PROGRAM
        with self._log.open("ab") as log:
            # Erlang's name server: ours, or the node would start one that outlives it.
            if not self._joins:
                self._epmd = self._epmd or subprocess.Popen(["epmd"], env=self._environment, stdout=log, stderr=log)
            self._process = subprocess.Popen([PROGRAM], env=self._environment, stdout=log, stderr=log, start_new_session=True)

    def names(self, what: str) -> set[str]:
        """Names of what there is, as the management API lists them: `queues`, `exchanges`; without the server's own."""
        listed = requests.get(f"{self.api}{what}", timeout=10).json()
        return {one["name"] for one in listed if one["name"] and not one["name"].startswith("amq.")}

    def quorums(self) -> dict[str, Quorum]:
        """Every quorum queue by its name, as this node's management API has it. :raises requests.RequestException: it gives no answer."""
        listed = requests.get(f"{self.api}queues", timeout=10).json()
        queues = [one for one in listed if one.get("type") == "quorum"]
        return {one["name"]: Quorum(str(one.get("leader", "")), len(one.get("online", ()))) for one in queues}

    def leader(self, queue: str) -> str:
        """The name of the node that leads a quorum queue, as this node's management API has it."""
        return str(requests.get(f"{self.api}queues/%2F/{queue}", timeout=10).json().get("leader", ""))

    def in_step(self, queue: str) -> int:
        """How many nodes of a quorum queue are there."""
        return len(requests.get(f"{self.api}queues/%2F/{queue}", timeout=10).json().get("online", ()))

    def kill(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        until(lambda: not self._listens(), "RabbitMQ to be gone")

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self.kill()
        if self._epmd:
            self._epmd.kill()
            self._epmd.wait()

    def check_alive(self) -> None:
        """:raises AssertionError: its process has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"RabbitMQ ended with {self._process.returncode}:\n{self._log.read_text()[-3000:]}")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def cluster(folder: Path) -> Iterator[list[Rabbit]]:
    """Three nodes of one cluster, with their management API."""
    nodes = [Rabbit(folder / f"node{number}", management=True) for number in range(3)]
    cookie = folder / "node0/.erlang.cookie"
    cookie.write_text(secrets.token_hex(16))
    cookie.chmod(0o400)
    try:
        nodes[0].start()
        for node in nodes[1:]:
            node.as_of(nodes[0])
            node.start()
            node.join(nodes[0])
        yield nodes
    finally:
        for node in reversed(nodes):
            node.stop()
