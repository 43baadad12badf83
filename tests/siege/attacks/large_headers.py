"""Requests with as many headers as there may be, each as long as it may be."""

from __future__ import annotations

from tests.siege.attacker import Client

LINE, TITLE = "C9", "760 kB of headers"
HEADERS = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 8000) for number in range(95))


def run(client: Client) -> None:
    with client.socket() as sock:
        sock.sendall(client.head("GET", "/pipeline/jobs") + HEADERS + b"\r\n")
        client.statuses[sock.recv(4096)[9:12].decode() or "closed"] += 1
