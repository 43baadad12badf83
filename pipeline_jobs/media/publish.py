"""Stage `publish`: write the texts as files and put all artifacts where clients can open them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import InternalError

#: What `transcode` may have made.
OUTPUTS = ("video.mp4", "audio.m4a")


def run(context: JobContext) -> dict[str, Any]:
    """Needs `output`, `transcript`, `summary`, `segments`.

    :return: `{"artifacts": {"media": link, "transcript": link, "captions": link, "segments": link}, "drive_url": link}`:
        `drive_url` is the media's.
    :raises PublishError: the store of artifacts did not take one (from `context.publish`).
    """
    data = context.data
    files = {
        "media": _output(context.workdir, data["output"]),
        "transcript": _write(context.workdir / "transcript.txt", data["transcript"] + "\n"),
        "captions": _write(context.workdir / "captions.vtt", captions(data["segments"])),
        "segments": _write(context.workdir / "segments.json", json.dumps(data["segments"], ensure_ascii=False, indent=1)),
    }
    links: dict[str, str] = {}
    for number, (name, path) in enumerate(files.items()):
        context.progress(number / len(files), "publishing")
        links[name] = context.publish(path, path.name)
    context.progress(1.0, "published")
    return {"artifacts": links, "drive_url": links["media"]}


def _output(workdir: Path, name: object) -> Path:
    """The file that was transcoded. Its name comes from a process that a hostile file may have taken over: it could name any file.

    :raises InternalError: it does.
    """
    if name not in OUTPUTS or not (path := workdir / str(name)).is_file() or path.is_symlink():
        raise InternalError("transcode named a file that is none of its own")
    return path


def captions(segments: Iterable[Mapping[str, Any]]) -> str:
    """Segments as WebVTT (W3C)."""
    cues = [f"{_clock(segment['start'])} --> {_clock(segment['end'])}\n{_escape(segment['text'])}\n" for segment in segments]
    return "\n".join(["WEBVTT\n", *cues])


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest / 1000:06.3f}"


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
