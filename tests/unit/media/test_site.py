"""Pages of sites: yt-dlp in its child process, against a page on loopback."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yt_dlp

from pipeline_jobs.exceptions import JobCancelled, NotMedia, SourceError, SourceForbidden, SourceTooLarge
from pipeline_jobs.media import fetch
from pipeline_jobs.media.join import join
from pipeline_jobs.media.site_child import Guard, Refused, options, refusal
from tests.living import children
from tests.tricks.files import FTYP
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import FakeReporter, FakeSite, make_film, reply

#: What is fetched and not opened.
FILM = FTYP + bytes(300_000)
PAGE = '<!DOCTYPE html><html><head><title>The harbor</title></head><body><video src="{}"></video></body></html>'


def page(site: FakeSite, source: str) -> str:
    return site.file("/page.html", PAGE.format(source).encode(), "text/html")


def test_a_film_on_a_page_is_fetched(site: FakeSite, make_context: MakeContext, reporter: FakeReporter) -> None:
    site.file("/film.mp4", FILM, "video/mp4")
    context = make_context(page(site, "/film.mp4"))
    found = fetch.run(context)
    assert (context.workdir / found["source"]).read_bytes() == FILM
    assert found["title"].startswith("The harbor")
    assert reporter.percents == sorted(reporter.percents)


def test_of_a_pages_title_the_first_300_characters_are_kept(site: FakeSite, make_context: MakeContext) -> None:
    site.file("/film.mp4", FILM, "video/mp4")
    text = PAGE.format("/film.mp4").replace("The harbor", "The harbor " + "x" * 100_000)
    assert fetch.run(make_context(site.file("/page.html", text.encode(), "text/html")))["title"] == "The harbor " + "x" * 289


def test_a_page_without_media_is_not_media(site: FakeSite, make_context: MakeContext) -> None:
    url = site.file("/", b"<!DOCTYPE html><html><body><p>Nothing to see.</p></body></html>", "text/html")
    with pytest.raises(NotMedia, match="web page"):
        fetch.run(make_context(url))


def test_a_page_that_leads_inside_is_refused(site: FakeSite, make_context: MakeContext) -> None:
    with pytest.raises(SourceForbidden):
        fetch.run(make_context(page(site, "http://169.254.169.254/film.mp4")))


def test_the_size_cap_holds_for_sites_too(site: FakeSite, make_context: MakeContext) -> None:
    site.file("/film.mp4", FILM, "video/mp4")
    with pytest.raises(SourceTooLarge):
        fetch.run(make_context(page(site, "/film.mp4"), PIPELINE_MEDIA_MAX_BYTES="50000"))


def test_a_cancel_ends_the_child(site: FakeSite, make_context: MakeContext, reporter: FakeReporter) -> None:
    def stall(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "video/mp4")
        handler.send_header("Content-Length", str(len(FILM)))
        handler.end_headers()
        handler.wfile.write(FILM[:10_000])
        if handler.command == "GET" and len(site.requests) > 2:
            reporter.cancelled.set()
            site.closing.wait(60)

    site.answer("/film.mp4", stall)
    with pytest.raises(JobCancelled):
        fetch.run(make_context(page(site, "/film.mp4")))
    assert not [child for child in children() if "site.order.json" in " ".join(child.cmdline())]


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "fe80::1%eth0", "a-name.example"])
def test_the_guard_refuses_what_the_table_refuses(address: str) -> None:
    guard = Guard(allow_private=False)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as sock, pytest.raises(PermissionError):
        guard("socket.connect", (sock, (address, 80)))
    assert guard.blocked


@pytest.mark.parametrize("port", [21, 22, 25, 53, 6379, 5672])
def test_the_guard_refuses_a_port_where_the_public_serves_no_http(port: int) -> None:
    guard = Guard(allow_private=False)
    with socket.socket() as sock, pytest.raises(PermissionError):
        guard("socket.connect", (sock, ("93.184.216.34", port)))
    assert guard.blocked


def turn_away(handler: BaseHTTPRequestHandler, to: str) -> None:
    """A page for us, a redirect for yt-dlp."""
    if "Mozilla" in str(handler.headers.get("User-Agent")):
        reply(handler, b"", status=302, Location=to)
    else:
        reply(handler, PAGE.format("/x").encode(), content_type="text/html")


@pytest.mark.parametrize("how", ["a film", "a redirect", "the page itself"])
def test_no_ftp_is_followed(site: FakeSite, make_context: MakeContext, how: str) -> None:
    """Also where private addresses and all ports are allowed: nobody checked what a server of that protocol leads to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ftp = f"ftp://127.0.0.1:{server.getsockname()[1]}/film.mp4"
        site.answer("/away.mp4", lambda handler: reply(handler, b"", status=302, Location=ftp))
        url = page(site, ftp if how == "a film" else "/away.mp4")
        if how == "the page itself":
            site.answer("/page.html", lambda handler: turn_away(handler, ftp))
        server.settimeout(0)
        with pytest.raises((SourceError, NotMedia)):
            fetch.run(make_context(url))
        with pytest.raises(BlockingIOError):
            server.accept()


def test_the_guard_lets_the_public_pass_and_starts_no_program() -> None:
    guard = Guard(allow_private=False)
    with socket.socket() as sock:
        guard("socket.connect", (sock, ("93.184.216.34", 443)))
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(PermissionError):
        guard("socket.connect", (sock, "/run/docker.sock"))
    with pytest.raises(PermissionError):
        guard("subprocess.Popen", ("ffmpeg", [], None, None))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Unable to download webpage: HTTP Error 404: Not Found", "source_not_found"), ("Video unavailable", "source_not_found"),
        ("HTTP Error 503: Service Unavailable", "source_unavailable"), ("<urlopen error timed out>", "source_unavailable"),
        ("No video formats found!", "not_media"),
    ],
)  # fmt: skip
def test_yt_dlps_words_become_our_codes(text: str, code: str) -> None:
    refused = refusal(yt_dlp.utils.DownloadError(text), Guard(allow_private=False))
    assert refused.code == code
    assert text not in str(refused)


def test_a_download_that_grows_past_the_cap_is_stopped() -> None:
    said: list[dict[str, Any]] = []
    order = {"height": 360, "stem": "site", "max_bytes": 100}
    (hook,) = options(order, said.append)["progress_hooks"]
    hook({"downloaded_bytes": 50, "total_bytes": 200})
    assert said == [{"bytes": 50, "progress": 0.25}]
    with pytest.raises(Refused) as caught:
        hook({"downloaded_bytes": 101})
    assert caught.value.code == "source_too_large"


def test_picture_and_sound_that_come_apart_are_joined(tmp_path: Path, make_context: MakeContext) -> None:
    from pipeline_jobs.media import probe

    context = make_context(data={"source": "source"})
    picture = make_film(tmp_path / "v.mp4", audio=False)
    sound = make_film(tmp_path / "a.m4a", size=None, format="mp4")
    join(context, [picture, sound], context.workdir / "source")
    media = probe.run(context)["media"]
    assert (media["video"]["codec"], media["audio"]["codec"]) == ("h264", "aac")
    assert media["duration"] == pytest.approx(2.0, abs=0.2)
