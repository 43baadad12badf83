"""The tricks: a name, what is behind the URL, and the codes that a job may fail with (an empty set: it may pass)."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

from tests.tricks import answers, files
from tests.tricks.files import FTYP, box, clip, film, picture_in_film, wav
from tests.unit.media.fakes import Answer, FakeSite, reply

DAMAGED, NOT_MEDIA, TOO_LARGE, NO_AUDIO = {"media_damaged"}, {"not_media"}, {"media_too_large"}, {"no_audio"}
BIG, AWAY, SLOW, FAILED = {"source_too_large"}, {"source_unavailable"}, {"source_too_slow"}, {"source_failed"}
PASSES = {"completed"}


@dataclass(frozen=True)
class Trick:
    name: str
    codes: frozenset[str]
    #: Bytes of a file, or how a server answers.
    file: Callable[[Path], bytes] | None = None
    answer: Callable[[FakeSite], Answer] | None = None
    #: Only with patience: it takes the real time limits.
    patient: bool = False

    def install(self, site: FakeSite, folder: Path) -> str:
        """The URL at which the trick waits."""
        path = f"/{self.name.replace(' ', '-')}.mp4"
        if self.answer is not None:
            return site.answer(path, self.answer(site))
        assert self.file is not None
        return site.file(path, self.file(folder), "video/mp4")


def file(name: str, codes: set[str], make: Callable[[Path], bytes] | bytes) -> Trick:
    return Trick(name, frozenset(codes), file=(lambda folder: make) if isinstance(make, bytes) else make)


def server(name: str, codes: set[str], answer: Answer, *, patient: bool = False) -> Trick:
    return Trick(name, frozenset(codes), answer=lambda site: answer, patient=patient)


def dripping(name: str, codes: set[str], before: Callable[[answers.Handler], None], piece: bytes) -> Trick:
    return Trick(name, frozenset(codes), answer=lambda site: answers.drip(site.closing, before, piece), patient=True)


def zipped(*names: str) -> bytes:
    data = BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, b"\0" * 10_000_000)
    return data.getvalue()


HLS = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
KEYED = HLS.replace(b"#EXTINF", b'#EXT-X-KEY:METHOD=AES-128,URI="file:///etc/shadow"\n#EXTINF')
XML = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><svg>&e;</svg>'
MASTER = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://169.254.169.254/latest/meta-data/\n"

# fmt: off
FILES: tuple[Trick, ...] = (
    # playlists and scripts, whatever they are named
    file("hls", NOT_MEDIA, HLS),
    file("hls of the metadata service", NOT_MEDIA, MASTER),
    file("hls after a mark", NOT_MEDIA, b"\xef\xbb\xbf" + HLS),
    file("hls after blanks", NOT_MEDIA, b"\n\n  " + HLS),
    file("hls of a key", NOT_MEDIA, KEYED),
    file("ffconcat", NOT_MEDIA, b"ffconcat version 1.0\nfile /etc/passwd\nfile http://127.0.0.1/\n"),
    file("concat", NOT_MEDIA, b"file '/etc/passwd'\n"),
    file("dash", NOT_MEDIA, b'<?xml version="1.0"?><MPD><BaseURL>file:///etc/</BaseURL></MPD>'),
    file("smooth", NOT_MEDIA, b"<SmoothStreamingMedia/>"),
    file("pls", NOT_MEDIA, b"[playlist]\nFile1=file:///etc/passwd\n"),
    file("asx", NOT_MEDIA, b"<asx version='3'><entry><ref href='file:///x'/></entry></asx>"),
    file("smil", NOT_MEDIA, b"<smil><body><video src='file:///x'/></body></smil>"),
    file("sdp", NOT_MEDIA, b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n"),
    file("an imf list", NOT_MEDIA, b"<?xml version='1.0'?><AssetMap xmlns='x'/>"),
    file("hls in an mp4", DAMAGED, FTYP + HLS),
    file("hls in a free box", DAMAGED, box(b"free", HLS)),
    # no media
    file("a page without a film", NOT_MEDIA, b"<!DOCTYPE html><html><body>nothing</body></html>"),
    file("xml with an entity", NOT_MEDIA, XML),
    file("a zip bomb", NOT_MEDIA, lambda _: zipped("a", "b")),
    file("a film in gzip", NOT_MEDIA, lambda _: gzip.compress(clip())),
    file("a picture", NOT_MEDIA, lambda _: files.png(64, 64)),
    file("a picture of 65535x65535", NOT_MEDIA, lambda _: files.png(65_535, 65_535)),
    file("a gif", NOT_MEDIA, b"GIF89a\xff\xff\xff\xff\0\0\0" + b"\0" * 100),
    file("a pdf", NOT_MEDIA, b"%PDF-1.4\n" + b"x" * 2000),
    file("a program", NOT_MEDIA, b"\x7fELF" + b"\0" * 2000),
    file("a shell script", NOT_MEDIA, b"#!/bin/sh\nrm -rf /\n"),
    file("captions", NOT_MEDIA, b"1\n00:00:01,000 --> 00:00:02,000\n<script>\n"),
    file("webvtt", NOT_MEDIA, b"WEBVTT\n\n00:01.000 --> 00:02.000\nx\n"),
    file("nothing", {"source_empty"}, b""),
    file("one byte", NOT_MEDIA, b"\0"),
    file("zeros", NOT_MEDIA, b"\0" * 100_000),
    # MP4
    file("an mp4 of a head only", DAMAGED, FTYP),
    file("a film that is cut off", DAMAGED, lambda _: clip()[:60_000]),
    file("a film without its end", DAMAGED, lambda _: clip()[:-1000]),
    file("a box without end", DAMAGED, files.mp4_box_of_no_end()),
    file("boxes in boxes", DAMAGED, lambda _: files.mp4_boxes_in_boxes()),
    file("boxes of no length", DAMAGED, FTYP + (b"\0\0\0\x07free" * 1000)),
    file("2,000 tracks", TOO_LARGE, lambda _: files.mp4_many_tracks(2000)),
    file("4,000 million samples", DAMAGED, files.mp4_of_many("stsz", 12)),
    file("4,000 million times", DAMAGED | TOO_LARGE | PASSES, files.mp4_of_many("stts", 12)),
    file("4,000 million chunks", DAMAGED | PASSES, files.mp4_of_many("stco", 8)),
    file("a film of 136 years", TOO_LARGE | DAMAGED | PASSES, files.mp4_of_136_years),
    file("65535x65535 by its header", TOO_LARGE | DAMAGED | PASSES, files.mp4_of_many("avc1", 28)),
    file("samples in another file", DAMAGED | NO_AUDIO | PASSES, files.mp4_with_reference),
    # RIFF, FLAC, MP3, Ogg, TS, ...
    file("a wav of 4 GB by its header", DAMAGED, wav(claimed=0xFFFF_0000)),
    file("a wav of 65535 channels", DAMAGED | NO_AUDIO, wav(channels=65_535)),
    file("a wav of 0 Hz", DAMAGED | NO_AUDIO, wav(rate=0)),
    file("a wav of 1 Hz", TOO_LARGE, wav(rate=1)),
    file("a wav of 4 GHz", DAMAGED | NO_AUDIO, wav(rate=0xFFFF_FFFF)),
    file("a wav of 0 bits", DAMAGED | NO_AUDIO, wav(bits=0)),
    file("a wav that is cut off", DAMAGED, wav()[:-20_000]),
    file("an avi of nothing", DAMAGED, b"RIFF\xff\xff\0\0AVI " + b"\0" * 70_000),
    file("a flac of 29 hours", TOO_LARGE | DAMAGED, files.flac(2**36 - 1)),
    file("an mp3 of noise", DAMAGED | NO_AUDIO, lambda _: files.mp3(200, range(256))),
    file("an id3 tag of 256 MB", DAMAGED | NOT_MEDIA, b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + b"\0" * 5000),
    file("a flv of noise", DAMAGED | NO_AUDIO, b"FLV\x01\x05\0\0\0\x09" + bytes(range(256)) * 100),
    file("ts packets of nothing", DAMAGED | NO_AUDIO, (b"\x47\x1f\xff\x10" + b"\xff" * 184) * 500),
    file("aac noise", DAMAGED | NO_AUDIO, b"\xff\xf1" + bytes(range(256)) * 40),
    file("5,000 streams in ogg", DAMAGED | NO_AUDIO, lambda _: files.ogg_pages(5000)),
    file("an asf of noise", DAMAGED, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + b"\xff" * 5000),
    file("an mpeg of noise", DAMAGED | NO_AUDIO, b"\0\0\x01\xba" + bytes(range(256)) * 100),
    # Matroska
    file("100 streams", TOO_LARGE | PASSES, lambda folder: files.many_streams(folder, 100)),
    file("1,000 attachments", DAMAGED | NO_AUDIO, lambda _: files.attachments(1000, 1000)),
    file("subtitles only", DAMAGED | NO_AUDIO, files.subtitles_only()),
    file("elements in elements", DAMAGED | NO_AUDIO, lambda _: files.elements_in_elements()),
    file("a leap of thirty years", TOO_LARGE | DAMAGED, files.leap_in_time),
    # pictures that grow when they are decoded
    file("a png bomb in a film", DAMAGED | TOO_LARGE, lambda folder: picture_in_film(folder, files.png(65_535, 65_535), "png", "mov")),
    file("a png bomb just under the cap", DAMAGED | PASSES, lambda folder: picture_in_film(folder, files.png(1900, 1000), "png", "mov")),
    file("a jpeg bomb in a film", DAMAGED | TOO_LARGE, lambda folder: picture_in_film(folder, files.jpeg(65_500, 65_500), "mjpeg", "mov")),
    file("a film without sound", PASSES, lambda folder: film(folder, "mute.mp4", audio=False)),
    file("a film and a page", PASSES, lambda _: clip() + b"<script>alert(1)</script>"),
    file("a film and a zip", PASSES, lambda _: clip() + zipped("a")),
)

SERVERS: tuple[Trick, ...] = (
    server("an endless body", BIG, answers.endless_body),
    server("endless chunks", BIG, answers.endless_chunks),
    server("an endless page", BIG | SLOW | NOT_MEDIA, answers.endless_page, patient=True),
    server("endless headers", AWAY | FAILED, answers.endless_headers),
    server("an endless header", AWAY | FAILED, answers.endless_header_line),
    server("an endless chunk size", AWAY | FAILED, answers.endless_chunk_size),
    server("endless trailers", SLOW, answers.endless_trailers, patient=True),
    Trick("a gzip bomb", frozenset(BIG), answer=answers.packed(answers.gzip_bomb, "gzip")),
    Trick("gzip in gzip", frozenset(BIG | NOT_MEDIA | AWAY), answer=answers.packed(answers.twice_packed, "gzip, gzip")),
    Trick("twenty codings", frozenset(AWAY | NOT_MEDIA | BIG), answer=answers.packed(answers.gzip_bomb, ", ".join(["gzip"] * 20))),
    Trick("an unknown coding", frozenset(PASSES | AWAY), answer=answers.packed(clip, "x-nobody")),
    Trick("gzip that is none", frozenset(AWAY | NOT_MEDIA), answer=answers.packed(clip, "gzip")),
    Trick("br that is none", frozenset(AWAY | NOT_MEDIA | PASSES), answer=answers.packed(clip, "br")),
    server("a redirect to itself", FAILED, answers.redirect_to_oneself),
    server("a redirect to a file", {"source_forbidden"}, answers.redirect("file:///etc/passwd")),
    server("a redirect to gopher", {"source_forbidden"}, answers.redirect("gopher://127.0.0.1/_x")),
    server("a redirect to metadata", {"source_forbidden"}, answers.redirect("http://169.254.169.254/latest/")),
    server("a redirect to nowhere", FAILED | NOT_MEDIA | {"source_empty"}, answers.redirect_to_nowhere),
    server("a redirect with a user", {"source_forbidden"} | FAILED | AWAY, answers.redirect("http://root:x@169.254.169.254/")),
    server("a redirect to an odd port", {"source_forbidden"} | FAILED | AWAY, answers.redirect("http://127.0.0.1:0/")),
    server("a length of 8 EB", BIG, answers.length(2**63)),
    server("a length below the body", DAMAGED, answers.length(30_000)),
    server("a length beyond the body", AWAY, answers.length(10**6)),
    server("a negative length", PASSES | AWAY | FAILED, answers.negative_length),
    server("two lengths", AWAY | FAILED | DAMAGED, answers.two_lengths),
    server("another range", AWAY, answers.another_range),
    server("no range", AWAY, answers.no_range),
    server("a range without end", AWAY | BIG, answers.a_range_of_no_end),
    server("goes on as another file", DAMAGED | AWAY, answers.resumes_as_another),
    server("bad chunks", AWAY | FAILED, answers.bad_chunks),
    server("no HTTP", AWAY | FAILED, answers.no_http),
    server("a reset", AWAY, answers.resets),
    server("a byte a connection", SLOW, answers.a_byte_a_connection, patient=True),
    dripping("a dripping body", SLOW, answers.a_beginning, b"x"),
    dripping("dripping headers", SLOW | AWAY, answers.half_a_head, b"x"),
    dripping("nothing after the headers", AWAY | SLOW, answers.head, b""),
    *(server(f"status {status}", codes, partial(reply, body=b"no", status=status)) for status, codes in (
        (204, {"source_empty"}), (304, FAILED), (401, FAILED), (403, FAILED), (404, {"source_not_found"}), (410, {"source_not_found"}),
        (451, FAILED), (500, AWAY), (503, AWAY), (599, AWAY),
    )),
)
# fmt: on
TRICKS = FILES + SERVERS
