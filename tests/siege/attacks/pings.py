"""WebSockets of a job that waits, over each of which pings are sent without end."""

from __future__ import annotations

from tests.siege.attacker import Client

LINE, TITLE = "C10", "pings without end over 40 WebSockets"
CONNECTIONS = 40
HANDSHAKE = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
PINGS = b"\x89\x80\0\0\0\0" * 1000


def prepare(client: Client) -> str:
    """:return: the job."""
    made = client.ask("POST", "/pipeline/jobs", {"pipeline": "sleep", "run_at": "2099-01-01T00:00:00Z"})
    return str(made["job_id"])


def run(client: Client) -> None:
    with client.socket() as sock:
        sock.sendall(client.head("GET", f"/pipeline/jobs/{client.given}/ws") + HANDSHAKE)
        client.statuses[sock.recv(4096)[9:12].decode() or "closed"] += 1
        sock.settimeout(1.0)
        while not client.stop.is_set():
            try:
                sock.sendall(PINGS)
            except TimeoutError:
                pass  # it is not read as fast
