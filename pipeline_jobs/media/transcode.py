"""Stage `transcode`: one pass over the source makes the published media and the sound for the speech model."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import MediaDamaged, MediaTooLarge
from pipeline_jobs.media.ahead import Ahead
from pipeline_jobs.media.container import THREADS, damaged_by_ffmpeg, open_media, picture_of, sound_of
from pipeline_jobs.media.steady_sound import SteadySound

SPEECH = "speech.wav"
#: What speech models take: samples a second, one channel, 16 bits.
SPEECH_RATE = 16_000
#: Samples a second of the published sound.
RATE = 48_000
#: H.264 at a quality that the eye accepts, fast rather than small.
VIDEO_OPTIONS = {"preset": "veryfast", "crf": "23"}

#: Seconds from one forced key frame to the next: where a player can begin, and where the outputs may cut without encoding again.
KEY_SECONDS = 4

#: How much of the play time that the file promises may be missing: seconds, and as a fraction.
MISSING = (1.5, 0.05)
#: Of all packets, the part that may be undecodable in a file that is still called sound.
BAD_PACKETS = 0.05


def run(context: JobContext) -> dict[str, Any]:
    """Needs `source`, `media`, `context.quality`; gives `output`, `output_media`, `speech`, `speech_start`.

    The picture becomes H.264 of at most the quality's size (its smaller side, so upright films too) and never larger
    than the source; the sound AAC. Without a picture only the sound is written, without a sound only the picture.

    :return: `{"output": "video.mp4" | "audio.m4a", "output_media": {"width", "height", "duration", "bytes"},
        "speech": "speech.wav" | None, "speech_start": seconds}`: `speech_start` is when the sound begins in the film.
    :raises MediaDamaged: cut off, or too much of it cannot be decoded.
    :raises MediaTooLarge: it plays longer than its header said and the settings allow.
    """
    lines = int((context.quality or "1080p").removesuffix("p"))
    media = context.data["media"]
    with ExitStack() as stack:
        path, max_pixels = context.workdir / context.data["source"], context.settings.media_max_pixels
        source = stack.enter_context(open_media(path, max_pixels))
        stack.enter_context(damaged_by_ffmpeg())
        video, audio = picture_of(source), sound_of(source)
        name = "audio.m4a" if video is None else "video.mp4"
        output = stack.enter_context(av.open(str(context.workdir / name), "w", format="mp4", options={"movflags": "+faststart"}))
        origin = Fraction(source.start_time or 0, av.time_base)
        speech = None if audio is None else Speech(stack.enter_context(wave.open(str(context.workdir / SPEECH), "wb")), origin)
        sound = None if audio is None else Sound(output, audio, origin)
        picture = None if video is None else Picture(output, video, lines, origin, rotation_of(path, max_pixels))
        job = Pass(context, source, media["duration"], media["bytes"])
        ahead = Ahead(context.params, media["duration"]) if speech else None
        for packet in job.packets(audio, video):
            for frame in job.decode(packet):
                # Before: a picture that need not be made smaller is given another time.
                job.reached(frame, origin)
                if ahead is not None:
                    ahead.reached(job.end)
                if isinstance(frame, AudioFrame) and speech is not None and sound is not None:
                    speech.take(frame)
                    sound.take(frame)
                elif isinstance(frame, VideoFrame) and picture is not None:
                    picture.take(frame)
        for part in (speech, sound, picture):
            if part is not None:
                part.finish()
    check_whole((job.good, job.bad), job.end, media["duration"], heard=speech is None or speech.samples > 0)
    facts = {
        "width": None if picture is None else picture.width,
        "height": None if picture is None else picture.height,
        "duration": round(job.end, 3),
        "bytes": (context.workdir / name).stat().st_size,
    }
    return {"output": name, "output_media": facts, "speech": speech and SPEECH, "speech_start": round(speech.start, 3) if speech else 0.0}


class Pass:
    """One pass over the packets: tells the progress, counts what cannot be decoded, and how far the film went."""

    def __init__(self, context: JobContext, source: InputContainer, duration: float | None, size: int, begin: float = 0.0) -> None:
        """:param begin: when in the film the source begins, and `duration` how long it plays, in seconds."""
        self.context = context
        self.source = source
        self.duration = duration
        self.size = size
        self.begin = self.end = begin
        self.good = self.bad = 0
        self._told = 0.0

    def packets(self, *chosen: AudioStream | VideoStream | None) -> Iterator[Packet[Any]]:
        """The packets in file order, at the end of each stream an empty one that flushes its decoder."""
        streams = [stream for stream in chosen if stream is not None]
        for stream in streams:
            stream.codec_context.thread_count = THREADS
            stream.codec_context.thread_type = "AUTO"
        for packet in self.source.demux(*streams):
            self._tell(packet)
            yield packet

    def decode(self, packet: Packet[Any]) -> list[Any]:
        """A packet's frames; none if it is damaged. A few such are in many files that play well."""
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            self.bad += 1
            return []
        self.good += 1
        return list(frames)

    def reached(self, frame: AudioFrame | VideoFrame, origin: Fraction) -> None:
        """:raises MediaTooLarge: a header may say less than what follows."""
        if frame.pts is None or frame.time_base is None:
            return
        length = frame.samples / frame.sample_rate if isinstance(frame, AudioFrame) else 0.0
        self.end = max(self.end, float(frame.pts * frame.time_base - origin) + length)
        limit = self.context.settings.media_max_seconds
        if self.end > limit + MISSING[0]:
            raise MediaTooLarge(f"the media lasts more than the {limit:g} s that this server accepts")

    def _tell(self, packet: Packet[Any]) -> None:
        """By the time reached, or by the place in the file where it does not say how long it is."""
        fraction = (self.end - self.begin) / self.duration if self.duration else max(packet.pos or 0, 0) / self.size
        self._told = max(self._told, min(fraction, 1.0))
        self.context.progress(self._told, "transcoding")


def check_whole(pieces: tuple[int, int], end: float, duration: float | None, *, heard: bool) -> None:
    """:param pieces: how many could be decoded, and how many not. :param end: how far the film went, of `duration`, in seconds.

    :raises MediaDamaged: much of what the file promised was not there.
    """
    good, bad = pieces
    if bad > BAD_PACKETS * (good + bad):
        raise MediaDamaged(f"{bad} of {good + bad} pieces of the media cannot be decoded")
    if not heard:
        raise MediaDamaged("none of the media's sound can be decoded")
    if duration is not None and duration - end > max(MISSING[0], MISSING[1] * duration):
        raise MediaDamaged(f"the media is cut off: it ends after {end:.1f} of {duration:.1f} s")


class _Resampler:
    """AudioResampler that lets the source change its format midway, as broadcasts do."""

    def __init__(self, sample_format: str, layout: str, rate: int) -> None:
        self._target = (sample_format, layout, rate)
        self._resampler = AudioResampler(*self._target)
        self._seen: tuple[str, str, int] | None = None

    def take(self, frame: AudioFrame | None) -> list[AudioFrame]:
        if frame is None:
            return self._resampler.resample(None) if self._seen else []
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        frames: list[AudioFrame] = []
        if self._seen not in (None, kind):
            frames = self._resampler.resample(None)
            self._resampler = AudioResampler(*self._target)
        self._seen = kind
        return frames + self._resampler.resample(frame)


class Speech:
    """The sound for the speech model, written as it comes: hours of it do not fit in memory."""

    def __init__(self, wav: wave.Wave_write, origin: Fraction) -> None:
        self.samples = 0
        self.start = 0.0
        self._origin = origin
        self._resampler = _Resampler("s16", "mono", SPEECH_RATE)
        self._steady = SteadySound(SPEECH_RATE, origin)
        self._wav = wav
        self._wav.setnchannels(1)
        self._wav.setsampwidth(2)
        self._wav.setframerate(SPEECH_RATE)

    def take(self, frame: AudioFrame | None) -> None:
        if self.samples == 0 and frame is not None and frame.pts is not None and frame.time_base is not None:
            self.start = max(float(frame.pts * frame.time_base - self._origin), 0.0)
        for part in self._resampler.take(frame):
            for piece in self._steady.take(part):
                self._wav.writeframesraw(bytes(piece.planes[0])[: piece.samples * 2])
                self.samples += piece.samples

    def finish(self) -> None:
        self.take(None)


class Sound:
    """The published sound: AAC, mono or stereo."""

    def __init__(self, output: OutputContainer, source: AudioStream, origin: Fraction) -> None:
        layout = "mono" if source.channels == 1 else "stereo"
        self._output = output
        self._stream = output.add_stream("aac", rate=RATE, layout=layout)
        self._stream.bit_rate = 96_000 if layout == "mono" else 128_000
        self._resampler = _Resampler("fltp", layout, RATE)
        self._steady = SteadySound(RATE, origin)
        #: When the first packet is due, in seconds of the film.
        self.first: Fraction | None = None

    def take(self, frame: AudioFrame | None) -> None:
        for part in self._resampler.take(frame):
            for piece in self._steady.take(part):
                self._encode(piece)

    def finish(self) -> None:
        self.take(None)
        self._encode(None)

    def _encode(self, frame: AudioFrame | None) -> None:
        for packet in self._stream.encode(frame):
            if self.first is None and packet.pts is not None and packet.time_base is not None:
                self.first = packet.pts * packet.time_base
            self._output.mux(packet)


class KeyFrames:
    """Every `KEY_SECONDS` a key frame: the first picture at or after each."""

    def __init__(self) -> None:
        self._next = 0.0

    def due(self, seconds: float) -> bool:
        """The picture of this time is one. Ask once for each picture, in order."""
        if seconds < self._next:
            return False
        self._next = (seconds // KEY_SECONDS + 1) * KEY_SECONDS
        return True


@dataclass(frozen=True, slots=True)
class Like:
    """What a picture is made like, in the place of its source: of a piece of a film the whole's, or the pieces would not fit."""

    width: int
    height: int
    average_rate: Fraction | None
    time_base: Fraction | None
    sample_aspect_ratio: Fraction | None


def add_picture(
    output: OutputContainer, source: VideoStream | Like, size: tuple[int, int], rotation: int, options: dict[str, str]
) -> VideoStream:
    """A stream of H.264 for pictures of `source`. The muxer opens all encoders at the first packet of any, so all is set here."""
    stream = output.add_stream("libx264", rate=source.average_rate or 25, options=options)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = THREADS
    if source.time_base is not None:
        stream.codec_context.time_base = source.time_base
    if source.sample_aspect_ratio:
        stream.codec_context.sample_aspect_ratio = source.sample_aspect_ratio
    if rotation:
        stream.set_display_rotation(rotation)
    return stream


class Picture:
    """The published picture: scaled down if the source is larger; a turned film stays turned by its header, as players expect."""

    def __init__(self, output: OutputContainer, source: VideoStream | Like, lines: int, origin: Fraction, rotation: int) -> None:
        scale = min(1.0, lines / min(source.width, source.height))
        self.width, self.height = even(source.width * scale), even(source.height * scale)
        self._output = output
        self._origin = origin
        self._last: int | None = None
        #: When the first picture is due, in seconds of the film, and how many there were.
        self.first: Fraction | None = None
        self.count = 0
        self._keys = KeyFrames()
        self._stream = add_picture(output, source, (self.width, self.height), rotation, VIDEO_OPTIONS)

    def take(self, frame: VideoFrame) -> None:
        if frame.pts is None or frame.time_base is None:
            return
        pts = frame.pts - round(self._origin / frame.time_base)
        # Two pictures of one time, as damaged and some variable-rate files have, would end the encoder.
        if self._last is not None and pts <= self._last:
            return
        self._last = pts
        self.first, self.count = pts * frame.time_base if self.first is None else self.first, self.count + 1
        image = frame.reformat(self.width, self.height, format="yuv420p")
        image.pts, image.time_base = pts, frame.time_base
        # Also where it is none: the source's own kind of picture would be forced on ours.
        image.pict_type = PictureType.I if self._keys.due(float(pts * frame.time_base)) else PictureType.NONE
        self._output.mux(self._stream.encode(image))

    def finish(self) -> None:
        self._output.mux(self._stream.encode(None))


def rotation_of(path: Path, max_pixels: int) -> int:
    """By how many degrees, counter-clockwise, players must turn the pictures. Only a decoded picture tells."""
    with open_media(path, max_pixels) as source:
        video = picture_of(source)
        for frame in source.decode(video) if video is not None else ():
            return frame.rotation
    return 0


def even(length: float) -> int:
    """H.264 in 4:2:0 needs even sides."""
    return max(2, int(length / 2) * 2)
