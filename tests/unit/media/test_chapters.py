"""Chapters and the index of a search, by the real model, on talks whose subjects are known."""

from __future__ import annotations

import importlib.util
import json
from itertools import pairwise
from typing import Any

import pytest

from pipeline_jobs.meaning import embedder, searching
from pipeline_jobs.media.outputs import chapters
from pipeline_jobs.media.outputs.catalogue import OUTPUTS, known
from pipeline_jobs.media.outputs.making import CannotMake, Made, Making
from tests.unit.media.conftest import MakeContext
from tests.unit.media.topics import HELD_OUT, talk

ORDER = (0, 1, 2, 3, 4, 5)


@pytest.fixture
def making(make_context: MakeContext) -> Making:
    segments, _ = talk(HELD_OUT, ORDER)
    context = make_context(data={"segments": segments, "language": "en", "output_media": {"duration": 240.0}})
    return Making(context, OUTPUTS["chapters"], (0.0, 1.0))


def made(making: Making) -> Made:
    return chapters.chapters(making)


def test_a_chapter_begins_with_each_subject_and_has_a_title_of_its_words(making: Making) -> None:
    found = made(making).fields["chapters"]
    _, begins = talk(HELD_OUT, ORDER)
    said = chapters._said(making)
    starts = [one["start"] for one in found]
    # Within a sentence of the place.
    near = [any(abs(start - said[place + off]["start"]) < 0.01 for start in starts for off in (-1, 0, 1)) for place in begins]
    assert (sum(near), len(found)) == (5, 6)
    assert all(one["end"] == following["start"] for one, following in pairwise(found))
    assert (found[0]["start"], found[-1]["end"]) == (0.0, said[-1]["end"])
    for one in found:
        spoken = " ".join(part["text"] for part in said if one["start"] <= part["start"] < one["end"]).casefold()
        assert 1 <= len(one["title"].split(", ")) <= 3
        assert all(word.casefold() in spoken for word in one["title"].split(", "))
    assert json.loads((making.context.workdir / "chapters.json").read_text()) == {"chapters": found}


def test_one_subject_is_one_chapter(making: Making) -> None:
    """Said twice: it is long enough to have two, and the deepest place within it is no end of a subject."""
    making.context.data["segments"], _ = talk(HELD_OUT, (2, 2))
    assert len(chapters._said(making)) >= 2 * chapters.LEAST
    (one,) = made(making).fields["chapters"]
    assert one["start"] == 0.0


def test_a_question_finds_what_answers_it_in_other_words(making: Making) -> None:
    index = Making(making.context, OUTPUTS["search"], (0.0, 1.0))
    assert chapters.search_index(index).files == ("search.json",)
    read: dict[str, Any] = json.loads((making.context.workdir / "search.json").read_text())
    for question, answer in (
        ("who stopped the ball at the goal", "The goalkeeper saved a penalty in the first half."),
        ("cars that run on electricity lose reach when it freezes", "Cold weather shortens the range."),
        ("where are ancient books stored", "Old volumes are kept in libraries where the air is dry."),
    ):
        best = [passage["text"] for _, passage in searching.by_meaning(read, question)[:3]]
        assert answer in best, question
    scores = [score for score, _ in searching.by_meaning(read, "a football match")]
    assert scores == sorted(scores, reverse=True)
    assert searching.by_meaning(read, "quarterly tax forms of a dentist") == []
    with pytest.raises(ValueError, match="another index"):
        searching.by_meaning({**read, "sentences": read["sentences"][1:]}, "x")


def test_other_languages_and_endless_transcripts_are_left_out(making: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    making.context.data["language"] = "de"
    with pytest.raises(CannotMake, match="English only"):
        made(making)
    making.context.data["language"] = None
    monkeypatch.setattr(chapters, "MOST", 10)
    with pytest.raises(CannotMake, match="more than 10 sentences"):
        made(making)


def test_without_the_extra_it_is_refused_at_submit_and_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert OUTPUTS["chapters"].requires == OUTPUTS["search"].requires == embedder.MODULES
    assert OUTPUTS["chapters"].extra == embedder.EXTRA
    assert embedder.installed()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not embedder.installed()
    with pytest.raises(ValueError, match=r"onnxruntime.*pipeline-jobs\[meaning\]"):
        known("chapters")
