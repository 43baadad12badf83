"""Stage `probe`: what the file is, and whether this server takes it. Only headers are read."""

from __future__ import annotations

from typing import Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import MediaTooLarge, NoAudio
from pipeline_jobs.media.container import open_media, picture_of, sound_of
from pipeline_jobs.media.on_error import on_error

NO_SOUND = "no_audio: The film has no sound track, so there is no transcript."


def run(context: JobContext) -> dict[str, Any]:
    """Needs `source`; gives `media`.

    :return: `{"media": {"container": "mp4", "bytes": 307945, "duration": 20.2 | None, "video": {...} | None, "audio": {...} | None}}`;
        duration in seconds; video: `codec, width, height, fps`; audio: `codec, rate, channels`; and a warning where there is no sound.
    :raises NoAudio: there is no sound to transcribe, and no picture either, or the job must not go on without a transcript.
    :raises MediaTooLarge: longer or larger than the settings allow.
    :raises NotMedia, MediaDamaged, SourceEmpty: see `container.open_media`.
    """
    settings = context.settings
    path = context.workdir / context.data["source"]
    with open_media(path, settings.media_max_pixels) as container:
        video = picture_of(container)
        duration = float(container.duration / av.time_base) if container.duration else None
        if duration is not None and duration > settings.media_max_seconds:
            raise MediaTooLarge(f"the media lasts {duration:.0f} s; this server accepts {settings.media_max_seconds:g} s")
        # Without a size nothing could be decoded. Only the header is believed here; the decoders hold the cap again.
        if video is not None and not 0 < video.width * video.height <= settings.media_max_pixels:
            size = f"{video.width}x{video.height}" if video.width else "unknown"
            raise MediaTooLarge(f"the picture's size is {size}; this server accepts {settings.media_max_pixels} pixels")
        audio = sound_of(container)
        if audio is None and (video is None or on_error("transcribe")(context.params) == "fail"):
            raise NoAudio
        facts = {
            "container": _container_name(container),
            "bytes": path.stat().st_size,
            "duration": None if duration is None else round(duration, 3),
            "video": None if video is None else _video_facts(video),
            "audio": None if audio is None else {"codec": audio.codec_context.name, "rate": audio.rate, "channels": audio.channels},
        }
    context.progress(1.0, "probed")
    return {"media": facts, "warnings": [NO_SOUND] if audio is None else []}


def _container_name(container: InputContainer) -> str:
    """FFmpeg names the whole MP4 family in one word list."""
    names = container.format.name.split(",")
    return "mp4" if "mp4" in names else names[0]


def _video_facts(video: VideoStream) -> dict[str, Any]:
    return {
        "codec": video.codec_context.name,
        "width": video.width,
        "height": video.height,
        "fps": round(float(video.average_rate), 3) if video.average_rate else None,
    }
