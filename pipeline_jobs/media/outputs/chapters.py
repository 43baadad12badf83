"""Chapters of a transcript with titles, and an index for the search by meaning. English: the model knows no other language.

A chapter ends where what is said before is least like what is said after (TextTiling, Hearst 1997, over vectors of meaning).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from sumy.utils import get_stop_words

from pipeline_jobs.meaning import searching
from pipeline_jobs.meaning.embedder import embedder
from pipeline_jobs.media.keywords import rank
from pipeline_jobs.media.outputs.making import CannotMake, Made, Making
from pipeline_jobs.media.sentences import words
from pipeline_jobs.media.word_times import WordTimes

#: Sentences before and after a place that are compared, and sentences of a chapter at least.
WINDOW, LEAST = 4, 5
#: A place counts whose depth is so many standard deviations above the mean of all, and at least the second number: within one subject it
#: stays below. Set on one set of talks, measured on another (tests/unit/media/topics.py).
DEEP, FLAT = 0.4, 0.25
#: Words of a title.
TITLE = 3
#: Longest transcript, in sentences: 4 hours of quick speech have some 4,000.
MOST = 6000
BATCH = 64


def chapters(making: Making) -> Made:
    """`chapters.json`: `{"chapters": [{"start", "end", "title"}]}`, the same as the field. :raises CannotMake:"""
    said = _said(making)
    vectors = _vectors(making, said)
    starts = [0, *boundaries(vectors), len(said)]
    found = []
    for begin, end in pairwise(starts):
        text = " ".join(one["text"] for one in said[begin:end])
        # Up to the next one: a player shows one at any time.
        until = said[end]["start"] if end < len(said) else said[-1]["end"]
        found.append({"start": said[begin]["start"], "end": until, "title": _title(text)})
    making.file("chapters.json").write_text(json.dumps({"chapters": found}, ensure_ascii=False, indent=1), encoding="utf-8")
    return Made(("chapters.json",), fields={"chapters": found})


def search_index(making: Making) -> Made:
    """`search.json`, which `GET /pipeline/jobs/{id}/transcript/search` reads. :raises CannotMake:"""
    said = _said(making)
    index = searching.index_of(said, _vectors(making, said))
    making.file("search.json").write_text(json.dumps(index, ensure_ascii=False), encoding="utf-8")
    return Made(("search.json",))


def boundaries(vectors: Any) -> list[int]:
    """The sentences with which chapters begin, but for the first one."""
    places = range(1, len(vectors))
    if len(vectors) < 2 * LEAST:
        return []
    alike = np.array([_alike(vectors, place) for place in places])
    depths = np.array([_depth(alike, n) for n in range(len(alike))])
    least = max(FLAT, depths.mean() + DEEP * depths.std())
    chosen: list[int] = []
    for n in np.argsort(-depths, kind="stable"):
        place = places[int(n)]
        apart = all(abs(place - other) >= LEAST for other in (*chosen, 0, len(vectors)))
        if depths[n] > least and apart:
            chosen.append(place)
    return sorted(chosen)


def _alike(vectors: Any, place: int) -> float:
    before, after = (part.mean(axis=0) for part in (vectors[max(0, place - WINDOW) : place], vectors[place : place + WINDOW]))
    return float(before @ after / (np.linalg.norm(before) * np.linalg.norm(after) or 1.0))


def _depth(alike: Any, n: int) -> float:
    """How deep a valley this place is: how far it is up from here to the next summit on either side."""
    return float(sum(_summit(side) - alike[n] for side in (alike[n::-1], alike[n:])))


def _summit(side: Any) -> float:
    best = side[0]
    for value in side[1:]:
        if value < best:
            break
        best = value
    return float(best)


def _said(making: Making) -> list[dict[str, Any]]:
    """The sentences with their times. :raises CannotMake: it is not for this model."""
    if making.context.data.get("language") not in (None, "en"):
        raise CannotMake("it knows English only, and the transcript is in another language")
    heard = WordTimes.read(making.context.workdir, making.context.data)
    said = [one for segment in making.segments for one in heard.sentences(segment)]
    if len(said) > MOST:
        raise CannotMake(f"the transcript has more than {MOST} sentences")
    return said


def _vectors(making: Making, said: Sequence[Mapping[str, Any]]) -> Any:
    """Kept for the other output of the two: it is all that they cost."""
    kept = making.context.data.setdefault("_vectors", {})
    key = hash(tuple(one["text"] for one in said))
    if key not in kept:
        rows = []
        for begin in range(0, len(said), BATCH):
            rows.append(embedder().embed([one["text"] for one in said[begin : begin + BATCH]]))
            making.step(min(0.9, (begin + BATCH) / len(said)))
        kept[key] = np.concatenate(rows) if rows else np.zeros((0, searching.SIZE), np.float32)
    return kept[key]


def _title(text: str) -> str:
    """The words that matter most in it: no sentence, so that none is cut."""
    found = ", ".join(rank(words(text), frozenset(get_stop_words("english")), TITLE))
    return found[:1].upper() + found[1:] if found else "Chapter"
