"""What a client says over its WebSocket: it costs next to nothing, and ends at most its own connection."""

from __future__ import annotations

import random
import select
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from simple_websocket import Server

from pipeline_jobs.web.api import sockets
from pipeline_jobs.web.server.paced_socket import PacedSocket
from tests.waiting import until

HANDSHAKE = {
    "REQUEST_METHOD": "GET",
    "HTTP_HOST": "x", "HTTP_CONNECTION": "Upgrade", "HTTP_UPGRADE": "websocket", "HTTP_SEC_WEBSOCKET_VERSION": "13",
    "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==", "HTTP_SEC_WEBSOCKET_EXTENSIONS": "permessage-deflate",
}  # fmt: skip
PING, PONG = b"\x89\x80\0\0\0\0", b"\x8a\x00"


@contextmanager
def accepted() -> Iterator[tuple[Server, socket.socket]]:
    """A connection, and its client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=60)
        ours, _ = listener.accept()
    paced = PacedSocket(ours.family, ours.type, ours.proto, ours.detach())
    paced.begin()
    paced.is_invited = False
    with client, Flask("x").test_request_context("/", environ_overrides={**HANDSHAKE, "gunicorn.socket": paced}):
        connection = sockets._accept()
        assert client.recv(4096).startswith(b"HTTP/1.1 101 ")
        yield connection, client
        client.close()
        until(lambda: not connection.thread.is_alive(), "the listener to end")


def test_pings_without_end_are_answered_at_the_pace_of_one_that_need_be_heard() -> None:
    with accepted() as (connection, client):
        client.setblocking(False)
        began, answered = time.monotonic(), 0
        while (seconds := time.monotonic() - began) < 1.5:
            readable, writable, _ = select.select([client], [client], [], 60)
            if writable:
                client.send(PING * 1000)
            if readable:
                answered += len(client.recv(65_536)) // len(PONG)
        most = (sockets.READS_AT_ONCE + (seconds + 1) * sockets.READS_A_SECOND) * sockets.READ_BYTES / len(PING)
        assert 0 < answered <= most
        assert connection.connected


def test_a_client_that_says_little_is_answered_at_once() -> None:
    with accepted() as (_, client):
        for _ in range(10):
            client.send(PING)
            assert client.recv(10) == PONG


def frame(draw: random.Random) -> bytes:
    """What a client may send, good or not: with any length, compressed or not, masked or not, whole or not."""
    if draw.random() < 0.1:
        return draw.randbytes(draw.randrange(1, 40))
    size = draw.choice((0, 1, 5, 125, 126, 127, 1025, 70_000))
    payload = draw.choice(
        (bytes(size), draw.randbytes(size), b"\xff" * size, zlib.compress(bytes(size), wbits=-15), struct.pack("!H", size % 2**16))
    )
    first = draw.choice((0x00, 0x80, 0x40, 0xC0, 0x20)) | draw.choice((0, 1, 2, 8, 9, 10, 3, 15))
    length = len(payload) if draw.random() < 0.9 else draw.choice((0, 2**16, 2**63, 2**64 - 1))
    said = (
        bytes([length]) if length < 126 else b"\x7e" + struct.pack("!H", length) if length < 2**16 else b"\x7f" + struct.pack("!Q", length)
    )
    if draw.random() < 0.1:
        return bytes([first]) + said + payload
    return bytes([first, said[0] | 0x80]) + said[1:] + bytes(4) + payload


@pytest.mark.parametrize("seed", range(30))
def test_whatever_it_sends_its_listener_ends_in_order(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody catches in a thread fails a test."""
    monkeypatch.setattr(sockets, "READS_A_SECOND", 10_000.0)
    draw = random.Random(seed)
    with accepted() as (_, client):
        try:
            for _ in range(draw.randrange(1, 12)):
                client.sendall(frame(draw))
        except OSError:
            pass  # it has hung up
