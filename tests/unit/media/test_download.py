from __future__ import annotations

import gzip
import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ssrfguard import Policy

from pipeline_jobs.exceptions import (
    JobCancelled,
    NotMedia,
    SourceEmpty,
    SourceError,
    SourceForbidden,
    SourceNotFound,
    SourceTooLarge,
    SourceUnavailable,
)
from pipeline_jobs.media import download
from pipeline_jobs.media.download import PageInstead
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import SAMPLES, FakeReporter, FakeSite, reply

BODY = (SAMPLES / "harbor.mp4").read_bytes()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def test_a_file_is_stored_byte_for_byte(site: FakeSite, make_context: MakeContext, target: Path, reporter: FakeReporter) -> None:
    url = site.file("/a.mp4", BODY)
    assert download.download(make_context(), url, target) == len(BODY)
    assert target.read_bytes() == BODY
    assert reporter.percents[-1] == 100.0


def test_a_body_without_a_length_is_stored_whole(site: FakeSite, make_context: MakeContext, target: Path) -> None:
    def chunked(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for begin in range(0, len(BODY), 50_000):
            part = BODY[begin : begin + 50_000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        handler.wfile.write(b"0\r\n\r\n")

    download.download(make_context(), site.answer("/a.mp4", chunked), target)
    assert target.read_bytes() == BODY


def test_a_body_that_the_server_packed_is_unpacked(site: FakeSite, make_context: MakeContext, target: Path) -> None:
    packed = gzip.compress(BODY)
    download.download(make_context(), site.file("/a.mp4", packed, Content_Encoding="gzip"), target)
    assert target.read_bytes() == BODY


def test_a_chunked_body_that_breaks_off_is_not_taken_for_the_whole(site: FakeSite, make_context: MakeContext, target: Path) -> None:
    def broken(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%s\r\n" % (50_000, BODY[:50_000]))

    with pytest.raises(SourceUnavailable):
        download.download(make_context(), site.answer("/a.mp4", broken), target)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, SourceNotFound),
        (410, SourceNotFound),
        (403, SourceError),
        (500, SourceUnavailable),
        (503, SourceUnavailable),
        (429, SourceUnavailable),
    ],
)
def test_each_status_has_its_error(site: FakeSite, make_context: MakeContext, target: Path, status: int, error: type[SourceError]) -> None:
    url = site.answer("/a.mp4", lambda handler: reply(handler, b"no", status=status))
    with pytest.raises(error, match=str(status)) as caught:
        download.download(make_context(), url, target)
    assert type(caught.value) is error


def test_a_server_that_fails_once_is_asked_again(site: FakeSite, make_context: MakeContext, target: Path) -> None:
    def second_time(handler: BaseHTTPRequestHandler) -> None:
        if len(site.requests) == 1:
            reply(handler, b"busy", status=500)
        else:
            reply(handler, BODY)

    download.download(make_context(), site.answer("/a.mp4", second_time), target)
    assert target.read_bytes() == BODY
    assert len(site.requests) == 2


def test_it_gives_up_after_some_tries(site: FakeSite, make_context: MakeContext, target: Path) -> None:
    url = site.answer("/a.mp4", lambda handler: reply(handler, b"", status=502))
    with pytest.raises(SourceUnavailable):
        download.download(make_context(), url, target)
    assert len(site.requests) == download.TRIES


def test_a_refused_connection_is_unavailable(make_context: MakeContext, target: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.mp4"
        with pytest.raises(SourceUnavailable) as caught:
            download.download(make_context(), url, target)
    # Of us, and with the port, which may be what is wrong; of no library.
    assert str(caught.value) == f"{urlsplit(url).netloc}: cannot be reached"


def test_a_server_that_says_nothing_times_out(
    site: FakeSite, make_context: MakeContext, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", (1.0, 0.1))
    monkeypatch.setattr(download, "TRIES", 1)
    url = site.answer("/a.mp4", lambda handler: site.closing.wait(600) and None)
    with pytest.raises(SourceUnavailable, match="in time"):
        download.download(make_context(), url, target)


class Breaks:
    """Sends `first` bytes and hangs up; then serves ranges as asked, or not."""

    def __init__(self, body: bytes, first: int, *, ranges: bool = True, changed: bytes | None = None) -> None:
        self.body, self.first, self.ranges, self.changed = body, first, ranges, changed
        self.count = 0

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        self.count += 1
        if self.count == 1:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(self.body)))
            handler.send_header("ETag", '"one"')
            handler.end_headers()
            handler.wfile.write(self.body[: self.first])
            return
        asked = handler.headers.get("Range", "")
        if self.changed is not None:
            reply(handler, self.changed, ETag='"two"')
        elif self.ranges and asked and handler.headers.get("If-Range") == '"one"':
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
            reply(handler, self.body[begin:], status=206, Content_Range=f"bytes {begin}-{len(self.body) - 1}/{len(self.body)}")
        else:
            reply(handler, self.body)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_line_that_breaks_is_taken_up_again(site: FakeSite, make_context: MakeContext, target: Path, ranges: bool) -> None:
    url = site.answer("/a.mp4", Breaks(BODY, 100_000, ranges=ranges))
    assert download.download(make_context(), url, target) == len(BODY)
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(BODY).digest()
    assert site.requests[1][1]["Range"] == "bytes=100000-"
    assert site.requests[1][1]["If-Range"] == '"one"'


def test_a_file_that_changed_meanwhile_is_fetched_anew(site: FakeSite, make_context: MakeContext, target: Path) -> None:
    other = (SAMPLES / "welcome.mp4").read_bytes()
    download.download(make_context(), site.answer("/a.mp4", Breaks(BODY, 100_000, changed=other)), target)
    assert target.read_bytes() == other


def test_a_shorter_file_leaves_no_tail_of_the_longer(site: FakeSite, make_context: MakeContext, target: Path) -> None:
    target.write_bytes(b"x" * 1_000_000)
    download.download(make_context(), site.file("/a.mp4", BODY), target)
    assert target.read_bytes() == BODY


def test_a_wrong_range_is_never_joined(site: FakeSite, make_context: MakeContext, target: Path) -> None:
    breaks = Breaks(BODY, 100_000)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if breaks.count == 1:
            breaks.count += 1
            reply(handler, BODY[5:], status=206, Content_Range=f"bytes 5-{len(BODY) - 1}/{len(BODY)}")
        else:
            breaks(handler)

    download.download(make_context(), site.answer("/a.mp4", answer), target)
    assert target.read_bytes() == BODY


def test_no_bytes_are_an_error(site: FakeSite, make_context: MakeContext, target: Path) -> None:
    with pytest.raises(SourceEmpty):
        download.download(make_context(), site.file("/a.mp4", b""), target)


@pytest.mark.parametrize("length_known", [True, False])
def test_the_cap_holds_with_and_without_a_length(site: FakeSite, make_context: MakeContext, target: Path, length_known: bool) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not site.closing.is_set():
            handler.wfile.write(BODY)

    url = site.file("/a.mp4", BODY) if length_known else site.answer("/b.mp4", endless)
    with pytest.raises(SourceTooLarge, match="50000"):
        download.download(make_context(PIPELINE_MEDIA_MAX_BYTES="50000"), url, target)
    assert not target.exists() or target.stat().st_size < 50_000 + 2 * len(BODY)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<!DOCTYPE html><title>hello</title>", "text/html"), (b"<html><body>", "video/mp4"),
        (b"hello " * 1000, "text/html; charset=utf-8"),
    ],
)  # fmt: skip
def test_a_page_is_handed_over_to_the_extractors(
    site: FakeSite, make_context: MakeContext, target: Path, body: bytes, content_type: str
) -> None:
    with pytest.raises(PageInstead):
        download.download(make_context(), site.file("/a.mp4", body, content_type), target)


@pytest.mark.parametrize(
    "body", [b"#EXTM3U\nhttp://127.0.0.1/secret.ts\n", b"ffconcat version 1.0\nfile /etc/passwd\n", b"%PDF-1.7\n" * 900]
)
def test_playlists_and_other_files_are_not_media(site: FakeSite, make_context: MakeContext, target: Path, body: bytes) -> None:
    with pytest.raises(NotMedia):
        download.download(make_context(), site.file("/film.mp4", body, "video/mp4"), target)


PRIVATE_URLS = [
    "http://127.0.0.1/a.mp4", "http://localhost/a.mp4", "http://[::1]/a.mp4", "http://0.0.0.0/a.mp4",
    "http://169.254.169.254/latest/meta-data/", "http://[::ffff:127.0.0.1]/a.mp4", "http://[64:ff9b::7f00:1]/a.mp4",
    "http://[2002:7f00:1::]/a.mp4", "http://224.0.0.1/a.mp4", "http://2130706433/a.mp4", "http://0x7f.1/a.mp4", "http://0177.0.0.1/a.mp4",
    "http://127.1/a.mp4", "http://10.0.0.1/a.mp4", "http://192.168.0.1/a.mp4", "http://172.31.255.1/a.mp4", "http://100.64.0.1/a.mp4",
    "http://[fd00::1]/a.mp4", "http://[fe80::1]/a.mp4", "http://168.63.129.16/a.mp4", "http://user:word@93.184.216.34/a.mp4",
    "http://93.184.216.34:22/a.mp4", "http://93.184.216.34:6379/a.mp4", "file:///etc/passwd", "gopher://93.184.216.34/", "http://①②⑦.0.0.1/a.mp4",
]  # fmt: skip


@pytest.mark.parametrize("url", PRIVATE_URLS)
def test_addresses_inside_are_refused(make_context: MakeContext, target: Path, url: str) -> None:
    with pytest.raises(SourceForbidden):
        download.download(make_context(PIPELINE_ALLOW_PRIVATE_URLS="0"), url, target)
    assert not target.exists()


def test_a_name_that_points_inside_is_refused_before_it_is_connected(
    site: FakeSite, make_context: MakeContext, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(site.url("").rsplit(":", 1)[1])
    monkeypatch.setattr(download, "source_policy", lambda allow: Policy(allowed_ports=frozenset({port})))
    with pytest.raises(SourceForbidden):
        download.download(make_context(PIPELINE_ALLOW_PRIVATE_URLS="0"), f"http://localhost:{port}/a.mp4", target)
    assert site.requests == []


def test_a_redirect_inside_is_refused(site: FakeSite, make_context: MakeContext, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 plays the public server, 127.0.0.2 the one inside."""
    outside = Policy(allowed_networks=("127.0.0.1/32",), allowed_ports=frozenset(range(1, 65536)))  # type: ignore[arg-type]
    monkeypatch.setattr(download, "source_policy", lambda allow: outside)
    inside = FakeSite("127.0.0.2")
    try:
        secret = inside.file("/secret.mp4", BODY)
        url = site.answer("/a.mp4", lambda handler: reply(handler, b"", status=302, Location=secret))
        with pytest.raises(SourceForbidden) as caught:
            download.download(make_context(), url, target)
        assert inside.requests == []
        assert "127.0.0.2" not in str(caught.value)
    finally:
        inside.close()


def test_redirects_are_followed_but_not_for_ever(site: FakeSite, make_context: MakeContext, target: Path) -> None:
    site.file("/b.mp4", BODY)
    url = site.answer("/a.mp4", lambda handler: reply(handler, b"", status=301, Location="/b.mp4"))
    download.download(make_context(), url, target)
    assert target.read_bytes() == BODY
    loop = site.answer("/loop", lambda handler: reply(handler, b"", status=302, Location="/loop"))
    with pytest.raises(SourceError, match="redirects too often"):
        download.download(make_context(), loop, target)


def test_the_proxy_of_the_machine_is_not_used(
    site: FakeSite, make_context: MakeContext, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    download.download(make_context(), site.file("/a.mp4", BODY), target)
    assert target.read_bytes() == BODY


def _stalls(site: FakeSite, sent: int, ended: threading.Event) -> str:
    def stall(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        handler.wfile.write(BODY[:sent])
        handler.wfile.flush()
        site.closing.wait(600)
        ended.set()

    return site.answer("/slow.mp4", stall)


@pytest.mark.parametrize("sent", [0, 60_000])
def test_a_cancel_reaches_a_body_that_stalls(
    site: FakeSite, make_context: MakeContext, target: Path, reporter: FakeReporter, sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only the cancel can end it.
    monkeypatch.setattr(download, "TIMEOUT", (600.0, 600.0))
    ended = threading.Event()
    url = _stalls(site, sent, ended)
    reporter.cancel_if = lambda percent, message: bool(site.requests) and (sent == 0 or percent > 0)
    with pytest.raises(JobCancelled):
        download.download(make_context(), url, target)
    assert not ended.is_set()
    if sent:
        assert not [thread for thread in threading.enumerate() if thread.name == "media-download"]


def test_a_cancel_reaches_the_wait_before_a_second_try(
    site: FakeSite, make_context: MakeContext, target: Path, reporter: FakeReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "BACKOFF", 60.0)

    def fail(handler: BaseHTTPRequestHandler) -> None:
        reply(handler, b"", status=500)
        reporter.cancelled.set()

    with pytest.raises(JobCancelled):
        download.download(make_context(), site.answer("/a.mp4", fail), target)


def test_progress_never_falls_when_a_try_starts_over(
    site: FakeSite, make_context: MakeContext, target: Path, reporter: FakeReporter
) -> None:
    download.download(make_context(), site.answer("/a.mp4", Breaks(BODY, 120_000, ranges=False)), target)
    assert reporter.percents == sorted(reporter.percents)
    assert reporter.percents[-1] == 100.0
