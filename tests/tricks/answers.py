"""Hostile servers: what a media job may meet behind a URL. Each is an answer of `FakeSite`."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler
from threading import Event

from tests.tricks.files import clip
from tests.unit.media.fakes import Answer, reply

Handler = BaseHTTPRequestHandler


def head(handler: Handler, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Type": "video/mp4", "Connection": "close", **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def endless(handler: Handler, first: bytes = b"", piece: bytes = b"\0" * 65_536) -> None:
    """Until the other end goes away."""
    handler.wfile.write(first or clip()[:1000])
    while True:
        handler.wfile.write(piece)


def endless_body(handler: Handler) -> None:
    head(handler)
    endless(handler)


def endless_chunks(handler: Handler) -> None:
    head(handler, Transfer_Encoding="chunked")
    piece = b"10000\r\n" + b"\0" * 65_536 + b"\r\n"
    endless(handler, b"3e8\r\n" + clip()[:1000] + b"\r\n", piece)


def endless_page(handler: Handler) -> None:
    head(handler, Content_Type="text/html")
    endless(handler, b"<!DOCTYPE html><html><body>", b"<p>" + b"x" * 65_000 + b"</p>")


def endless_headers(handler: Handler) -> None:
    handler.send_response(200)
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"X-More: " + b"x" * 1000 + b"\r\n")


def endless_header_line(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-More: ")
    while True:
        handler.wfile.write(b"x" * 65_536)


def endless_chunk_size(handler: Handler) -> None:
    head(handler, Transfer_Encoding="chunked")
    while True:
        handler.wfile.write(b"0" * 65_536)


def endless_trailers(handler: Handler) -> None:
    head(handler, Transfer_Encoding="chunked")
    handler.wfile.write(b"3e8\r\n" + clip()[:1000] + b"\r\n0\r\n")
    while True:
        handler.wfile.write(b"X-More: " + b"x" * 1000 + b"\r\n")


def a_beginning(handler: Handler) -> None:
    head(handler)
    handler.wfile.write(clip()[:2000])


def half_a_head(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")


def drip(closing: Event, before: Callable[[Handler], None], piece: bytes, seconds: float = 0.2) -> Answer:
    """A byte now and then, for ever."""

    def answer(handler: Handler) -> None:
        before(handler)
        while not closing.wait(seconds):
            handler.wfile.write(piece)
            handler.wfile.flush()

    return answer


def a_byte_a_connection(handler: Handler) -> None:
    """Goes on wherever it is asked to, breaks off at once."""
    asked = handler.headers.get("Range", "bytes=0-")
    start = int(asked.removeprefix("bytes=").partition("-")[0])
    data, etag = clip(), '"same"'
    # The first answer has enough to be taken for a film.
    piece = data[start : start + (2000 if start == 0 else 1)]
    if start:
        head(handler, 206, Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}", Content_Length=str(len(data) - start), ETag=etag)
    else:
        head(handler, Content_Length=str(len(data)), ETag=etag)
    handler.wfile.write(piece)


@cache
def gzip_bomb() -> bytes:
    """200 MB of a film's beginning and zeros, in 200 KB."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    parts = [packer.compress(clip()[:1000])]
    parts += [packer.compress(b"\0" * 2**20) for _ in range(200)]
    return b"".join([*parts, packer.flush()])


def packed(body: Callable[[], bytes], coding: str) -> Callable[[object], Answer]:
    """Made before it is asked for: the one who asks has little patience."""

    def made(site: object) -> Answer:
        data = body()
        return lambda handler: reply(handler, data, Content_Encoding=coding)

    return made


def twice_packed() -> bytes:
    return gzip.compress(gzip_bomb())


def redirect(to: str, status: int = 302) -> Answer:
    return lambda handler: head(handler, status, Location=to, Content_Length="0")


def redirect_to_oneself(handler: Handler) -> None:
    head(handler, 302, Location=handler.path, Content_Length="0")


def redirect_to_nowhere(handler: Handler) -> None:
    head(handler, 302, Content_Length="0")


def length(claimed: int, body: Callable[[], bytes] = clip) -> Answer:
    def answer(handler: Handler) -> None:
        head(handler, Content_Length=str(claimed))
        handler.wfile.write(body()[: max(claimed, 0)])

    return answer


def negative_length(handler: Handler) -> None:
    head(handler, Content_Length="-1")
    handler.wfile.write(clip())


def two_lengths(handler: Handler) -> None:
    handler.send_response(200)
    for value in ("100", "200"):
        handler.send_header("Content-Length", value)
    handler.end_headers()
    handler.wfile.write(clip())


def another_range(handler: Handler) -> None:
    head(handler, 206, Content_Range=f"bytes 500-{len(clip()) - 1}/{len(clip())}")
    handler.wfile.write(clip()[500:])


def no_range(handler: Handler) -> None:
    head(handler, 206)
    handler.wfile.write(clip())


def a_range_of_no_end(handler: Handler) -> None:
    head(handler, 206, Content_Range=f"bytes 0-{2**63}/{2**64}")
    handler.wfile.write(clip())


def resumes_as_another(handler: Handler) -> None:
    """Breaks off, and goes on with another file under the same mark."""
    asked = handler.headers.get("Range")
    if asked is None:
        head(handler, Content_Length=str(len(clip())), ETag='"same"')
        handler.wfile.write(clip()[:50_000])
        return
    start = int(asked.removeprefix("bytes=").partition("-")[0])
    head(handler, 206, Content_Range=f"bytes {start}-{len(clip()) - 1}/{len(clip())}", ETag='"same"')
    handler.wfile.write(b"\xff" * (len(clip()) - start))


def no_http(handler: Handler) -> None:
    handler.wfile.write(clip())


def bad_chunks(handler: Handler) -> None:
    head(handler, Transfer_Encoding="chunked")
    handler.wfile.write(b"zz\r\n" + clip()[:1000] + b"\r\n")


def resets(handler: Handler) -> None:
    """Says nothing and is gone."""
