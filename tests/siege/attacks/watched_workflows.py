"""Streams of as many workflows as a tenant may follow, beside batches that it makes and cancels: each event is one of its feed, too."""

from __future__ import annotations

from tests.siege.attacker import Client

LINE, TITLE = "C10", "60 streams, each of another workflow, and 4 clients that make events"
LATER = {"pipeline": "sleep", "run_at": "2099-01-01T00:00:00Z"}


def run(client: Client) -> None:
    if id(client) // 64 % 16 == 0:
        made = client.ask("POST", "/pipeline/batches", {"jobs": [LATER] * 100})
        if made:
            client.ask("POST", f"/pipeline/batches/{made['batch_id']}/cancel")
        return
    made = client.ask("POST", "/pipeline/workflows", {"jobs": [{**LATER, "name": "a"}]})
    if not made:
        client.stop.wait(1)
        return
    with client.socket() as sock:
        sock.sendall(client.head("GET", f"/pipeline/workflows/{made['batch_id']}/events") + b"Accept: text/event-stream\r\n\r\n")
        client.statuses[sock.recv(12)[9:12].decode() or "closed"] += 1
        client.stop.wait(10)
