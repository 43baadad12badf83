"""The attackers' side, a process of its own: `python -m tests.siege.attacker ATTACK URL KEY`. Attacks until its standard input ends, then
prints how often each status was answered, as JSON."""

from __future__ import annotations

import http.client
import importlib
import json
import os
import socket
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CONNECTIONS = 64
SOURCE = "127.0.0.1"
#: How long an attacker waits for an answer, in seconds.
PATIENCE = 30


class Client:
    """One attacker's connection, with the key of its tenant."""

    def __init__(self, url: str, key: str, statuses: Counter[str], stop: threading.Event) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.host, self.port, self.key = parts.hostname, parts.port, key
        self.statuses, self.stop = statuses, stop
        #: What `prepare` of the attack gave.
        self.given: Any = None
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, key: str | None = None) -> Any:
        """The answer's JSON, or None. :param body: bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {key or self.key}", "Content-Type": "application/json", **(headers or {})}
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE, source_address=(SOURCE, 0))
            self._connection.request(method, path, data, sent)
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.statuses[type(error).__name__] += 1
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return None
        self.statuses[str(answer.status)] += 1
        try:
            return json.loads(text)
        except ValueError:
            return None

    def socket(self) -> socket.socket:
        """A bare connection. :raises OSError:"""
        return socket.create_connection((self.host, self.port), timeout=PATIENCE, source_address=(SOURCE, 0))

    def head(self, method: str, path: str) -> bytes:
        """The beginning of a request, without the empty line."""
        return f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\nAuthorization: Bearer {self.key}\r\n".encode()


def _attack(module: Any, client: Client) -> None:
    while not client.stop.is_set():
        try:
            module.run(client)
        except OSError as error:
            client.statuses[type(error).__name__] += 1
            client.stop.wait(0.05)


def _stand_back() -> None:
    """An attacker has a machine of its own; here it must not take the processors that are measured."""
    os.nice(19)
    # Where Linux shares them by session first, what is nice is so among its session's processes only.
    group = Path("/proc/self/autogroup")
    if group.exists() and os.getsid(0) == os.getpid():
        group.write_text("19")


def main(name: str, url: str, key: str) -> None:
    _stand_back()
    module = importlib.import_module(f"tests.siege.attacks.{name}")
    statuses: Counter[str] = Counter()
    stop = threading.Event()
    given = module.prepare(Client(url, key, statuses, stop)) if hasattr(module, "prepare") else None
    clients = [Client(url, key, statuses, stop) for _ in range(getattr(module, "CONNECTIONS", CONNECTIONS))]
    for client in clients:
        client.given = given
        threading.Thread(target=_attack, args=(module, client), daemon=True).start()
    print("attacking", flush=True)
    sys.stdin.read()
    stop.set()
    print(json.dumps(statuses), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
