"""Open a media file with FFmpeg's libraries (PyAV), with everything shut that a hostile file could use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from pipeline_jobs.exceptions import MediaDamaged, MediaTooLarge, NotMedia, OutOfMemory, SourceEmpty
from pipeline_jobs.media import sniff
from pipeline_jobs.media.sniff import Kind

#: FFmpeg's names of the containers that are opened. No playlist or script is among them, whatever the file is named.
CONTAINERS = (
    "mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "flv", "ogg", "wav", "w64", "mp3", "aac",
    "flac", "aiff", "caf", "amr", "asf", "mpeg", "mpegts",
)  # fmt: skip

#: The usual order of so many channels.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}

#: Threads of a decoder or encoder: as many as the worker's slot has cores (`worker/cores.py`), two at most, for each takes memory.
THREADS = 1 if os.environ.get("OMP_NUM_THREADS") == "1" else 2


@contextmanager
def open_media(path: Path, max_pixels: int) -> Iterator[InputContainer]:
    """The file, opened for reading.

    `max_pixels` is held by the decoders themselves (with room for the padding that codecs add), before they reserve
    memory for a picture: a stream may begin small and grow.

    :raises SourceEmpty: 0 bytes.
    :raises NotMedia: a playlist, a page, or no container that is allowed.
    :raises MediaDamaged: it is one, but FFmpeg cannot make sense of it, or it ends too early.
    """
    with path.open("rb") as file:
        head = file.read(sniff.HEAD)
    if not head:
        raise SourceEmpty
    kind = sniff.kind(head)
    if kind is Kind.PLAYLIST:
        raise NotMedia("the source is a playlist, not a media file")
    if kind is not Kind.MEDIA:
        raise NotMedia
    check_complete(path, head)
    decoder_options = {"max_pixels": str(max_pixels * 5 // 4)}
    options = {
        "format_whitelist": ",".join(CONTAINERS),
        "protocol_whitelist": "file",
        "enable_drefs": "0",
        "max_streams": "64",
    } | decoder_options
    with damaged_by_ffmpeg(), _opened(path, options) as container:
        for stream in container.streams.video:
            if stream.codec_context is not None:
                stream.codec_context.options = decoder_options
        yield container


def _opened(path: Path, options: dict[str, str]) -> InputContainer:
    """:raises MediaTooLarge: FFmpeg says "no memory" of what it does not want to have (more than `max_streams`), too."""
    try:
        # Tags of a film are in any encoding, whatever its container says.
        return av.open(str(path), options=options, metadata_errors="replace")
    except MemoryError as error:
        raise MediaTooLarge("the media has more streams or a larger index than this server accepts") from error


@contextmanager
def damaged_by_ffmpeg() -> Iterator[None]:
    """FFmpeg's errors as `MediaDamaged` (its own words are for programmers), but for a want of memory."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory from error
    except av.FFmpegError as error:
        raise MediaDamaged from error


def picture_of(container: InputContainer) -> VideoStream | None:
    """The moving picture, or None: a cover of a sound file is none."""
    for stream in container.streams.video:
        # One without a decoder has no size either.
        if stream.codec_context is not None and not stream.disposition & (
            Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
        ):
            return stream
    return None


def sound_of(container: InputContainer) -> AudioStream | None:
    """The sound that a player would choose, or None: there is none."""
    stream = container.streams.best("audio")
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        return None
    # Plain WAVs say only how many channels they have; the resampler must know which is which.
    if stream.layout.name.endswith(" channels") and stream.channels in _LAYOUTS:
        stream.codec_context.layout = _LAYOUTS[stream.channels]
    return stream


def check_complete(path: Path, head: bytes) -> None:
    """Find a file that was cut off by what its own headers promise: FFmpeg would play the rest without a word.

    :raises MediaDamaged: a box of an MP4 or the data of a WAV goes beyond the end of the file.
    """
    size = path.stat().st_size
    if head[:4] == b"RIFF":
        promised = int.from_bytes(head[4:8], "little") + 8
        # 0 and the highest value: written by a program that did not know the length yet.
        # One byte less: the padding of an odd length, which many leave out.
        if size + 1 < promised < 0xFFFF_FF00:
            raise MediaDamaged(f"the media file is cut off: it has {size} of {promised} bytes")
    elif sniff.is_mp4(head):
        end = _end_of_boxes(path, size)
        if end > size:
            raise MediaDamaged(f"the media file is cut off: it has {size} of at least {end} bytes")


def _end_of_boxes(path: Path, size: int) -> int:
    """Where the last top-level box of an MP4 says that it ends. Garbage behind a complete movie is let pass."""
    position = 0
    names: set[bytes] = set()
    with path.open("rb") as file:
        while position + 8 <= size:
            file.seek(position)
            header = file.read(16)
            length, name = int.from_bytes(header[:4], "big"), header[4:8]
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            elif length == 0:  # to the end of the file
                return size
            if length < 8 or (not name.isalnum() and {b"moov", b"mdat"} <= names):
                return position
            names.add(name)
            position += length
    return position
