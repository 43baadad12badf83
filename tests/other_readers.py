"""Readers of what `media` makes that had no part in making it.

Captions, which pysubs2 writes, by FFmpeg; boxes of MP4 and lines of playlists, which FFmpeg writes, by hand; what FFmpeg's filters measure,
by arithmetic on the samples.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.subtitles.subtitle import AssSubtitle

#: K weighting (ITU-R BS.1770) at 48 kHz: the numerators and the denominators of its two filters.
RATE = 48_000
K_WEIGHTING = (
    ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585)),
    ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)),
)
#: Seconds of a block of which the loudness is measured, and from one to the next; LUFS below which nothing counts, and how far below the
#: mean of the others.
BLOCK, HOP, SILENT, BELOW = 0.4, 0.1, -70.0, 10.0

Samples = npt.NDArray[np.float64]
Stretch = tuple[float, float]


# -- captions


def captions(text: str, kind: str) -> list[tuple[float, float, str]]:
    """Of each caption the times in seconds and its words. :param kind: `srt`, `webvtt` or `ass`, as FFmpeg names them."""
    found = []
    with av.open(io.BytesIO(text.encode()), "r", format=kind) as file:
        for packet in file.demux(subtitles=0):
            said = [rect.dialogue.decode() for rect in packet.decode() if isinstance(rect, AssSubtitle)]
            if said and packet.pts is not None and packet.duration is not None and packet.time_base is not None:
                start, length = (float(ticks * packet.time_base) for ticks in (packet.pts, packet.duration))
                found.append((start, start + length, " ".join(" ".join(said).replace("\\N", " ").split())))
    return found


# -- MP4 (ISO/IEC 14496-12)


def boxes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The type and the content of each box, one after the other; all bytes belong to one."""
    at = 0
    while at < len(data):
        size, head = int.from_bytes(data[at : at + 4]), 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16]), 16
        assert head <= size <= len(data) - at, "a box ends with the file, or before"
        yield data[at + 4 : at + 8].decode("latin-1"), data[at + head : at + size]
        at += size


def within(data: bytes, *path: str) -> list[bytes]:
    """The contents of all boxes at a path: `within(film, "moov", "trak")`."""
    found = [data]
    for name in path:
        found = [content for one in found for kind, content in boxes(one) if kind == name]
    return found


def timescale(track: bytes) -> int:
    """Ticks a second of a `trak`."""
    (header,) = within(track, "mdia", "mdhd")
    return int.from_bytes(header[20:24] if header[0] else header[12:16])


def lengths(film: bytes) -> dict[str, float]:
    """Seconds of each track by its kind (`vide`, `soun`): all that its samples last."""
    found = {}
    for track in within(film, "moov", "trak"):
        (handler,), (table,) = within(track, "mdia", "hdlr"), within(track, "mdia", "minf", "stbl", "stts")
        pairs = np.frombuffer(table[8:], ">u4").reshape(-1, 2).astype(np.int64)
        found[handler[8:12].decode("ascii")] = float(pairs.prod(axis=1).sum()) / timescale(track)
    return found


def begins(segment: bytes) -> int:
    """When a segment of CMAF begins, in ticks."""
    (time, *_) = within(segment, "moof", "traf", "tfdt")
    return int.from_bytes(time[4:12] if time[0] else time[4:8])


def samples_of(segment: bytes) -> int:
    """How many samples (pictures, or pieces of sound) a segment of CMAF has."""
    return sum(int.from_bytes(run[4:8]) for run in within(segment, "moof", "traf", "trun"))


# -- sound and picture


def sound(film: bytes) -> Samples:
    """All channels as one, from -1.0 to 1.0, 48 kHz."""
    resampler = av.AudioResampler("dbl", "mono", RATE)
    with av.open(io.BytesIO(film), "r") as file:
        frames = [part for frame in file.decode(audio=0) for part in resampler.resample(frame)] + resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def brightness(film: bytes) -> list[Any]:
    """Of each picture how bright its parts are, from 16 (black) to 235: an array of bytes, row by row."""
    with av.open(io.BytesIO(film), "r") as file:
        return [frame.to_ndarray()[: frame.height, : frame.width] for frame in file.decode(video=0)]


def loudness(samples: Samples) -> float:
    """Integrated, in LUFS, by ITU-R BS.1770-4, of one channel."""
    angle = np.exp(-2j * np.pi * np.fft.rfftfreq(len(samples)))
    weighted = np.fft.rfft(samples)
    for above, below in K_WEIGHTING:
        weighted *= np.polyval(above[::-1], angle) / np.polyval(below[::-1], angle)
    power = np.fft.irfft(weighted, len(samples)) ** 2
    starts = np.arange(0, len(power) - int(BLOCK * RATE) + 1, int(HOP * RATE))
    blocks = np.array([power[start : start + int(BLOCK * RATE)].mean() for start in starts])
    heard = blocks[_lufs(blocks) > SILENT]
    return float(_lufs(heard[_lufs(heard) > _lufs(heard.mean()) - BELOW].mean()))


def _lufs(power: Any) -> Any:
    return -0.691 + 10 * np.log10(np.maximum(power, 1e-12))


def stretches(holds: Sequence[bool] | npt.NDArray[np.bool_], rate: float, shortest: float) -> list[Stretch]:
    """Where something holds for so many seconds or more, in seconds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(holds, np.int8), [0]])))
    found = [(float(begin) / rate, float(end) / rate) for begin, end in edges.reshape(-1, 2)]
    return [(begin, end) for begin, end in found if end - begin >= shortest]
