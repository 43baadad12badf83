"""Which ports the local stack listens on: those set, or any free one for 0; all different, all free now."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

from pipeline_jobs.exceptions import ConfigurationError

#: Where a port is drawn for 0, and how often: below those that kernels give to connections that leave (Linux: from 32768 on, others: from
#: 49152). Such a connection might have the port before its server binds it, and whenever the server is started again.
FIRST, MANY, TRIES = 20_000, 12_000, 100


def choose_ports(wishes: Mapping[str, tuple[str, int]]) -> dict[str, int]:
    """A free port for each setting: `{"PIPELINE_HTTP_PORT": ("127.0.0.1", 0)}` gives `{"PIPELINE_HTTP_PORT": 20123}`.

    All are held while the others are chosen, so that they differ. They are let go before the servers bind them: another
    program may be faster, and then the server says so in its log and the start fails.

    :raises ConfigurationError: a port is taken or may not be used; names its setting.
    """
    with ExitStack() as held:
        return {setting: _hold(held, setting, host, port) for setting, (host, port) in wishes.items()}


def _hold(held: ExitStack, setting: str, host: str, port: int) -> int:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = held.enter_context(socket.socket(family, kind, protocol))
        # As the servers do: a port whose last connections are still closing is free for them.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(listener, address, port)
        # Without it two of our own wishes for one port would both be granted.
        listener.listen(1)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({error.strerror or error}): set {setting} to another port, or to 0 for any free one"
        ) from None
    return int(listener.getsockname()[1])


def _bind(listener: socket.socket, address: tuple[Any, ...], port: int) -> None:
    for drawn in () if port else (FIRST + secrets.randbelow(MANY) for _ in range(TRIES)):
        with suppress(OSError):
            listener.bind((address[0], drawn, *address[2:]))
            return
    listener.bind(address)
