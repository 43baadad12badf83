"""The picture and the sound of a long film in parts, inside the walls: `cut` makes them, `picture` and `sound` transcode one.

The picture is cut at key frames; the sound is one part, for each piece of it would begin with a click. Each is transcoded as the whole film
would be (`transcode`), by the film's own clock. `film_join` makes one film of them.
"""

from __future__ import annotations

import json
import wave
from contextlib import ExitStack
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import MediaDamaged, MediaError
from pipeline_jobs.media import film_cuts, voice
from pipeline_jobs.media.container import damaged_by_ffmpeg, open_media, picture_of, sound_of
from pipeline_jobs.media.transcode import SPEECH, Like, Pass, Picture, Sound, Speech, rotation_of

#: What a part writes.
PICTURE, SOUND, SPOKEN = "picture.mp4", "sound.m4a", "spoken.json"
#: Of the part of the sound: how much of it is transcoding; then somebody listens for speech.
TRANSCODING = 0.4


def cut(context: JobContext) -> dict[str, Any]:
    """Needs `source`, `media`, and the parameter `part_seconds`; writes the files of the parts.

    :return: `{"parts": [{"kind": "sound" | "picture", "file": name, ...}]}`, the sound first: what each part is given. None, if the film
        cannot be cut: it has too few key frames, or is of a kind of which pieces would not be exact.
    """
    format = film_cuts.CUTTABLE.get(context.data["media"]["container"])
    try:
        return {"parts": _cut(context, format) if format else []}
    except (MediaError, av.FFmpegError, ValueError) as error:
        # Whatever it is, the whole meets it too.
        context.logger.info("the film is not cut", reason=f"{type(error).__name__}: {error}")
        for path in (*context.workdir.glob("picture-*"), context.workdir / "sound"):
            path.unlink(missing_ok=True)
        return {"parts": []}


def _cut(context: JobContext, format: str) -> list[dict[str, Any]]:
    """:raises MediaError: it cannot be cut."""
    path, media, max_pixels = context.workdir / context.data["source"], context.data["media"], context.settings.media_max_pixels
    # Not how far: what the parts tell begins with the stage.
    context.progress(0.0, "cutting")
    cuts = film_cuts.cuts(context, path, context.params["part_seconds"])
    copied = film_cuts.copy(context, path, format, cuts)
    for name in copied.pictures[1:]:
        film_cuts.check_begins(context, name)
    with open_media(path, max_pixels) as source:
        video, origin = picture_of(source), Fraction(source.start_time or 0, av.time_base)
        assert video is not None
        like = _like(video)
    base = Fraction(like["time_base"])
    start, rotation = round(origin / base), rotation_of(path, max_pixels)
    parts: list[dict[str, Any]] = []
    if copied.sound:
        parts = [{"kind": "sound", "file": "sound", "begin": str(copied.sound_begins - origin), "seconds": media["duration"]}]
    for name, begin, end in zip(copied.pictures, cuts.begins, [*cuts.begins[1:], cuts.end], strict=True):
        at = {"begin": str((begin - start) * base), "seconds": float((end - begin) * base)}
        parts.append({"kind": "picture", "file": name, **at, "like": like, "rotation": rotation})
    return parts


def _like(video: VideoStream) -> dict[str, Any]:
    """What `Like` is made of, in JSON."""
    like = Like(video.width, video.height, video.average_rate, video.time_base, video.sample_aspect_ratio)
    return {name: str(value) if isinstance(value, Fraction) else value for name, value in asdict(like).items()}


def picture(context: JobContext) -> dict[str, Any]:
    """A part. Needs what `cut` gave it, and `context.quality`; writes `picture.mp4`.

    :return: `{"count": pictures, "first": when the first one is due, "end", "good", "bad", "width", "height"}`
    """
    about, path = context.data, context.workdir / context.data["file"]
    lines, begin = int((context.quality or "1080p").removesuffix("p")), Fraction(about["begin"])
    with ExitStack() as stack:
        source = _opened(stack, context, path)
        if (video := picture_of(source)) is None:
            raise MediaDamaged
        output = stack.enter_context(av.open(str(context.workdir / PICTURE), "w", format="mp4"))
        origin = _begins(context, path) - begin
        made = Picture(output, _read_like(about["like"]), lines, origin, about["rotation"])
        job = Pass(context, source, about["seconds"], path.stat().st_size, float(begin))
        for packet in job.packets(None, video):
            for frame in job.decode(packet):
                if isinstance(frame, VideoFrame):
                    # Before: a picture that need not be made smaller is given another time.
                    job.reached(frame, origin)
                    made.take(frame)
        made.finish()
    first = None if made.first is None else str(made.first)
    return {"count": made.count, "first": first, "width": made.width, "height": made.height, **_came(job)}


def _read_like(row: dict[str, Any]) -> Like:
    rate, base, ratio = (row[name] and Fraction(row[name]) for name in ("average_rate", "time_base", "sample_aspect_ratio"))
    return Like(row["width"], row["height"], rate, base, ratio)


def sound(context: JobContext) -> dict[str, Any]:
    """The part that is the sound. Needs what `cut` gave it; writes `sound.m4a`, `speech.wav` and `spoken.json`.

    :return: `{"samples", "start", "first", "end", "good", "bad", "spoken": "spoken.json" | None}`: `start` is when the sound begins.
    """
    about, path = context.data, context.workdir / context.data["file"]
    begin, end = context.span
    context.span = begin, begin + TRANSCODING * (end - begin)
    with ExitStack() as stack:
        source = _opened(stack, context, path)
        if (audio := sound_of(source)) is None:
            raise MediaDamaged
        output = stack.enter_context(av.open(str(context.workdir / SOUND), "w", format="mp4"))
        wav = stack.enter_context(wave.open(str(context.workdir / SPEECH), "wb"))
        origin = _begins(context, path) - Fraction(about["begin"])
        speech, made = Speech(wav, origin), Sound(output, audio, origin)
        job = Pass(context, source, about["seconds"], path.stat().st_size)
        for packet in job.packets(audio):
            for frame in job.decode(packet):
                if isinstance(frame, AudioFrame):
                    # Before: a sound that need not be resampled is given another time.
                    job.reached(frame, origin)
                    speech.take(frame)
                    made.take(frame)
        speech.finish()
        made.finish()
    context.span = context.span[1], end
    first = None if made.first is None else str(made.first)
    return {"samples": speech.samples, "start": round(speech.start, 3), "first": first, "spoken": _spoken(context), **_came(job)}


def _opened(stack: ExitStack, context: JobContext, path: Path) -> InputContainer:
    source = stack.enter_context(open_media(path, context.settings.media_max_pixels))
    stack.enter_context(damaged_by_ffmpeg())
    return source


def _begins(context: JobContext, path: Path) -> Fraction:
    """When the first packet of a part's file is due, by the file, in seconds. A container may shift what is in it."""
    with open_media(path, context.settings.media_max_pixels) as source:
        first = next((packet for packet in source.demux() if packet.pts is not None and packet.time_base is not None), None)
        if first is None or first.pts is None or first.time_base is None:
            raise MediaDamaged
        return first.pts * first.time_base


def _came(job: Pass) -> dict[str, Any]:
    return {"end": job.end, "good": job.good, "bad": job.bad}


def _spoken(context: JobContext) -> str | None:
    """Where somebody speaks, for `transcribe`: to find that takes as long as a part of the picture, and it takes the whole sound."""
    try:
        spoken = voice.stretches(context.workdir / SPEECH, lambda done: context.progress(done, "listening"))
    except Exception as error:
        # Of the transcript, which the job may do without: who makes it will meet this.
        context.logger.warning("the sound could not be listened to", reason=f"{type(error).__name__}: {error}")
        return None
    (context.workdir / SPOKEN).write_text(json.dumps(spoken), "utf-8")
    return SPOKEN
