"""Pages of sites: yt-dlp in its child process, against a page on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yt_dlp

from pipeline_jobs.exceptions import JobCancelled, NotMedia, SourceError, SourceForbidden, SourceTooLarge, SourceUnavailable
from pipeline_jobs.media import fetch, site_runtime, stages
from pipeline_jobs.media.join import join
from pipeline_jobs.media.site_child import Guard, Refused, options, refusal
from tests.living import running
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


def hls(site: FakeSite, folder: Path, path: str = "/list.m3u8", content_type: str = "application/vnd.apple.mpegurl") -> str:
    """A list of two pieces of a film."""
    for number in (1, 2):
        piece = make_film(folder / f"{number}.ts", format="mpegts", seconds=1.0)
        site.file(f"/{number}.ts", piece.read_bytes(), "video/mp2t")
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", "1.ts", "#EXTINF:1,", "2.ts", "#EXT-X-ENDLIST", ""]
    return site.file(path, "\n".join(lines).encode(), content_type)


@pytest.mark.parametrize(
    ("path", "content_type"), [("/list.m3u8", "text/plain"), ("/list", "application/x-mpegURL; charset=utf-8")], ids=["by name", "by type"]
)
def test_a_list_of_hls_is_fetched_as_on_a_page(
    site: FakeSite, make_context: MakeContext, tmp_path: Path, path: str, content_type: str
) -> None:
    context = make_context(hls(site, tmp_path, path, content_type))
    found = fetch.run(context)
    whole = b"".join((tmp_path / f"{number}.ts").read_bytes() for number in (1, 2))
    assert (context.workdir / found["source"]).read_bytes() == whole


#: Where a list of HLS names another address: each is asked for, unless it is refused.
NAMED = {
    "a piece": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
    "a later piece": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/1.ts\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
    "a key": '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-KEY:METHOD=AES-128,URI="{}"\n#EXTINF:1,\n/1.ts\n#EXT-X-ENDLIST\n',
    "a header": '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MAP:URI="{}"\n#EXTINF:1,\n/1.ts\n#EXT-X-ENDLIST\n',
    "another list": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000,RESOLUTION=64x48\n{}\n",
}


#: As `site_child.main`, for one address after the other: it takes a second to begin.
ONE_AFTER_THE_OTHER = """
import json, sys
from pipeline_jobs.media.site_child import Guard, fetch, refusal
guard, said = Guard(True), {}
sys.addaudithook(guard)
for number, (name, url) in enumerate(json.loads(sys.argv[1]).items()):
    guard.blocked = False
    try:
        fetch({"stem": f"site{number}", "height": 360, "max_bytes": 10**6, "max_seconds": 60, "url": url}, lambda report: None)
        said[name] = "fetched"
    except Exception as error:
        said[name] = refusal(error, guard).code
print(json.dumps(said))
"""


def test_wherever_a_list_of_hls_leads_inside_the_guard_stops_it(site: FakeSite, tmp_path: Path) -> None:
    """A canary stands where a metadata service would: at an address that is never open, and that is this machine's."""
    canary, urls = FakeSite("0.0.0.0"), dict[str, str]()
    site.file("/1.ts", bytes(160), "video/mp2t")
    for number, (what, text) in enumerate(NAMED.items()):
        for host in ("0.0.0.0", "127.0.0.1"):
            inside = canary.file(f"/{host}/{number}", b"x" * 16).replace("0.0.0.0", host, 1)
            site.answer(f"/{host}/{number}", partial(reply, body=b"", status=302, Location=inside))
            for how, named in (("at once", inside), ("by a redirect", f"/{host}/{number}")):
                urls[f"{what} {how}, {host}"] = site.file(f"/{host}-{number}-{how[0]}.m3u8", text.format(named).encode())
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps(urls)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    canary.close()
    said = json.loads(done.stdout)
    assert {said[name] for name in urls if name.endswith("0.0.0.0")} == {"source_forbidden"}, said
    # The others were asked for: it was the guard that kept these away. ("Another list" is read, and what stands in it is asked for, too.)
    asked = {path for path, _ in canary.requests}
    assert {path for path in asked if not path.startswith("/127.0.0.1/")} == set()
    assert asked >= {f"/127.0.0.1/{number}" for number in range(len(NAMED))}


def test_a_list_of_hls_with_a_piece_that_cannot_be_had_is_no_film_with_a_hole(site: FakeSite, make_context: MakeContext) -> None:
    site.file("/1.ts", bytes(160), "video/mp2t")
    context = make_context(site.file("/list.m3u8", NAMED["a later piece"].format("/2.ts").encode()))
    site.answer("/2.ts", lambda handler: reply(handler, b"", status=503))
    with pytest.raises(SourceUnavailable):
        fetch.run(context)
    assert not (context.workdir / "source").exists()


@pytest.mark.parametrize(
    ("what", "named", "error"),
    [("a key", "http://169.254.169.254/key", SourceForbidden), ("a piece", "file:///etc/passwd", (NotMedia, SourceError))],
)
def test_a_list_of_hls_that_leads_inside_is_refused(
    site: FakeSite, make_context: MakeContext, what: str, named: str, error: type[Exception] | tuple[type[Exception], ...]
) -> None:
    site.file("/1.ts", bytes(160), "video/mp2t")
    context = make_context(site.file("/list.m3u8", NAMED[what].format(named).encode()))
    with pytest.raises(error):
        fetch.run(context)
    assert not (context.workdir / "source").exists()


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
    assert not running("site.order.json")


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


def test_the_guard_lets_one_program_pass_and_only_where_it_is_installed() -> None:
    guard = Guard(allow_private=False, program="/venv/bin/deno")
    guard("subprocess.Popen", ("/venv/bin/deno", ["/venv/bin/deno", "run"], None, None))
    for event in ("os.system", "os.exec", "os.posix_spawn"):
        with pytest.raises(PermissionError):
            guard(event, ("/venv/bin/deno", [], None, None))
    with pytest.raises(PermissionError):
        guard("subprocess.Popen", ("deno", ["/venv/bin/deno"], None, None))


def test_a_site_that_needs_what_is_not_installed_says_which_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The brief's own sample is on such a site."""
    error, guard = yt_dlp.utils.DownloadError("Requested format is not available"), Guard(allow_private=False)
    url = "https://youtube.com/watch?v=xtFiJ8AVdW0"
    monkeypatch.setattr(site_runtime, "program", lambda: None)
    assert "pip install 'pipeline-jobs[sites]'" in str(refusal(error, guard, url))
    assert "sites" not in str(refusal(error, guard, "https://film.example/a"))
    monkeypatch.setattr(site_runtime, "program", lambda: "/venv/bin/deno")
    assert "sites" not in str(refusal(error, guard, url))


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


def test_the_process_that_joined_them_does_not_go_on(tmp_path: Path, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it read may have taken it over; what it wrote is hashed next."""
    context = make_context("http://site.example/watch")
    make_film(context.workdir / "site.v", audio=False, format="mp4")
    make_film(context.workdir / "site.a", size=None, format="mp4")
    run, by = stages.Child.run, []

    def ran(child: stages.Child, stage: str, data: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        by.append((stage, child))
        return {"source": "source", "title": "T", "parts": ["site.v", "site.a"]} if stage == "fetch" else run(child, stage, data)

    monkeypatch.setattr(stages.Child, "run", ran)
    assert stages.fetch(context) == {"source": "source", "title": "T"}
    (_, first), (_, second) = by
    assert first is second
    assert first._process.poll() is not None
    context.data = {"source": "source"}
    assert stages.InChild("probe")(context)["media"]["audio"]["codec"] == "aac"
    assert by[2][1] is not first
