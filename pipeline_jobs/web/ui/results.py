"""The result of a job, for people.

A result is whatever a pipeline returned, so nothing is taken for granted: each thing is shown if it has the form that the built-in
pipeline gives it, and all of it as JSON besides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from flask import request

from pipeline_jobs.exceptions import ResultGone, StoreUnavailable
from pipeline_jobs.files.artifacts import ROUTE
from pipeline_jobs.job import Job
from pipeline_jobs.jobs.results import NAME, fetch
from pipeline_jobs.web.state import web

#: Largest result that a page has all of, in bytes of JSON.
MAX_BYTES = 1024**2
#: Most segments of a transcript on the page; the file has all.
MAX_SEGMENTS = 400
_VIDEO, _AUDIO = frozenset({".mp4", ".m4v", ".webm"}), frozenset({".m4a", ".mp3", ".ogg", ".wav", ".flac"})


@dataclass(frozen=True, slots=True)
class Link:
    """Something to open: `href` is a path of ours or an address of http(s)."""

    name: str
    href: str
    file: str

    @property
    def player(self) -> str | None:
        """`video` or `audio`, for files of ours: others' are not played here."""
        kind = PurePosixPath(self.file).suffix.lower()
        if not self.href.startswith("/"):
            return None
        return "video" if kind in _VIDEO else "audio" if kind in _AUDIO else None


@dataclass(frozen=True, slots=True)
class Segment:
    """A line of a transcript, from so many seconds on."""

    start: float
    text: str
    #: Who says it, where another one said the line before.
    speaker: str | None = None
    #: In seconds; None: nothing tells.
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of a film, from so many seconds on."""

    start: float
    title: str


@dataclass(frozen=True, slots=True)
class ResultView:
    """The parts of a result that have a form of their own, and the whole."""

    data: Mapping[str, Any]
    title: str | None = None
    summary: str | None = None
    transcript: str | None = None
    segments: list[Segment] = field(default_factory=list)
    chapters: list[Chapter] = field(default_factory=list)
    more_segments: int = 0
    keywords: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    media: Link | None = None
    captions: Link | None = None
    #: WebVTT that names parts of a picture: what is seen at a place of the film.
    storyboard: Link | None = None
    poster: Link | None = None


def all_segments(job: Job) -> list[Segment]:
    """All lines of a job's transcript, more than its page has; none: it has no transcript.

    :raises ResultGone: the file with its result was lost. :raises StoreUnavailable: it cannot be read now.
    """
    result = fetch(web().cell.artifacts, job.job_id, job.result)
    data = result.get("data") if isinstance(result, Mapping) else None
    return _segments(data) if isinstance(data, Mapping) else []


def result_view(job: Job) -> ResultView | None:
    """What to show of a job's result; None: it has none. Of a very large one, or if it cannot be read now: its preview."""
    try:
        result = fetch(web().cell.artifacts, job.job_id, job.result, MAX_BYTES)
    except (ResultGone, StoreUnavailable):
        result = job.result
    if not isinstance(result, Mapping) or not isinstance(result.get("data"), Mapping):
        return None
    data: Mapping[str, Any] = result["data"]
    links = _links(data)
    if job.result_ref and (href := safe_link(web().cell.artifacts.link(job.result_ref))):
        links.append(Link("all of it", href, NAME))
    segments = _segments(data)
    return ResultView(
        data=data,
        title=_text(data.get("title")),
        summary=_text(data.get("summary")),
        transcript=_text(data.get("transcript")),
        segments=segments[:MAX_SEGMENTS],
        more_segments=max(0, len(segments) - MAX_SEGMENTS),
        chapters=_chapters(data),
        keywords=[word for word in _list(data.get("keywords")) if isinstance(word, str)],
        warnings=[text for text in _list(data.get("warnings")) if isinstance(text, str)],
        facts=_facts(data),
        links=links,
        media=next((link for link in links if link.player), None),
        captions=_ours(links, lambda link: link.file.endswith(".vtt") and not link.file.startswith("storyboard")),
        storyboard=_ours(links, lambda link: link.file == "storyboard.vtt"),
        poster=_ours(links, lambda link: link.file.startswith("poster.")),
    )


def _ours(links: list[Link], fits: Callable[[Link], bool]) -> Link | None:
    """The first of our own files that fits."""
    return next((link for link in links if link.href.startswith("/") and fits(link)), None)


def safe_link(address: object) -> str | None:
    """An address that may stand in a link: one of our files as a path, or http(s). Anything else (`javascript:`) is text."""
    if not isinstance(address, str) or any(ord(character) <= 32 for character in address):
        return None
    for root in (web().settings.base_url, ""):
        if address.startswith(root + ROUTE):
            # By the name under which the page itself was reached, so that the browser takes it for ours.
            return request.script_root + address.removeprefix(root)
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return address if parts.scheme in ("http", "https") and parts.netloc else None


def _links(data: Mapping[str, Any]) -> list[Link]:
    named: dict[str, Any] = {}
    if isinstance(data.get("artifacts"), Mapping):
        named |= data["artifacts"]
    if data.get("drive_url") not in named.values():
        named["drive_url"] = data.get("drive_url")
    found = []
    for name, address in named.items():
        href = safe_link(address)
        if href is not None:
            found.append(Link(str(name).replace("_", " "), href, PurePosixPath(urlsplit(href).path).name))
    return found


def _segments(data: Mapping[str, Any]) -> list[Segment]:
    found: list[Segment] = []
    before: object = None
    for one in _list(data.get("segments")):
        if isinstance(one, Mapping) and isinstance(one.get("text"), str) and _is_time(one.get("start")):
            speaker = one.get("speaker")
            told = speaker if isinstance(speaker, str) and speaker != before else None
            end = float(one["end"]) if _is_time(one.get("end")) else None
            found.append(Segment(float(one["start"]), one["text"], told, end))
            before = speaker
    return found


def _chapters(data: Mapping[str, Any]) -> list[Chapter]:
    return [
        Chapter(float(one["start"]), one["title"])
        for one in _list(data.get("chapters"))[:MAX_SEGMENTS]
        if isinstance(one, Mapping) and isinstance(one.get("title"), str) and _is_time(one.get("start"))
    ]


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9


def _facts(data: Mapping[str, Any]) -> dict[str, str]:
    facts = {"Language": _text(data.get("language"))}
    media = data.get("output_media") or data.get("media")
    if isinstance(media, Mapping):
        video = media.get("video")
        if isinstance(video, Mapping) and isinstance(video.get("width"), int) and isinstance(video.get("height"), int):
            facts["Picture"] = f"{video['width']} x {video['height']}"
        if _is_time(media.get("duration")):
            facts["Length"] = f"{media['duration']:.1f} s"
    facts["Speech model"] = _text(data.get("speech_model"))
    return {name: value for name, value in facts.items() if value}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
