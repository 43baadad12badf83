"""Ports for the servers of tests."""

from __future__ import annotations

import secrets
import socket

#: Below those that kernels give to connections that leave (Linux: from 32768 on, others: from 49152). One of those that is free now may
#: be some client's end before the server binds it, or while a test has the server killed: then it does not come up.
FIRST, MANY = 20_000, 12_000


def free_port() -> int:
    """A port of loopback that nobody listens on. Drawn from the system: hypothesis seeds `random`, alike in several processes."""
    while True:
        port = FIRST + secrets.randbelow(MANY)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
