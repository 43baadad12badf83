from __future__ import annotations

import pytest

from pipeline_jobs.media.spoken_numbers import known, written


@pytest.mark.parametrize(
    ("heard", "digits"),
    [
        ("In nineteen eighty four there were a hundred of them.", "In 1984 there were 100 of them."),
        ("Seven percent of three point five metres.", "7 percent of 3.5 metres."),
        ("The twenty first of May, two thousand and twenty six.", "The 21st of May, 2026."),
        ("A thing that 25 people want.", "A thing that 25 people want."),
    ],
)
def test_as_digits(heard: str, digits: str) -> None:
    assert written(heard, "digits", "en") == digits


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        ("In 1984 there were 1,234 of them.", "In nineteen eighty-four there were one thousand, two hundred and thirty-four of them."),
        ("7% of 3.5 metres.", "seven percent of three point five metres."),
        ("The 21st and the 2nd.", "The twenty-first and the second."),
        ("It costs $5 at 12:30 on 10/12, see v1.2.3 or B52.", "It costs $5 at 12:30 on 10/12, see v1.2.3 or B52."),
    ],
)
def test_as_words(heard: str, words: str) -> None:
    assert written(heard, "words", "en") == words


def test_as_heard_and_in_other_languages() -> None:
    assert written("Seven of 10.", "heard", "en") == "Seven of 10."
    assert written("Er lief achtzig Kilometer.", "digits", "de") == "Er lief 80 Kilometer."
    assert written("Er lief 80 Kilometer.", "words", "de") == "Er lief achtzig Kilometer."
    assert written("80", "words", "xx") == "80"


def test_what_nobody_knows_the_numbers_of_is_told() -> None:
    assert [known("heard", "xx"), known("digits", "ja"), known("words", "ja"), known("words", "xx"), known("digits", None)] == [
        True, False, True, False, True,
    ]  # fmt: skip
