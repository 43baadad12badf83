"""How good a transcript is: error rate of words, cues that overlap or are invented, how far their ends are from the true pauses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import jiwer

from pipeline_jobs.media.spoken_numbers import written

#: British spelling as the American one: both are right.
_FOLDED = (
    (re.compile(r"\b(\w{3,})our(s|ed|ing|able|ite|hood)?\b"), r"\1or\2"),
    (re.compile(r"\bgrey"), "gray"),
    (re.compile(r"\b(\w{3,})ise(d|s)?\b"), r"\1ize\2"),
    (re.compile(r"\b(me|cen)tre(s)?\b"), r"\1ter\2"),
)


def folded(text: str, language: str = "en") -> str:
    """In lower case, without punctuation, numbers as digits, in American spelling."""
    text = written(text.replace("%", " percent").replace("-", " "), "digits", language)
    text = re.sub(r"[^\w ]", "", re.sub(r"[^\w' ]", " ", text.lower()))
    for pattern, american in _FOLDED if language == "en" else ():
        text = pattern.sub(american, text)
    return " ".join(text.split())


def word_error_rate(said: str, heard: str, language: str = "en") -> float:
    """Substituted, left out and added words, as a part of those said."""
    return float(jiwer.wer(folded(said, language), folded(heard, language) or "-"))


def overlaps(segments: Sequence[Mapping[str, Any]]) -> int:
    return sum(one["end"] > other["start"] for one, other in pairwise(segments))


def boundary_errors(segments: Sequence[Mapping[str, Any]], pauses: Sequence[tuple[float, float]]) -> list[float]:
    """For each true pause between sentences, how far the nearest end of a cue is from its beginning, in seconds."""
    return [min((abs(segment["end"] - begin) for segment in segments), default=float("inf")) for begin, _ in pauses]


def characters_a_second(segments: Sequence[Mapping[str, Any]]) -> list[float]:
    return [len(segment["text"]) / max(segment["end"] - segment["start"], 0.01) for segment in segments]
