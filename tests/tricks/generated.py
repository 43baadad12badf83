"""Hostile media by the hundred: sound files of each container, damaged at random, and given names of files and addresses to open."""

from __future__ import annotations

import ctypes
import os
import random
import struct
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from tests.tricks.files import FTYP, box, element, film, matroska, mp4_with_reference, wav

#: Containers with what FFmpeg puts into them here: name, options of `make_film`.
CONTAINERS: tuple[tuple[str, dict[str, object]], ...] = (
    ("mp4", {}), ("mov", {}), ("matroska", {}), ("avi", {"audio_codec": "pcm_s16le"}), ("flv", {}), ("mpegts", {}), ("3gp", {}),
    ("asf", {"codec": "mpeg4", "audio_codec": "pcm_s16le"}), ("wav", {"size": None, "audio_codec": "pcm_s16le"}),
    ("flac", {"size": None, "audio_codec": "flac"}), ("ogg", {"size": None, "audio_codec": "flac"}), ("adts", {"size": None}),
)  # fmt: skip
#: What takes a number for a length, a size or a count.
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@cache
def good(container: str) -> bytes:
    """A second of film, whole."""
    options = dict(CONTAINERS)[container]
    with TemporaryDirectory() as folder:
        return film(Path(folder), f"a.{container}", seconds=1.0, format=container, **options)


def hostile(number: int, secret: Path, canary: str) -> bytes:
    """The file of this number, the same each time. Two thirds are damaged, one third wants to open `secret` or `canary`."""
    chance = random.Random(number)
    if number % 3 == 2:
        return _leading_away(chance, chance.choice((f"file://{secret}", str(secret), canary, f"http:{canary.removeprefix('http:')}x")))
    data = bytearray(good(CONTAINERS[number % len(CONTAINERS)][0]))
    for _ in range(chance.choice((1, 3, 10, 50))):
        chance.choice((_flip, _extreme, _cut_out, _repeat, _exchange))(chance, data)
    return bytes(data)


def _leading_away(chance: random.Random, to: str) -> bytes:
    """A playlist or a reference, in one of the forms in which FFmpeg, or a player, might follow it."""
    word = to.encode()
    hls = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n" + word + b"\n#EXT-X-ENDLIST\n"
    url = box(b"dref", struct.pack(">II", 0, 1), box(b"url ", struct.pack(">I", 0), word + b"\0"))
    with TemporaryDirectory() as folder:
        reference = mp4_with_reference(Path(folder))
    forms = (
        hls, FTYP + hls, box(b"free", hls) + good("mp4"), good("mp4") + hls, b"ID3\x04\0\0\0\0\0\0" + hls,
        b"ffconcat version 1.0\nfile " + word + b"\n", b"RIFF" + struct.pack("<I", len(hls) + 4) + b"WAVE" + hls,
        b'<?xml version="1.0"?><MPD><BaseURL>' + word + b"</BaseURL></MPD>", b"[playlist]\nFile1=" + word + b"\n",
        FTYP + box(b"moov", box(b"trak", box(b"mdia", box(b"minf", box(b"dinf", url))))) + good("mp4")[len(FTYP) :],
        good("mp4").replace(b"url ", b"alis", 1), reference, reference.replace(b"/etc/passwd", word),
        FTYP + box(b"moov", box(b"rmra", box(b"rmda", box(b"rdrf", struct.pack(">I", 0) + b"url " + struct.pack(">I", len(word)) + word)))),
        matroska(element(b"\x19\x41\xa4\x69", element(b"\x61\xa7", element(b"\x46\x6e", word), element(b"\x46\x5c", hls)))),
        wav(data=hls), b"\x47" + hls.ljust(187, b"\n") + b"\x47" + word, good("matroska").replace(b"matroska", word[:8].ljust(8)),
    )  # fmt: skip
    return chance.choice(forms)


def _flip(chance: random.Random, data: bytearray) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _extreme(chance: random.Random, data: bytearray) -> None:
    # Most of what counts stands at the beginning or, of an MP4, at the end.
    at = chance.choice((chance.randrange(len(data)), chance.randrange(min(len(data), 600)), -chance.randrange(1, min(len(data), 1500))))
    value = struct.pack(chance.choice("<>") + "I", chance.choice(_EXTREMES))
    at %= max(len(data) - 4, 1)
    data[at : at + 4] = value


def _cut_out(chance: random.Random, data: bytearray) -> None:
    at = chance.randrange(64, len(data))
    del data[at : at + chance.randrange(1, 200)]


def _repeat(chance: random.Random, data: bytearray) -> None:
    at = chance.randrange(len(data))
    data[at:at] = data[at : at + 500] * chance.randrange(1, 20)


def _exchange(chance: random.Random, data: bytearray) -> None:
    one, other = (chance.randrange(len(data) - 32) for _ in range(2))
    data[one : one + 32], data[other : other + 32] = data[other : other + 32], data[one : one + 32]


class Opened:
    """Counts how often anybody opens a file (inotify), also if it is closed unread."""

    _OPEN, _NONBLOCK = 0x20, 0o4000

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._file = libc.inotify_init1(self._NONBLOCK)
        assert libc.inotify_add_watch(self._file, os.fsencode(path), self._OPEN) >= 0
        self._path = path

    def __enter__(self) -> Self:
        return self

    def times(self) -> int:
        """Since the last time it was asked."""
        try:
            return len(os.read(self._file, 65_536)) // 16
        except BlockingIOError:
            return 0

    def __exit__(self, *_: object) -> None:
        self._path.read_bytes()
        assert self.times() == 1, "it sees who opens the file"
        os.close(self._file)
