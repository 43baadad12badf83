"""Stage `publish`: write the texts as files and put all artifacts where clients can open them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import InternalError
from pipeline_jobs.media.cues import webvtt
from pipeline_jobs.media.made import MadeOutput, made_outputs

#: What `transcode` may have made, and their media types.
OUTPUTS = {"video.mp4": "video/mp4", "audio.m4a": "audio/mp4"}
#: What `transcribe` may have made.
WORDS = "words.json"
#: Part of the stage's time until all is in the artifact store; the copies have the rest.
PUBLISHED = 0.5


def run(context: JobContext) -> dict[str, Any]:
    """Needs `output`, `output_media`, `transcript`, `segments`, and `made` where outputs were asked for.

    :return: `{"artifacts": {"media": link, "transcript": link, "captions": link, "segments": link, ...}, "outputs": {"media": {"link",
        "type", "bytes", "duration"}, ...}, "drive_url": link}`: both with the outputs that were asked for, too; `drive_url` is the
        media's: in Google Drive where results are copied there, else in the artifact store.
    :raises PublishError: the store of artifacts did not take one (from `context.publish`).
    """
    data, folder = context.data, context.workdir
    made = made_outputs(context)
    film, segments = _own(folder, data["output"], OUTPUTS), json.dumps(data["segments"], ensure_ascii=False, indent=1)
    texts = {
        "transcript": MadeOutput([_write(folder / "transcript.txt", data["transcript"] + "\n")], ["text/plain"]),
        # Those by the rules of captions are these, too.
        "captions": made.get("vtt") or MadeOutput([_write(folder / "captions.vtt", captions(data["segments"]))], ["text/vtt"]),
        "segments": MadeOutput([_write(folder / "segments.json", segments)], ["application/json"]),
    }
    if data.get("words") is not None:
        texts["words"] = MadeOutput([_own(folder, data["words"], (WORDS,))], ["application/json"])
    media = MadeOutput([film], [OUTPUTS[film.name]], duration=(data.get("output_media") or {}).get("duration"))
    all_of = {"media": media, **texts, **made}
    rows: dict[str, dict[str, Any]] = {}
    for number, (name, one) in enumerate(all_of.items()):
        context.progress(number / len(all_of) * PUBLISHED, "publishing")
        rows[name] = one.published(context.publish)
    # Not what consists of many files, as a ladder of renditions: its lists name the others by signed links of ours.
    alone = dict.fromkeys(one.paths[0] for one in all_of.values() if len(one.paths) == 1)
    copied = context.copy_out(list(alone), lambda done: context.progress(PUBLISHED + (1 - PUBLISHED) * done, "copying"))
    context.progress(1.0, "published")
    links = {name: row["link"] for name, row in rows.items()}
    return {"artifacts": links, "outputs": rows, "drive_url": links["media"], **copied}


def _own(workdir: Path, name: object, names: Collection[str]) -> Path:
    """A file that a stage made. Its name comes from a process that a hostile file may have taken over: it could name any file.

    :raises InternalError: it does.
    """
    if name not in tuple(names) or not (path := workdir / str(name)).is_file() or path.is_symlink():
        raise InternalError("a stage named a file that is none of its own")
    return path


def captions(segments: Iterable[Mapping[str, Any]]) -> str:
    """Segments as WebVTT."""
    return webvtt((one["start"], one["end"], escape(one["text"], quote=False)) for one in segments)


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
