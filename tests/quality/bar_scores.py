"""The measures themselves, on answers that are known."""

from __future__ import annotations

import pytest

from pipeline_jobs.media.speakers import Turn
from tests.quality import scores

TRUTH = [Turn(0.0, 10.0, 0), Turn(10.0, 20.0, 1)]


@pytest.mark.parametrize(
    ("found", "rate"),
    [
        (TRUTH, 0.0),
        # The same under other names; a change within the collar of the true one.
        ([Turn(0.0, 10.2, 1), Turn(10.2, 20.0, 0)], 0.0),
        ([Turn(0.0, 20.0, 0)], 0.5),
        ([Turn(0.0, 10.0, 0)], 0.5),
        ([Turn(0.0, 10.0, 0), Turn(10.0, 15.0, 1), Turn(15.0, 20.0, 2)], 0.25),
        ([], 1.0),
    ],
    ids=["right", "other names", "all one", "half missed", "three", "nothing"],
)
def test_the_error_rate_of_speakers(found: list[Turn], rate: float) -> None:
    assert scores.speaker_error_rate(TRUTH, found) == pytest.approx(rate, abs=0.02)


def test_the_error_rate_of_words_folds_spelling_numbers_and_marks() -> None:
    assert scores.word_error_rate("The colour of 20 percent, he said, is grey.", "the color of twenty % he said is gray") == 0.0
    assert scores.word_error_rate("a boat on the sea", "a coat on the sea") == pytest.approx(0.2)


def test_captions_that_overlap_and_their_ends() -> None:
    segments = [{"start": 0.0, "end": 2.1, "text": "a" * 42}, {"start": 2.0, "end": 3.0, "text": "b"}]
    assert scores.overlaps(segments) == 1
    assert scores.boundary_errors(segments, [(2.0, 2.5)]) == pytest.approx([0.1])
    assert scores.characters_a_second(segments) == pytest.approx([20.0, 1.0])
