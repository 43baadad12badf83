"""Requests that come a byte at a time: heads, and bodies."""

from __future__ import annotations

from tests.siege.attacker import Client

LINE, TITLE = "C7", "460 senders of a byte a second, half of them of a body"
CONNECTIONS = 460


def run(client: Client) -> None:
    with client.socket() as sock:
        if id(client) // 64 % 2:
            sock.sendall(client.head("POST", "/pipeline/jobs") + b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
        for byte in b"GET /pipeline/jobs?limit=100000" * 100:
            sock.sendall(bytes([byte]))
            if client.stop.wait(1):
                return
