"""When the parts of a text were said: by the times of the words where a model tells them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_jobs.media.languages import Heard
from pipeline_jobs.media.speech import RATE, Phrase, Word
from pipeline_jobs.media.spoken_numbers import Style
from pipeline_jobs.media.transcribe import _Writer
from pipeline_jobs.media.word_times import Timed, WordTimes, aligned


def words(text: str, step: float = 1.0) -> list[Timed]:
    """One each `step` seconds."""
    return [(n * step, (n + 0.5) * step, word, 0.9) for n, word in enumerate(text.split())]


def test_numbers_that_are_written_otherwise_take_the_time_of_what_was_heard() -> None:
    heard = words("about twenty five people and one dog")
    assert aligned("about 25 people and 1 dog", heard) == [
        heard[0], (1.0, 2.5, "25", 0.9), heard[3], heard[4], (5.0, 5.5, "1", 0.9), heard[6],
    ]  # fmt: skip
    (about, *number, dog) = aligned("about twenty five dog", words("about 25 dog", 2.0))
    assert (about[0], dog[0]) == (0.0, 4.0)
    assert [(start, end) for start, end, _, _ in number] == [(2.0, 2.5), (2.5, 3.0)]


def test_sentences_have_the_times_of_their_words_and_without_any_those_of_their_lengths(tmp_path: Path) -> None:
    rows = [dict(zip(("start", "end", "text", "confidence"), word, strict=True)) for word in words("Yes. I think so.", 2.0)]
    (tmp_path / "words.json").write_text(json.dumps(rows))
    segment = {"start": 0.0, "end": 7.0, "text": "Yes. I think so.", "speaker": "Speaker 1"}
    of_words = list(WordTimes.read(tmp_path, {"words": "words.json"}).sentences(segment))
    assert [(one["start"], one["end"], one["text"]) for one in of_words] == [(0.0, 1.0, "Yes."), (2.0, 7.0, "I think so.")]
    assert all(one["speaker"] == "Speaker 1" for one in of_words)
    for nothing in (WordTimes.read(tmp_path, {}), WordTimes(words("somewhere else entirely", 100.0)[1:])):
        assert [(one["start"], one["end"]) for one in nothing.sentences(segment)] == [(0.0, 1.87), (1.87, 7.0)]


def test_captions_have_the_times_of_words_whatever_way_numbers_are_written() -> None:
    """The first sentence is as long as the second one, and three times as slow."""
    said = "Es waren fünfundzwanzig Leute im Saal. Und einer von ihnen war der Bäcker."
    starts = [0.0, 1.0, 2.0, 4.0, 5.0, 5.5, *(6.0 + n / 4 for n in range(7))]
    heard = tuple(Word(start, start + 0.2, word, 0.9) for start, word in zip(starts, said.split(), strict=True))
    whole = (0, 8 * RATE)
    found = {style: _Writer([whole], style, Heard("de", 0.9)).cues(Phrase(0.0, 8.0, said, heard), whole) for style in get_args(Style)}
    assert found["digits"][0][0].text == "Es waren 25 Leute im Saal."
    for cues, told in found.values():
        assert [(cue.start, cue.end) for cue in cues] == [(0.0, 5.7), (6.0, 7.7)]
        assert [word.text for word in told] == said.split(), "as they were heard"


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c."]), min_size=1), st.lists(st.sampled_from(["a", "b", "c.", "25"]), min_size=1))
def test_every_word_that_is_written_has_a_time_and_they_are_in_order(heard: list[str], written: list[str]) -> None:
    found = aligned(" ".join(written), words(" ".join(heard)))
    assert [word[2] for word in found] == written
    assert all(start <= end for start, end, _, _ in found)
    assert all(one[1] <= other[0] + 1e-9 for one, other in pairwise(found))
    assert found[-1][1] <= len(heard)
