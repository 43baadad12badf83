"""What the server does for one call, whoever else is at the server meanwhile.

`INFO commandstats` counts for the whole server: a thread that an earlier test in this process left behind would be counted with the call.
MONITOR names the client of each command, and lists the commands of a script right after the script.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from tests.servers import Server

#: Commands whose second word says what they do.
CONTAINERS = ("client", "config", "function", "memory", "object", "pubsub", "script", "xinfo")
#: What redis-py sends by itself, on a new connection and on one that lay idle; and this module's own.
OWN = ("client|setinfo", "hello", "select", "ping", "client|list", "echo")

#: By the port of a server: the highest id of a client that was connected when a test emptied it. Ids only grow.
_before: dict[int, int] = {}


def empty(server: Server) -> None:
    """Take everything from the server. Whoever is connected by now belongs to an earlier test."""
    with server.client() as client:
        client.flushall()
        _before[server.port] = client.client_id()


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
