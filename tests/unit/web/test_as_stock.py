"""Our worker beside gunicorn's own, with the same app and the same bytes: requests behind each other, in pieces, cut off, and wrong."""

from __future__ import annotations

import random
import re
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests import preloaded
from tests.stack import free_port
from tests.waiting import until

#: Cases of a seed; and most bytes of one: of more, who refuses reads no end, and the answer is lost with the connection.
CASES, MOST_SENT = 60, 60_000
STOCK, OURS = "gthread", "pipeline_jobs.web.server.gunicorn_worker.Worker"
#: What some reader of requests may take for something else.
FIELDS = (
    b"Host: b", b"Connection: close", b"Connection: keep-alive", b"Connection: Keep-Alive, x", b"Upgrade: h2c", b"Expect: 100-continue",
    b"Expect: x", b"Cookie: a=\xff", b"Cookie: pipeline_jobs=x", b"Authorization: Bearer \xff", b"X-Forwarded-For: \xff, ::1%x",
    b"X-Forwarded-Proto: https", b"X-Request-Id: a\tb", b"A_B: c", b"A : b", b": b", b"none", b" folded", b"A: \x00", b"A: b\nB: c",
    b"A: b\rB: c", b"SCRIPT_NAME: /x", b"X: " + 8200 * b"y", b"X: " + 4000 * b"y",
)  # fmt: skip
TARGETS = (
    b"/", b"/x?y=z", b"/204", b"/304", b"/pieces", b"/unread", b"/uploads/x", b"/%ff", b"/%00", b"/%0d%0aA:b", b"/\xff", b"*", b"http://a/x",
    b"http://[", b"//x", b"a:80", b"/x#f", b"/x y", b"?q", b"/" + 9000 * b"z",
)  # fmt: skip
METHODS = (*6 * [b"GET"], *6 * [b"POST"], b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE", b"FOO", b"get", b"G T", b"")
VERSIONS = (*8 * [b"HTTP/1.1"], b"HTTP/1.0", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.1 ", b"")
LENGTHS = (b"+1", b"-1", b"1, 1", b"0x1", b"1_0", b"\xb2", 30 * b"9", 5000 * b"9", b"", b"1 ", b"00001", b"1;", b"1\r\nContent-Length: 1")
CODINGS = (*4 * [b"chunked"], b"Chunked", b"gzip, chunked", b"chunked, chunked", b"identity", b"x", b"chunked\r\nContent-Length: 3")
#: A refusal, and all behind it. Which of several faults is named is nobody's business, nor is a 100 before it.
REFUSED = re.compile(rb"HTTP/1\.1 (4\d\d|50\d) [^\r]*\r\nConnection: close.*", re.DOTALL)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Says what it was asked, in one piece or several."""
    path = environ["PATH_INFO"]
    body = b"" if path == "/unread" else environ["wsgi.input"].read()
    names = ("REQUEST_METHOD", "QUERY_STRING", "wsgi.url_scheme", "CONTENT_LENGTH", "RAW_URI", "SERVER_PROTOCOL")
    fields = sorted((name, value) for name, value in environ.items() if name.startswith("HTTP_"))
    said = repr([path, *map(environ.get, names), fields, body]).encode()
    if path in ("/204", "/304"):
        start_response(f"{path[1:]} Nothing", [])
        return []
    if path == "/pieces":
        start_response("200 OK", [])
        return [said[:10], said[10:]]
    start_response("200 OK", [("Content-Length", str(len(said)))])
    return [said]


@contextmanager
def up(worker: str) -> Iterator[int]:
    number = free_port()
    command = [
        sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{number}", "--threads", "4", "--limit-request-line", "8190",
        "--no-control-socket", "--worker-class", worker, f"{__name__}:application",
    ]  # fmt: skip
    with preloaded.quiet(command) as process:
        try:
            until(lambda: b"200 OK" in came(number, [b"GET / HTTP/1.1\r\n\r\n"]), "gunicorn")
            yield number
        finally:
            process.kill()


def came(port: int, pieces: Iterable[bytes]) -> bytes:
    """All that a client gets that sends these and closes its end."""
    got = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                for piece in pieces:
                    client.sendall(piece)
                client.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it was refused before the end: that is read all the same
            while data := client.recv(65_536):
                got += data
    except ConnectionError:
        pass
    got = re.sub(rb"\r\nDate: [^\r]*", b"", got).replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    return REFUSED.sub(b"refused", got)


def chunks(body: bytes, draw: random.Random) -> bytes:
    sent = b""
    while body:
        size = draw.choice((1, 5, 5000))
        sent += draw.choice((b"%x", b"0%X", b"%x;a=b", b"%x ;a")) % len(body[:size]) + b"\r\n" + body[:size] + b"\r\n"
        sent += draw.choice((*40 * [b""], b"x", b"\r\n", b"-1\r\n"))
        body = body[size:]
    return sent + b"0\r\n" + draw.choice((b"", b"", b"A: b\r\n", b"Host: x\r\n", b"bad\r\n")) + b"\r\n"


def request(draw: random.Random) -> bytes:
    method, body = draw.choice(METHODS), b""
    fields = [b"Host: a", *draw.sample(FIELDS, draw.choice((0, 0, 1, 1, 2)))]
    if method in (b"POST", b"PUT"):
        body = bytes(draw.choices(b"ab\r\n0:", k=draw.choice((0, 1, 3, 50, 3000))))
        match draw.randrange(10):
            case 0:
                fields.append(b"Content-Length: " + draw.choice(LENGTHS))
            case 1 | 2 | 3 | 4:
                fields.append(b"Transfer-Encoding: " + draw.choice(CODINGS))
                body = chunks(body, draw)
            case _:
                fields.append(b"Content-Length: %d" % (len(body) + draw.choice((*9 * [0], 1))))
    draw.shuffle(fields)
    end = draw.choice((*20 * [b"\r\n"], b"\n", b"\r"))
    line = b" ".join((method, draw.choice(TARGETS), draw.choice(VERSIONS)))
    return draw.choice((*20 * [b""], b"\r\n", b"\n")) + end.join([line, *fields, b"", b""]) + body


def again(draw: random.Random) -> bytes:
    """Two heads, each several times, with bodies of their own: some look like the head itself."""
    heads = list[tuple[bytes, int]]()
    for _ in range(2):
        size = draw.choice((0, 0, 3, 40, 3000))
        fields = [b"Host: a", *draw.sample(FIELDS, draw.choice((0, 0, 0, 1))), *([b"Content-Length: %d" % size] if size else [])]
        target, version = draw.choice(TARGETS[:6]), draw.choice((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0\r\nConnection: keep-alive"))
        line = b" ".join((draw.choice((b"GET", b"POST", b"HEAD", b"PUT")), target, version))
        heads.append((draw.choice((*9 * [b""], b"\r\n")) + b"\r\n".join([line, *fields, b"", b""]), size))
    chosen = draw.choices(heads, k=draw.randrange(2, 9))
    return b"".join(head + draw.choice((bytes(draw.choices(b"ab\r\n0:", k=size)), (head * size)[:size])) for head, size in chosen)


def several(draw: random.Random) -> bytes:
    return b"".join(request(draw) for _ in range(draw.choice((1, 1, 2, 3, 5))))


def pieces(sent: bytes, draw: random.Random) -> list[bytes]:
    size = draw.choice((len(sent), len(sent), 1000, 7 if len(sent) < 5000 else 3000, 1 if len(sent) < 1000 else 5000))
    return [sent[at : at + size] for at in range(0, len(sent), size)]


@pytest.mark.parametrize(("seed", "requests"), [*((seed, several) for seed in range(4)), (4, again), (5, again)])
def test_bytes_are_answered_as_by_stock_gunicorn(seed: int, requests: Callable[[random.Random], bytes]) -> None:
    draw = random.Random(seed)
    with ExitStack() as stack:
        stock, ours = (stack.enter_context(up(worker)) for worker in (STOCK, OURS))
        for _ in range(CASES):
            sent = requests(draw)[:MOST_SENT]
            parts = pieces(sent[: draw.choice((len(sent), len(sent), draw.randrange(1, len(sent))))], draw)
            expected, got = came(stock, parts), came(ours, parts)
            # A head that is cut off is none to us, whatever is wrong with its beginning.
            assert got in (expected, expected.removesuffix(b"refused")), parts
