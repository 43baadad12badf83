"""When the parts of a text were said, by the words that a speech model heard with their times; by their lengths where it tells none."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from pipeline_jobs.media.sentences import sentences

#: Start and end in seconds, text, and how sure the model is of it.
Timed = tuple[float, float, str, float]


class WordTimes:
    """The words of a film, in order. Without any, all times are made by lengths."""

    def __init__(self, words: Sequence[Timed] = ()) -> None:
        self._words = sorted(words, key=lambda word: word[0])
        self._starts = [word[0] for word in self._words]

    @classmethod
    def read(cls, workdir: Path, data: Mapping[str, Any]) -> WordTimes:
        """What `transcribe` wrote, if its model tells words."""
        if not data.get("words"):
            return cls()
        rows = json.loads((workdir / data["words"]).read_text(encoding="utf-8"))
        return cls([(row["start"], row["end"], row["text"], row["confidence"]) for row in rows])

    def sentences(self, segment: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """A segment as one for each of its sentences."""
        texts = sentences(segment["text"]) or [segment["text"]]
        heard = self._within(segment["start"], segment["end"]) if len(texts) > 1 else []
        timed = _by_words(texts, heard) if heard else _by_lengths(texts, segment["start"], segment["end"])
        for text, (start, end) in zip(texts, timed, strict=True):
            yield {**segment, "start": round(start, 2), "end": round(end, 2), "text": text}

    def _within(self, start: float, end: float) -> list[Timed]:
        found = self._words[bisect_left(self._starts, start) : bisect_right(self._starts, end)]
        return [word for word in found if word[1] <= end]


def aligned(text: str, heard: Sequence[Timed]) -> list[Timed]:
    """The words of a text, with times. Those that were heard as others ("25" as "twenty five") share the time of what they stand for.

    :param heard: at least one.
    """
    written = text.split()
    found: list[Timed] = []
    for _, begin, end, first, last in SequenceMatcher(None, [word[2] for word in heard], written, autojunk=False).get_opcodes():
        # What nothing was heard for stands where the word before it ends.
        at = heard[begin - 1][1] if begin else heard[0][0]
        found += _shared(written[first:last], heard[begin:end] or [(at, at, "", 0.0)])
    return found


def _shared(texts: Sequence[str], heard: Sequence[Timed]) -> Sequence[Timed]:
    if [word[2] for word in heard] == texts:
        return heard
    start, each, sure = heard[0][0], (heard[-1][1] - heard[0][0]) / (len(texts) or 1), min(word[3] for word in heard)
    return [(start + n * each, start + (n + 1) * each, text, sure) for n, text in enumerate(texts)]


def _by_words(texts: Sequence[str], heard: Sequence[Timed]) -> Iterator[tuple[float, float]]:
    words, at = aligned(" ".join(texts), heard), 0
    for text in texts:
        said = words[at : at + len(text.split())]
        at += len(said)
        yield said[0][0], said[-1][1]


def _by_lengths(texts: Sequence[str], start: float, end: float) -> Iterator[tuple[float, float]]:
    each = (end - start) / (sum(map(len, texts)) or 1)
    edges = list(accumulate((len(text) * each for text in texts), initial=start))
    yield from pairwise(edges)
