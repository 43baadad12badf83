"""The film for streaming: HLS with CMAF segments, in up to three sizes, the sound in a group of its own (RFC 8216)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from pipeline_jobs.media.container import open_media, picture_of, sound_of
from pipeline_jobs.media.outputs.making import CannotMake, Made, Making
from pipeline_jobs.media.outputs.pictures import decoding
from pipeline_jobs.media.transcode import KEY_SECONDS, VIDEO_OPTIONS, KeyFrames, add_picture, even

#: Sizes below the film's own, by the smaller side, and the most bits a second of each. Two at most, and none nearly as large as the film.
LADDER = {720: 3_000_000, 360: 900_000, 180: 300_000}
LOWER, MUCH_SMALLER = 2, 0.75

_SEGMENT = re.compile(r"#EXTINF:([\d.]+),\n#EXT-X-BYTERANGE:(\d+)@")


@dataclass(frozen=True, slots=True)
class Variant:
    """One size of the film, or its sound, as it was written."""

    name: str
    #: Bits a second: of its largest segment, and on average.
    peak: int
    average: int
    #: By RFC 6381.
    codec: str
    #: Attributes of its own in the master list.
    about: str = ""

    @property
    def list(self) -> str:
        return f"{self.name}.m3u8"

    @property
    def segments(self) -> str:
        return f"{self.name}.m4s"


class _Smaller:
    """A size below the film's own: its pictures scaled down, with key frames where the film has them."""

    def __init__(self, output: OutputContainer, source: VideoStream, lines: int, rotation: int) -> None:
        scale = lines / min(source.width, source.height)
        self._size = even(source.width * scale), even(source.height * scale)
        rate = {"maxrate": str(LADDER[lines]), "bufsize": str(2 * LADDER[lines])}
        self._output, self._keys = output, KeyFrames()
        self._stream = add_picture(output, source, self._size, rotation, VIDEO_OPTIONS | rate)

    def take(self, frame: VideoFrame) -> None:
        image = frame.reformat(*self._size, format="yuv420p")
        image.pts, image.time_base = frame.pts, frame.time_base
        image.pict_type = PictureType.I if self._keys.due(frame.time or 0.0) else PictureType.NONE
        self._output.mux(self._stream.encode(image))

    def finish(self) -> None:
        self._output.mux(self._stream.encode(None))


def hls(making: Making) -> Made:
    """`hls.m3u8`, and of each size and of the sound a list and one file, of which the segments are ranges.

    The largest size is the film's own, copied: nothing of it is encoded twice.

    :raises CannotMake: the film has no picture.
    """
    with open_media(making.film, making.context.settings.media_max_pixels) as film:
        video, audio = _streams(film)
        lines = [min(video.width, video.height)]
        lines += [size for size in LADDER if size <= lines[0] * MUCH_SMALLER][:LOWER]
        names = [f"hls-{size}p" for size in lines]
        for name in (*names, "hls-audio")[: len(names) + bool(audio)]:
            making.file(f"{name}.m3u8"), making.file(f"{name}.m4s")
        _write(making, film, video, audio, dict(zip(names, lines, strict=True)))
    variants = [_variant(making, name) for name in names]
    sound = _variant(making, "hls-audio") if audio else None
    making.file("hls.m3u8").write_text(master(variants, sound), encoding="ascii")
    files = [file for one in (*variants, *([sound] if sound else [])) for file in (one.list, one.segments)]
    return Made(("hls.m3u8", *files), making.duration)


def master(variants: list[Variant], sound: Variant | None) -> str:
    """The list of lists."""
    group = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="audio",DEFAULT=YES,AUTOSELECT=YES'
    rows = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    rows += [f'{group},URI="{sound.list}"'] if sound else []
    for one in variants:
        codecs = ",".join([one.codec, *([sound.codec] if sound else [])])
        bits = f"BANDWIDTH={one.peak + (sound.peak if sound else 0)},AVERAGE-BANDWIDTH={one.average + (sound.average if sound else 0)}"
        rows.append(f'#EXT-X-STREAM-INF:{bits},{one.about},CODECS="{codecs}"' + (',AUDIO="audio"' if sound else ""))
        rows.append(one.list)
    return "\n".join([*rows, ""])


def _streams(film: InputContainer) -> tuple[VideoStream, AudioStream | None]:
    """:raises CannotMake:"""
    video = picture_of(film)
    if video is None:
        raise CannotMake("the film has no picture that can be decoded")
    return decoding(video), sound_of(film)


def _write(making: Making, film: InputContainer, video: VideoStream, audio: AudioStream | None, lines: dict[str, int]) -> None:
    """One pass over the film: its packets are copied, its pictures decoded for the smaller sizes."""
    group = ",agroup:audio" if audio else ""
    map_of = [f"v:{number}{group},name:{name}" for number, name in enumerate(lines)] + ([f"a:0{group},name:hls-audio"] if audio else [])
    options = {
        "var_stream_map": " ".join(map_of), "hls_segment_type": "fmp4", "hls_playlist_type": "vod", "hls_time": str(KEY_SECONDS),
        # Segments are ranges of one file: a film of an hour would be thousands of files.
        "hls_flags": "single_file+independent_segments",
    }  # fmt: skip
    with ExitStack() as stack:
        output = stack.enter_context(av.open(str(making.context.workdir / "%v.m3u8"), "w", format="hls", options=options))
        copies: dict[int, Any] = {video.index: output.add_stream_from_template(video)}
        smaller = [_Smaller(output, video, size, _rotation(film, video)) for size in list(lines.values())[1:]]
        if audio:
            copies[audio.index] = output.add_stream_from_template(audio)
        for packet in _packets(film, video, audio):
            if packet.stream is video and smaller:
                for frame in packet.decode():
                    for one in smaller:
                        one.take(frame)
            if packet.dts is not None:
                making.step(float(packet.dts * packet.time_base) / max(making.duration, 1.0))
                packet.stream = copies[packet.stream.index]
                output.mux(packet)
        for one in smaller:
            one.finish()


def _packets(film: InputContainer, video: VideoStream, audio: AudioStream | None) -> Iterator[Packet[Any]]:
    film.seek(0)
    yield from film.demux(*([video, audio] if audio else [video]))


def _rotation(film: InputContainer, video: VideoStream) -> int:
    """By how many degrees players turn the film. Only a decoded picture tells."""
    film.seek(0)
    return next((frame.rotation for frame in film.decode(video)), 0)


def _variant(making: Making, name: str) -> Variant:
    """What was written, as the master list describes it."""
    segments = [
        (float(seconds), int(size) * 8) for seconds, size in _SEGMENT.findall((making.context.workdir / f"{name}.m3u8").read_text())
    ]
    if not segments:
        raise CannotMake("the film has no picture that can be decoded")
    peak = max(bits / max(seconds, 0.001) for seconds, bits in segments)
    average = sum(bits for _, bits in segments) / sum(seconds for seconds, _ in segments)
    codec, about = _described(making.context.workdir / f"{name}.m4s")
    return Variant(name, round(peak), round(average), codec, about)


def _described(path: Path) -> tuple[str, str]:
    """The codec by RFC 6381, and a picture's size."""
    with av.open(str(path), format="mp4") as one:
        stream = one.streams[0]
        if not isinstance(stream, VideoStream):
            return "mp4a.40.2", ""
        avc = (stream.codec_context.extradata or bytes(4))[1:4].hex()
        rate = f",FRAME-RATE={float(stream.average_rate):.3f}" if stream.average_rate else ""
        return f"avc1.{avc}", f"RESOLUTION={stream.width}x{stream.height}{rate}"
