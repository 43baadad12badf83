"""What the server does for one call, whoever else is at the server meanwhile.

`INFO commandstats` counts for the whole server: a thread that an earlier test in this process left behind would be counted with the call.
MONITOR names the client of each command, and lists the commands of a script right after the script.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil
import redis

from tests.living import command_of
from tests.servers import Server

#: Commands whose second word says what they do.
CONTAINERS = ("client", "config", "function", "memory", "object", "pubsub", "script", "xinfo")
#: What redis-py sends by itself, on a new connection and on one that lay idle; and this module's own.
OWN = ("client|setinfo", "hello", "select", "ping", "client|list", "echo")

#: Of a client that waits: commands that take what comes next into a queue.
TAKERS = ("blmove", "blmpop", "blpop", "brpop", "brpoplpush")

#: By the port of a server: the highest id of a client that was connected when a test emptied it, ids only grow; and that test.
_before: dict[int, int] = {}
_emptied: dict[int, str] = {}


def empty(server: Server) -> None:
    """Take everything from the server. Whoever is connected by now belongs to an earlier test.

    :raises AssertionError: somebody still waits for the next message of a queue: it would have been taken from this test. It is
        disconnected, so the next test has its server for itself.
    """
    with server.client() as client:
        client.flushall()
        # The server has noticed by now whose end was closed before it was asked.
        _before[server.port] = client.client_id()
        left = [row for row in client.client_list() if row["cmd"] in TAKERS and "b" in row["flags"]]
        for row in left:
            client.client_kill_filter(_id=row["id"])
    since, _emptied[server.port] = _emptied.get(server.port, "it was started"), os.environ.get("PYTEST_CURRENT_TEST", "")
    assert not left, f"somebody takes messages, and came after {since}: " + "; ".join(map(whose, left))


def whose(row: Mapping[str, str]) -> str:
    """Which client of the server this is, and which processes have its connection."""
    port = int(row["addr"].rpartition(":")[2])
    pids = {one.pid for one in psutil.net_connections("tcp") if one.pid and one.laddr and one.laddr.port == port}
    owners = [f"process {pid}{' (this one)' if pid == os.getpid() else ''}: {command_of(pid)[:200]}" for pid in sorted(pids)]
    return f"{row['cmd']}, connected for {row['age']} s, of {', '.join(owners) or 'a process that is gone'}"


class Commands:
    """The commands that the clients of this test give the server from now on, with those of their scripts."""

    def __init__(self, client: redis.Redis, monitor: Any, before: int) -> None:
        self._client, self._monitor = client, monitor
        self._others = {row["addr"] for row in client.client_list() if int(row["id"]) <= before}
        self._is_ours = False
        self._counted: Counter[str] = Counter()
        #: Characters that were sent, without those of scripts.
        self.sent = 0

    def so_far(self) -> Counter[str]:
        """How often each was run, by its name in small letters (`hgetall`, `script|load`)."""
        mark = f"until here {id(self)}"
        self._client.execute_command("ECHO", mark)
        while (said := self._monitor.next_command())["command"] != f"ECHO {mark}":
            self._take(said["client_type"] == "lua", f"{said['client_address']}:{said['client_port']}", said["command"])
        return self._counted.copy()

    def _take(self, of_a_script: bool, address: str, command: str) -> None:
        if not of_a_script:
            # What a script does is told before anything else is.
            self._is_ours = address not in self._others
        if self._is_ours:
            words = command.lower().split(" ", 2)
            name = "|".join(words[:2]) if words[0] in CONTAINERS else words[0]
            if name not in OWN:
                self._counted[name] += 1
                self.sent += 0 if of_a_script else len(command)


@contextmanager
def commands(client: redis.Redis) -> Iterator[Commands]:
    """Count the commands that the server of this client runs for this test."""
    at = client.connection_pool.connection_kwargs
    with redis.Redis(host=at["host"], port=at["port"], decode_responses=True) as own, own.monitor() as monitor:
        yield Commands(own, monitor, _before.get(at["port"], 0))


def commands_of(client: redis.Redis, call: Callable[[], object]) -> Counter[str]:
    """Those of this call."""
    with commands(client) as given:
        call()
        return given.so_far()


def scripts(counted: Counter[str]) -> int:
    """How many of them are calls of a script, in either form."""
    return counted["evalsha"] + counted["fcall"]
