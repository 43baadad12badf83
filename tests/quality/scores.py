"""How good a transcript is: error rates of words and of speakers, cues that overlap, how far their ends are from the true pauses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise, permutations
from typing import Any

import jiwer
import numpy as np
import numpy.typing as npt

from pipeline_jobs.media.speakers import Turn
from pipeline_jobs.media.spoken_numbers import written

#: Of the error of speakers: the seconds around a change that do not count, and of a frame.
COLLAR, FRAME = 0.25, 0.01

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


def speaker_error_rate(truth: Sequence[Turn], found: Sequence[Turn]) -> float:
    """DER: missed, false and confused time by the time of speech, at the best of all ways to name the speakers."""
    at = np.arange(0, max(turn.end for turn in (*truth, *found)), FRAME)
    scored = np.ones(len(at), bool)
    for turn in truth:
        for edge in (turn.start, turn.end):
            scored &= np.abs(at - edge) > COLLAR
    true, said = (_speakers_at(at, turns)[scored] for turns in (truth, found))
    names = range(max(2, int(said.max()) + 1))
    wrong = min(int((true != np.array([*order, -1])[said]).sum()) for order in permutations(names))
    return wrong / int((true >= 0).sum())


def _speakers_at(at: npt.NDArray[np.float64], turns: Sequence[Turn]) -> npt.NDArray[np.int64]:
    """The number of who speaks at each time; -1: nobody."""
    who = np.full(len(at), -1)
    for turn in turns:
        who[(at >= turn.start) & (at < turn.end)] = turn.speaker
    return who
