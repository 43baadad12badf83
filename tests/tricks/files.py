"""Hostile files, made by code: what a media job may be given as a film. Small on the wire, whatever they claim."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

from tests.unit.media.fakes import make_film

SAMPLES = Path(__file__).resolve().parents[2] / "samples"

Make = Callable[[Path], bytes]


@cache
def clip() -> bytes:
    """A good film."""
    return (SAMPLES / "harbor.mp4").read_bytes()


def film(folder: Path, name: str, **options: object) -> bytes:
    path = folder / name
    make_film(path, **options)  # type: ignore[arg-type]
    return path.read_bytes()


# -- MP4


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


FTYP = box(b"ftyp", b"isom", struct.pack(">I", 512), b"isomiso2avc1mp41")


def patched(data: bytes, mark: bytes, offset: int, value: bytes, *, every: bool = False) -> bytes:
    """`value` written at `offset` from the beginning of `mark`, where it is found."""
    found = bytearray(data)
    at = data.find(mark)
    assert at >= 0, mark
    while at >= 0:
        found[at + offset : at + offset + len(value)] = value
        at = data.find(mark, at + 1) if every else -1
    return bytes(found)


def mp4_box_of_no_end() -> bytes:
    return FTYP + struct.pack(">I", 1) + b"mdat" + struct.pack(">Q", 2**64 - 1) + b"x" * 100


def mp4_boxes_in_boxes() -> bytes:
    inner = b""
    for _ in range(20_000):
        inner = struct.pack(">I", 8 + len(inner)) + b"moov" + inner
    return FTYP + inner


def mp4_many_tracks(count: int) -> bytes:
    mvhd = box(b"mvhd", struct.pack(">IIIII", 0, 0, 0, 1000, 1000), b"\0" * 80)
    tkhd = box(b"tkhd", struct.pack(">I", 7), b"\0" * 80)
    mdhd = box(b"mdhd", struct.pack(">IIIII", 0, 0, 0, 1000, 1000), b"\0" * 4)
    hdlr = box(b"hdlr", struct.pack(">II", 0, 0), b"soun", b"\0" * 13)
    track = box(b"trak", tkhd, box(b"mdia", mdhd, hdlr))
    return FTYP + box(b"moov", mvhd, track * count) + box(b"mdat", b"x" * 1000)


def mp4_of_many(name: str, offset: int) -> Make:
    """A number of this box says 4,000 million (or 65,535 twice)."""
    return lambda folder: patched(film(folder, f"{name}.mp4"), name.encode(), offset, b"\xff\xff\xff\xff", every=True)


def mp4_of_136_years(folder: Path) -> bytes:
    long = b"\xff\xff\xff\xf0"
    return patched(patched(film(folder, "long.mp4"), b"mvhd", 20, long), b"tkhd", 24, long, every=True)


def mp4_with_reference(folder: Path) -> bytes:
    """Its samples are said to be in another file of this machine."""
    data = film(folder, "ref.mp4")
    return patched(data, b"dref", 12, struct.pack(">I", 28) + b"url " + struct.pack(">I", 0) + b"file:///etc/pass", every=True)


# -- RIFF


def wav(*, rate: int = 16_000, channels: int = 1, bits: int = 16, data: bytes = b"\0" * 32_000, claimed: int | None = None) -> bytes:
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", 1, channels, rate, (rate * block) & 0xFFFFFFFF, block & 0xFFFF, bits)
    size = len(data) if claimed is None else claimed
    total = min(4 + 8 + len(head) + 8 + size, 0xFFFFFFFF)
    return b"RIFF" + struct.pack("<I", total) + b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", size) + data


# -- pictures that are bombs


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(b"\0" * 4_000_000, 9)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg(width: int, height: int) -> bytes:
    data = io.BytesIO()
    with av.open(data, "w", format="mjpeg") as output:
        stream = output.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24").reformat(format="yuvj420p")))
        output.mux(stream.encode(None))
    return patched(data.getvalue(), b"\xff\xc0", 5, struct.pack(">HH", height, width))


def picture_in_film(folder: Path, picture: bytes, codec: str, container: str) -> bytes:
    """A film of 64x48 by its header whose pictures are this one; with sound."""
    path = folder / f"bomb.{container}"
    with av.open(str(path), "w") as output:
        video = output.add_stream(codec, rate=10)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = 64, 48, "rgb24" if codec == "png" else "yuvj420p"
        sound = output.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for number in range(10):
            packet = av.Packet(picture)
            packet.stream, packet.pts, packet.dts, packet.time_base = video, number, number, Fraction(1, 10)
            packet.is_keyframe = True
            output.mux(packet)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, number * 1600, Fraction(1, 16_000)
            output.mux(sound.encode(frame))
    return path.read_bytes()


def leap_in_time(folder: Path) -> bytes:
    """Sound that goes on after thirty years of nothing."""
    path = folder / "leap.mkv"
    with av.open(str(path), "w") as output:
        sound = output.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for number in (0, 1, 2, 10**9):
            packet = av.Packet(b"\0" * 3200)
            packet.stream, packet.pts, packet.dts, packet.time_base = sound, number * 1000, number * 1000, Fraction(1, 1000)
            output.mux(packet)
    return path.read_bytes()


def many_streams(folder: Path, count: int) -> bytes:
    path = folder / "streams.mkv"
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in range(count)]
        for stream in streams:
            packet = av.Packet(b"\0" * 1600)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 8000)
            output.mux(packet)
    return path.read_bytes()


# -- Matroska


def element(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return name + struct.pack(">Q", len(body) | 0x01_00_00_00_00_00_00_00) + body


EBML = element(b"\x1a\x45\xdf\xa3", element(b"\x42\x82", b"matroska"))


def matroska(*parts: bytes) -> bytes:
    return EBML + element(b"\x18\x53\x80\x67", *parts)


def attachments(count: int, size: int) -> bytes:
    name, kind = element(b"\x46\x6e", b"../../etc/cron.d/x"), element(b"\x46\x60", b"font/ttf")
    one = element(b"\x61\xa7", name, kind, element(b"\x46\x5c", b"x" * size), element(b"\x46\xae", b"\x01"))
    return matroska(element(b"\x19\x41\xa4\x69", one * count))


def subtitles_only(*texts: bytes) -> bytes:
    """A file with one track of subtitles, and of these texts."""
    track = element(
        b"\xae", element(b"\xd7", b"\x01"), element(b"\x73\xc5", b"\x01"), element(b"\x83", b"\x11"), element(b"\x86", b"S_TEXT/UTF8")
    )
    blocks = b"".join(element(b"\xa3", b"\x81\0\0\x80" + text) for text in texts)
    cluster = element(b"\x1f\x43\xb6\x75", element(b"\xe7", b"\0") + blocks) if texts else b""
    return matroska(element(b"\x16\x54\xae\x6b", track) + cluster)


def elements_in_elements() -> bytes:
    inner = b""
    for _ in range(20_000):
        inner = b"\x11\x4d\x9b\x74" + struct.pack(">Q", len(inner) | 0x01_00_00_00_00_00_00_00) + inner
    return EBML + element(b"\x18\x53\x80\x67", inner)


def ogg_pages(count: int) -> bytes:
    """Each page begins a stream of its own."""

    def page(serial: int) -> bytes:
        return b"OggS\0\x02" + b"\0" * 8 + struct.pack("<III", serial, 0, 0) + b"\x01\x1e" + b"\x01vorbis" + b"\0" * 23

    return b"".join(page(serial) for serial in range(count))


def flac(samples: int, rate: int = 655_350) -> bytes:
    packed = (rate << 44) | (7 << 41) | (31 << 36) | samples
    info = struct.pack(">HH", 16, 65_535) + b"\0" * 6 + struct.pack(">Q", packed & (2**64 - 1)) + b"\0" * 16
    return b"fLaC\x80\0\0\x22" + info + b"\xff\xf8" + b"\0" * 1000


def mp3(frames: int, filler: Iterable[int]) -> bytes:
    noise = bytes(filler)
    return (b"\xff\xfb\x90\x00" + noise) * frames
