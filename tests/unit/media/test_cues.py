from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_jobs.media.cues import LINE, LINES, Cue, cut, fits

TEXT = (
    "The river rises in the hills and runs for eighty miles before it meets the sea. In the last century, a ferry carried people from one "
    "bank to the other, twelve times a day. No. Then the bridge was built, and the ferry stopped."
)
#: What is said in each stretch: the first sentence, the second, the rest.
SPOKEN = [(10.0, 15.0), (15.5, 21.2), (21.6, 25.0)]


def test_cues_begin_and_end_at_pauses_and_at_commas() -> None:
    assert [(round(cue.start, 1), round(cue.end, 1), cue.text) for cue in cut(TEXT, SPOKEN)] == [
        (10.0, 15.0, "The river rises in the hills and runs for eighty miles before it meets the sea."),
        (15.5, pytest.approx(18.3, abs=0.3), "In the last century, a ferry carried people"),
        (pytest.approx(18.3, abs=0.3), 21.2, "from one bank to the other, twelve times a day."),
        (21.6, 25.0, "No. Then the bridge was built, and the ferry stopped."),
    ]


def test_a_pause_far_from_where_a_sentence_ends_by_its_characters_is_inside_of_one() -> None:
    found = cut("Here is a sentence of some length that is said. And here is another one that is said.", [(0, 0.5), (0.9, 6.0)])
    assert [cue.start for cue in found] == [0, pytest.approx(3.3, abs=0.4)]


@pytest.mark.parametrize(("text", "spoken"), [("", SPOKEN), ("  ", SPOKEN), ("Hello.", [])])
def test_nothing_said_is_no_cue(text: str, spoken: list[tuple[float, float]]) -> None:
    assert cut(text, spoken) == []


def test_an_endless_word_is_shown_as_it_is() -> None:
    assert cut("x" * 200, [(0, 1)]) == [Cue(0, 1, "x" * 200)]


def test_a_part_that_ends_with_a_clause_is_a_caption_too() -> None:
    text = "a aa aa aa aa? aaa aaaa aaaaaa aaaaaaaaaaaa aaaaaaa aaaaaaaaaa aaaaaaaaaa? aaaaaaaaaaaa aaaaaaaaaaaa aa aaaa"
    assert all(fits(cue.text) for cue in cut(text, [(0, 1)]))


WORDS = st.lists(st.from_regex(r"[a-z]{1,12}[,.?]?", fullmatch=True), min_size=1, max_size=120).map(" ".join)
STEPS = st.lists(st.tuples(st.floats(0.3, 8), st.floats(0.1, 2)), min_size=1, max_size=12)


@settings(deadline=None)
@given(WORDS, STEPS)
def test_every_word_is_in_one_cue_each_fits_and_none_overlaps(text: str, steps: list[tuple[float, float]]) -> None:
    spoken, at = [], 5.0
    for speaks, pauses in steps:
        spoken.append((at, at + speaks))
        at += speaks + pauses
    found = cut(text, spoken)
    assert " ".join(cue.text for cue in found).split() == text.split()
    assert all(fits(cue.text) for cue in found)
    times = [time for cue in found for time in (cue.start, cue.end)]
    assert all(before <= after + 1e-9 for before, after in pairwise(times))
    assert times[0] == pytest.approx(spoken[0][0])
    assert times[-1] == pytest.approx(spoken[-1][1])
    assert all(len(re.sub(r"\s", "", cue.text)) <= LINE * LINES for cue in found)
