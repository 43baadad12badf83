"""Senders that never end, never begin, or send what is none, against the API as a process: each is refused, and holds nothing."""

from __future__ import annotations

import re
import socket
import time

from tests.living import children
from tests.stack import Api, MakeStack, Stack
from tests.waiting import until

POST = b"POST /pipeline/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


def connect(api: Api) -> socket.socket:
    host, port = api.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def answer_to(api: Api, request: bytes) -> bytes:
    with connect(api) as connection:
        connection.sendall(request)
        return until_closed(connection)


def until_closed(connection: socket.socket) -> bytes:
    """What comes until the end of the first answer, or of the connection."""
    data = b""
    while True:
        try:
            piece = connection.recv(65_536)
        except ConnectionResetError:
            return data
        data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if not piece or (length and len(body) >= int(length[1])):
            return data


def test_a_chunked_body_of_10_gb_is_cut_off(stack: Stack, api: Api) -> None:
    assert stack.api_process is not None
    (worker,) = children(stack.api_process.pid)
    before = worker.memory_info().rss
    piece = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    sent, answer = 0, b""
    with connect(api) as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(10 * 1024):
                connection.sendall(piece)
                sent += len(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = until_closed(connection)
    assert sent < 200 * 2**20, "the server read on and on"
    assert worker.memory_info().rss - before < 100 * 2**20
    # The answer was sent before the connection was closed; the reset may have overtaken it.
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413")
    assert api.alive()


def test_what_is_too_large_or_too_deep_is_refused_and_the_process_lives(api: Api) -> None:
    # Before a byte of the body comes.
    assert answer_to(api, POST + b"Content-Length: 10737418240\r\n\r\n").startswith(b"HTTP/1.1 413")

    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        for levels, status in ((4000, b"400"), (100_000, b"413")):
            body = opening * levels + b"1" + closing * levels
            assert answer_to(api, POST + b"Content-Length: %d\r\n\r\n" % len(body) + body).startswith(b"HTTP/1.1 " + status)


#: What is no request, and the status of the answer.
MALFORMED: tuple[tuple[bytes, bytes], ...] = (
    (b"GET /pipeline/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: a\rX-Injected: 1\r\n\r\n", b"400"),
    (b"GET /pipeline/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: a\n X-Injected: 1\r\n\r\n", b"400"),
    (b"GET /pipeline/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: a\x00b\r\n\r\n", b"400"),
    (b"GET /pipeline/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nBad Header: x\r\n\r\n", b"400"),
    (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"414"),
    (b"GET /pipeline/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\n", b"431"),
    (b"GET /pipeline/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-Many: x\r\n" * 200 + b"\r\n", b"431"),
    (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", b"400"),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}\r\n0\r\n\r\n", b"400"),
    (POST + b"Transfer-Encoding: nobody\r\n\r\n{}", b"400"),
    (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}", b"400"),
    (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", b"400"),
    (POST + b"Content-Length: -1\r\n\r\n{}", b"400"),
    (POST + b"Content-Length: 2x\r\n\r\n{}", b"400"),
    (b"BREW /pipeline/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"405"),
    (b"GET /pipeline/jobs HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n", b"400"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
)


def test_what_is_no_request_is_a_problem_that_quotes_nothing(api: Api) -> None:
    for request, status in MALFORMED:
        answer = answer_to(api, request)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 " + status), (request[:100], answer)
        assert b"application/problem+json" in head
        assert b"X-Request-Id" in head
        assert b"X-Injected" not in answer
        assert b"request_id" in body


def test_slow_senders_are_cut_off_and_leave_the_threads_to_others(make_stack: MakeStack) -> None:
    """More of them than the API has threads: lines, headers, bodies and uploads that drip."""
    stack = make_stack(request_seconds=1.0)
    api = stack.api()
    upload = api.post("/pipeline/uploads", None, headers={"Upload-Length": "1000000"}).headers["Location"].encode()
    patch = b"PATCH " + upload + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nUpload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\n"
    beginnings = [
        b"GET /pip",
        b"GET / HTTP/1.1\r\nX-Slow: ",
        POST + b"Content-Length: 1000\r\n\r\n{",
        patch + b"Content-Length: 1000000\r\n\r\nx",
    ]
    connections = [connect(api) for _ in range(6) for _ in beginnings]
    for number, connection in enumerate(connections):
        connection.sendall(beginnings[number % len(beginnings)])
    begun = time.monotonic()
    ended: dict[int, bytes] = {}

    def all_ended() -> bool:
        for number, connection in enumerate(connections):
            if number in ended:
                continue
            try:
                connection.sendall(b"x")
            except OSError:
                ended[number] = b"closed"
                continue
            connection.settimeout(0.01)
            try:
                ended[number] = connection.recv(100) or b"closed"
            except TimeoutError:
                continue
            except OSError:
                ended[number] = b"closed"
        return len(ended) == len(connections)

    until(all_ended, "all slow senders to be cut off", 120)
    for connection in connections:
        connection.close()
    print(f"{len(connections)} slow senders were gone after {time.monotonic() - begun:.1f} s")
    statuses = {number % len(beginnings): text[9:12] for number, text in ended.items() if text != b"closed"}
    assert set(statuses.values()) <= {b"408", b"409", b"423", b"400", b"503"}
    assert api.alive()
