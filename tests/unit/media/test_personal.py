"""What is masked and what is not: rules on sentences as speech models write them, and one that a real model hears."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_jobs.media import personal, transcribe
from pipeline_jobs.media.keywords import rank
from pipeline_jobs.media.personal import masked
from pipeline_jobs.media.sentences import words
from pipeline_jobs.media.speech import Phrase, Word
from tests.cases import each
from tests.unit.media.conftest import MakeContext
from tests.unit.media.test_transcribe import espeak, write

ALL = ("email", "card", "iban", "number")


def text_of(text: str, kinds: tuple[str, ...] = ALL, language: str | None = None) -> str:
    phrases, _ = masked([Phrase(0.0, 1.0, text)], kinds, language)
    return " ".join(phrase.text for phrase in phrases)


@each(
    ("text", "expected"),
    [
        ("Call 415-555-2671 today.", "Call [number] today."),
        ("Call 555 2671 today.", "Call [number] today."),
        ("Call (415) 555-2671, please.", "Call [number], please."),
        ("Call plus 49 30 901820.", "Call [number]."),
        ("It is +1 415 555 2671!", "It is [number]!"),
        ("My number is four one five, five five five, two six seven one.", "My number is [number]."),
        ("My number is four-one-five five-five-five two-six-seven-one.", "My number is [number]."),
        ("Dial 0 8 0 0 double 5 triple 3, now.", "Dial [number], now."),
        ("It's six oh five, nine oh oh, one two three four.", "It's [number]."),
        ("My social security number is 078 05 1120.", "My social security number is [number]."),
        ("The account is twelve thirty-four fifty-six seventy-eight.", "The account is [number]."),
        ("The card is 4111 1111 1111 1111, valid.", "The card is [card], valid."),
        ("The card is 4111-1111-1111-1111.", "The card is [card]."),
        ("The card is 4111 1111 1111 1112.", "The card is [number]."),
        ("Pay to DE89 3704 0044 0532 0130 00 today.", "Pay to [iban] today."),
        ("Pay to GB82WEST12345698765432.", "Pay to [iban]."),
        ("Write to anna.berg@example.org, please.", "Write to [email], please."),
        ("Write to john dot smith at acme dot co dot uk.", "Write to [email]."),
        ("Write to smith at gmail dot com and wait.", "Write to [email] and wait."),
        ("Write to j.smith at acme.com.", "Write to [email]."),
        ("Write to Smith42 at acme.com.", "Write to [email]."),
    ],
)
def test_what_names_a_person_or_an_account_is_masked(text: str, expected: str) -> None:
    assert text_of(text) == expected


@each(
    "text",
    [
        "It took 45 minutes, and 1,500,000 people came.",
        "The price was $1250000, or 12.50 each.",
        "In 2021, 2022, 2023 and 2024 it rained.",
        "At 10:30 we left, and at 11:45 we were there.",
        "Three hundred and twenty-five thousand four hundred people.",
        "One of the two told me that the third was late.",
        "Look at example.com for more, or at our page.",
        "We met at noon. Dot was there.",
        "Pi is 3.14159265, they say.",
        "The room is number 214, on floor 2.",
        "The order is 55 26 71, he said.",
        "I met Anna Berg in Harbour Street on the fifth of May.",
    ],
)
def test_other_numbers_and_what_no_rule_knows_stay(text: str) -> None:
    assert text_of(text) == text


def test_an_iban_with_a_wrong_sum_is_a_number_at_most() -> None:
    assert text_of("Pay to DE88 3704 0044 0532 0130 00.") == "Pay to DE88 [number]."


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("de", "Meine Nummer ist null drei null neun null eins acht zwei null."),
        ("es", "Mi número es seis uno dos tres cuatro cinco seis siete ocho."),
        ("fr", "Mon numéro est zéro six douze trente-quatre cinquante-six soixante-dix-huit."),
    ],
)
def test_number_words_of_other_languages_are_known(language: str, text: str) -> None:
    assert text_of(text, language=language).endswith("[number].")
    # Of one whose number words nobody knows only the digits are seen.
    assert text_of("Mitt nummer är noll tre noll nio noll ett åtta två noll, 0309018200.", language="sv").endswith("noll, [number].")


def test_only_what_was_asked_for_is_masked_and_counted() -> None:
    said = Phrase(0.0, 1.0, "Write to a.b@example.org or call 415 555 2671 or 415 555 2672.")
    (phrase,), counts = masked([said], ("number",), "en")
    assert phrase.text == "Write to a.b@example.org or call [number] or [number]."
    assert counts == {"number": 2}


def test_a_number_across_phrases_is_masked_in_the_first_with_the_times_of_its_words() -> None:
    def phrase(begin: float, *said: str) -> Phrase:
        times = tuple(Word(begin + n, begin + n + 0.5, word, 0.9 - n / 10) for n, word in enumerate(said))
        return Phrase(begin, begin + len(said), " ".join(said), times)

    found, counts = masked([phrase(0, "Call", "415"), phrase(2, "555"), phrase(3, "2671.", "Bye.")], ALL, None)
    assert [one.text for one in found] == ["Call [number].", "Bye."]
    assert tuple(found[0].words[1]) == (1.0, 3.5, "[number].", pytest.approx(0.8))
    assert [word.text for word in found[1].words] == ["Bye."]
    assert counts == {"number": 1}


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab1.@ -[]", max_size=12), max_size=12))
def test_no_word_is_lost_or_made_but_for_those_that_are_masked(texts: list[str]) -> None:
    phrases = [Phrase(n, n + 1, " ".join(text.split())) for n, text in enumerate(texts)]
    before = [word for phrase in phrases for word in phrase.text.split()]
    marks = list(personal.found(before, "en"))
    assert all(one.end <= other.begin for one, other in pairwise(marks))
    kept = [word for at, word in enumerate(before) if not any(mark.begin <= at < mark.end for mark in marks)]
    after = [word for phrase in masked(phrases, ALL, None)[0] for word in phrase.text.split()]
    assert len(after) == len(kept) + len(marks)
    assert masked(phrases, (), None)[0] == [phrase for phrase in phrases if phrase.text]


def test_a_mask_is_no_keyword() -> None:
    said = words("Call [number] or [number] about the harbour. The [email] is at the harbour.")
    assert said == ["Call", "or", "about", "the", "harbour", "The", "is", "at", "the", "harbour"]
    assert "number" not in rank(said, frozenset(), 10)


def test_a_spoken_number_is_in_no_text_of_the_stage(make_context: MakeContext, tmp_path: Path) -> None:
    """By the real model and a synthetic voice."""
    said = "You can reach the office by telephone. The number is four one five, five five five, two six seven one. Thank you."
    sound = espeak(tmp_path / "voice.wav", said, speed=140)
    texts = {}
    for mask in ([], ["number"]):
        context = make_context(params={"mask": mask}, data={"speech": "speech.wav", "speech_start": 0.0})
        write(context.workdir / "speech.wav", sound)
        context.stage = "transcribe"
        texts[bool(mask)] = transcribe.run(context)
    assert "masked" not in texts[False]
    assert texts[True]["masked"] == {"number": 1}
    assert texts[True]["transcript"].count("[number]") == 1
    whole = json.dumps(texts[True])
    assert not [digits for digits in ("2671", "555", "two six", "five five") if digits in whole]
