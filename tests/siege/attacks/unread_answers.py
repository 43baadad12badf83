"""Requests without a key whose answers are never read: the sockets stay open until the server ends them."""

from __future__ import annotations

from tests.siege.attacker import Client

LINE, TITLE = "C7", "460 sockets that ask for large answers and never read, without a key"
CONNECTIONS = 460
REQUEST = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def run(client: Client) -> None:
    with client.socket() as sock:
        while not client.stop.wait(0.2):
            # Until the server reads no more, or has ended it.
            sock.settimeout(1)
            try:
                sock.sendall(REQUEST * 20)
            except TimeoutError:
                continue
