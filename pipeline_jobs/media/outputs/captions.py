"""Captions as SRT, WebVTT and ASS by the usual rules: at most two lines of 42 characters, slow enough to be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise
from typing import Any

import pysubs2

from pipeline_jobs.media.outputs.making import Made, Making

#: Characters of a line, lines of a caption.
LINE, LINES = 42, 2
#: Characters a second: what people read with ease, and what they can follow. The first is held where the pause after allows it.
EASY, FAST = 17.0, 21.0
#: Seconds by which a caption may come late so that the one before can be read: from about a second on it does not fit the lips.
LATEST = 1.0
#: Seconds that a caption stands at least, where the pause after allows it, and at most.
SHORTEST, LONGEST = 1.0, 7.0

#: Where a line or a caption is best cut, by the last character before the cut: the cost.
_END, _CLAUSE, _ELSEWHERE = 0.0, 3.0, 10.0


@dataclass(frozen=True, slots=True)
class Cue:
    """One caption: seconds, one or two lines, and who speaks, if that is known."""

    start: float
    end: float
    lines: tuple[str, ...]
    speaker: str | None = None

    @property
    def characters(self) -> int:
        return len(" ".join(self.lines))

    @property
    def speed(self) -> float:
        """Characters a second."""
        return self.characters / max(self.end - self.start, 0.001)


def srt(making: Making) -> Made:
    """SubRip: text only. It has no way to write its own marks as text, and many players take those of ASS for commands, too."""
    return _written(making, "captions.srt", "srt", lambda cue: _without_braces("\n".join(cue.lines)).replace("<", "‹").replace("-->", "->"))


def vtt(making: Making) -> Made:
    """WebVTT (W3C), with `<v Speaker>` where speakers are known."""
    return _written(making, "captions.vtt", "vtt", _voiced)


def ass(making: Making) -> Made:
    """Advanced SubStation Alpha: the speaker stands in the field of that name."""
    return _written(making, "captions.ass", "ass", lambda cue: _without_braces("\\N".join(cue.lines)))


def _without_braces(text: str) -> str:
    return text.replace("{", "(").replace("}", ")")


def _voiced(cue: Cue) -> str:
    text = escape("\n".join(cue.lines), quote=False)
    return f"<v {escape(cue.speaker, quote=False)}>{text}" if cue.speaker else text


def _written(making: Making, name: str, kind: str, text_of: Callable[[Cue], str]) -> Made:
    found = cues(making.segments, making.duration)
    making.step(0.5)
    file = pysubs2.SSAFile()
    for cue in found:
        event = pysubs2.SSAEvent(
            start=round(cue.start * 1000), end=round(cue.end * 1000), text=text_of(cue), name=_one_line(cue.speaker or "")
        )
        file.events.append(event)
    options: dict[str, Any] = {} if kind == "ass" else {"keep_ssa_tags": True}
    file.save(str(making.file(name)), encoding="utf-8", format_=kind, **options)
    return Made((name,), fields={"captions": figures(found)})


def figures(found: Sequence[Cue]) -> dict[str, Any]:
    """How well the rules could be held: `{"cues", "over_17", "over_21", "fastest"}`; the last is in characters a second."""
    speeds = [round(cue.speed, 1) for cue in found]
    return {
        "cues": len(found),
        "over_17": sum(speed > EASY for speed in speeds),
        "over_21": sum(speed > FAST for speed in speeds),
        "fastest": max(speeds, default=0.0),
    }


def cues(segments: Iterable[Mapping[str, Any]], duration: float) -> list[Cue]:
    """Segments (`start`, `end`, `text`, `speaker`) as captions: in order, without an overlap, none behind the end of the film."""
    found = [cue for segment in sorted(segments, key=lambda one: float(one["start"])) for cue in _cut(segment)]
    return _timed(found, max([duration, *(cue.end for cue in found)]))


def _cut(segment: Mapping[str, Any]) -> list[Cue]:
    """A segment as captions, one after the other, each with its share of the time by its characters."""
    start, end, speaker = float(segment["start"]), float(segment["end"]), segment.get("speaker")
    texts = _texts(_words(str(segment["text"])))
    whole = sum(map(len, texts)) or 1
    found, at = [], start
    for text in texts:
        until = at + (end - start) * len(text) / whole
        found.append(Cue(at, until, tuple(_lines(text)), _one_line(speaker) if isinstance(speaker, str) else None))
        at = until
    return found


def _words(text: str) -> list[str]:
    """What fits in a line. A longer word (an address, a language without spaces) is cut; a backslash would be a command in a file."""
    return [word[at : at + LINE] for word in text.replace("\\", "/").split() for at in range(0, len(word), LINE)]


def _texts(words: Sequence[str]) -> list[str]:
    """The words as texts that fit into `LINES` lines each: as few as possible, about equally long, cut at the ends of sentences."""
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(words) + 1):
        choices = []
        for begin in range(end - 1, -1, -1):
            text = " ".join(words[begin:end])
            if not _lines(text):
                break
            empty = 1 - len(text) / (LINE * LINES)
            # Each caption costs something, the last one need not be full.
            cost = 15 + 8 * empty**2 + (_END if end == len(words) else _break(words[end - 1]))
            choices.append((best[begin][0] + cost, begin))
        best.append(min(choices))
    found, end = [], len(words)
    while end:
        begin = best[end][1]
        found.append(" ".join(words[begin:end]))
        end = begin
    return found[::-1]


def _lines(text: str) -> list[str]:
    """One or two lines; none if it does not fit."""
    if len(text) <= LINE:
        return [text]
    spaces = [at for at, character in enumerate(text) if character == " " and at <= LINE and len(text) - at - 1 <= LINE]
    if not spaces:
        return []
    at = min(spaces, key=lambda at: abs(2 * at - len(text)) + _break(text[:at]))
    return [text[:at], text[at + 1 :]]


def _break(before: str) -> float:
    """What it costs to cut behind this."""
    end = before.rstrip("\"')”’»")[-1:]
    return _END if end in (".", "!", "?", "…") else _CLAUSE if end in (",", ";", ":", "-", "–", "—") else _ELSEWHERE


def _timed(found: Sequence[Cue], last: float) -> list[Cue]:
    """Times to read by. A caption may stand into the pause after it, and where there is none the next one may come a little later."""
    timed: list[Cue] = []
    at = 0.0
    for cue, following in pairwise([*found, Cue(last, last, ())]):
        start = max(cue.start, at)
        # Late already: it must not be later at its end.
        end = max(cue.end, start + 0.001)
        if start + cue.characters / FAST > max(end, following.start):
            end = min(start + cue.characters / FAST, max(end, following.start + (LATEST if following.lines else 0.0)))
        wanted = start + max(SHORTEST, cue.characters / EASY)
        end = min(max(end, min(wanted, following.start)), start + LONGEST)
        timed.append(replace(cue, start=start, end=end))
        at = end
    return timed


def _one_line(text: str) -> str:
    return " ".join(text.replace(",", " ").split())[:60]
