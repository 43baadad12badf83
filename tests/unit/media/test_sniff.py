from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_jobs.media.sniff import HEAD, Kind, kind
from tests.cases import each
from tests.unit.media.fakes import SAMPLES, make_film


@pytest.mark.parametrize("name", ["welcome.mp4", "harbor.mp4", "harbor.wav"])
def test_the_samples_are_media(name: str) -> None:
    assert kind((SAMPLES / name).read_bytes()[:HEAD]) is Kind.MEDIA


@pytest.mark.parametrize(
    ("suffix", "codec", "audio_codec"),
    [
        ("mkv", "libx264", "aac"), ("webm", "libvpx", "libopus"), ("mov", "libx264", "aac"), ("avi", "mpeg4", "libmp3lame"),
        ("flv", "libx264", "aac"), ("ts", "libx264", "aac"), ("mpg", "mpeg2video", "mp2"), ("mp3", None, "libmp3lame"),
        ("ogg", None, "libopus"), ("flac", None, "flac"), ("aac", None, "aac"), ("aiff", None, "pcm_s16be"), ("m4a", None, "aac"),
    ],
)  # fmt: skip
def test_every_container_that_probe_opens_is_known(tmp_path: Path, suffix: str, codec: str | None, audio_codec: str) -> None:
    rate = 48_000 if audio_codec in ("libopus", "mp2") else 16_000
    size = (64, 48) if codec else None
    path = make_film(tmp_path / f"a.{suffix}", seconds=1, size=size, codec=codec or "", audio_codec=audio_codec, rate=rate)
    assert kind(path.read_bytes()[:HEAD]) is Kind.MEDIA


@each(
    "text",
    [
        "#EXTM3U\n#EXT-X-VERSION:3\n", "\ufeff#EXTM3U\n", "ffconcat version 1.0\nfile 'a.mp4'\n", "file '/etc/passwd'\n",
        "[playlist]\nFile1=a",
        '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash">', "<asx version='3'>",
        "v=0\no=- 0 0 IN IP4 127.0.0.1", "<SmoothStreamingMedia>",
    ],
)  # fmt: skip
def test_playlists_are_told_by_their_content(text: str) -> None:
    assert kind(text.encode()) is Kind.PLAYLIST


@pytest.mark.parametrize(
    "text", ["<!DOCTYPE html><html>", "\n  <html lang=en>", "<!-- hello --><!doctype HTML>", '<?xml version="1.0"?><html>']
)
def test_pages_are_told_by_their_content(text: str) -> None:
    assert kind(text.encode()) is Kind.PAGE


@pytest.mark.parametrize("head", [b"", b"hello", b'{"a": 1}', b"%PDF-1.7", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"\xff\xd8\xff\xe0JFIF"])
def test_what_else_there_is_is_unknown(head: bytes) -> None:
    assert kind(head) is Kind.UNKNOWN
