"""Event streams that nobody reads, of a tenant that makes events all the time."""

from __future__ import annotations

from tests.siege.attacker import Client

LINE, TITLE = "C10", "60 event streams that are never read, and 4 clients that make events"


def run(client: Client) -> None:
    with client.socket() as sock:
        if id(client) // 64 % 16 == 0:
            client.ask("POST", "/pipeline/jobs", {"pipeline": "sleep", "params": {"seconds": 0.1, "steps": 100}})
            return
        sock.sendall(client.head("GET", "/pipeline/events") + b"Accept: text/event-stream\r\n\r\n")
        client.statuses[sock.recv(12)[9:12].decode() or "closed"] += 1
        client.stop.wait(10)
