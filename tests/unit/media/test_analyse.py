from __future__ import annotations

import pytest

from pipeline_jobs.exceptions import JobCancelled
from pipeline_jobs.media import analyse, keywords, summary
from pipeline_jobs.media.sentences import sentences, words
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import SAMPLES, FakeReporter

WELCOME = (SAMPLES / "welcome.txt").read_text().strip()
GERMAN = "Das Wetter ist heute sehr schön, und die Kinder spielen im Garten hinter dem Haus mit ihrem kleinen Hund."


def test_what_a_text_is_about(make_context: MakeContext, reporter: FakeReporter) -> None:
    found = analyse.run(
        make_context(params={"summary_sentences": 2, "keywords": 5}, data={"transcript": WELCOME, "speech_model": "moonshine-tiny-en"})
    )
    assert found["language"] == "en"
    summary = sentences(found["summary"])
    assert len(summary) == 2
    places = [WELCOME.index(sentence) for sentence in summary]
    assert places == sorted(places), "its own sentences, in its own order"
    assert len(found["keywords"]) == 5
    assert all(keyword.lower() in WELCOME.lower() for keyword in found["keywords"])
    assert found["warnings"] == []
    assert reporter.percents == sorted(reporter.percents)


def test_an_empty_transcript_is_about_nothing(make_context: MakeContext) -> None:
    found = analyse.run(make_context(data={"transcript": "", "speech_model": "moonshine-tiny-en"}))
    assert found == {"language": None, "summary": "", "keywords": [], "warnings": []}


@pytest.mark.parametrize("text", ["Yes.", "OK, 12.", "..."])
def test_a_few_words_have_no_language(text: str) -> None:
    assert analyse.find_language(text) is None


def test_another_language_is_told_and_the_english_model_is_distrusted(make_context: MakeContext) -> None:
    found = analyse.run(make_context(data={"transcript": GERMAN, "speech_model": "moonshine-tiny-en"}))
    assert found["language"] == "de"
    assert "English only" in found["warnings"][0]
    assert analyse.run(make_context(data={"transcript": GERMAN, "speech_model": "whisper-base"}))["warnings"] == []


def test_a_short_text_is_its_own_summary(make_context: MakeContext) -> None:
    assert analyse.summarise(make_context(), "One. Two. Three.", "en", 3) == "One. Two. Three."


def test_a_very_long_text_is_summed_up_in_parts(make_context: MakeContext, reporter: FakeReporter) -> None:
    text = " ".join(f"{sentence}" for number in range(120) for sentence in sentences(WELCOME.replace("text", f"text {number}")))
    context = make_context()
    assert len(sentences(analyse.summarise(context, text, "en", 4))) == 4
    reporter.cancelled.set()
    context._last_check = 0.0
    with pytest.raises(JobCancelled):
        analyse.summarise(context, text, "en", 4)


def test_a_summary_says_nothing_twice_and_has_no_cut_sentence() -> None:
    text = [
        "The river floods every spring in the town.", "The river floods the town every spring.", "A dam was planned by the council.",
        "Money for the dam of the council ran out.", "People of the town moved uphill from the river.", "and then the river and the town",
    ]  # fmt: skip
    found = summary.central(text, frozenset({"the", "a", "in", "of", "by", "was", "for", "and", "then"}), 3)
    assert len(found) == 3
    assert len({sentence for sentence in found if "floods" in sentence}) == 1
    assert text[-1] not in found
    assert found == sorted(found, key=text.index)
    assert summary.central(["no full stop here", "and none here"], frozenset(), 1) == ["no full stop here"]
    assert summary.central(["Same.", "Same."], frozenset(), 3) == ["Same."]


def test_numbers_are_no_keywords_in_digits_or_in_words() -> None:
    text = "Twenty ferries cross the river. Twenty 20 twenty ferries, seven rivers."
    assert not {"twenty", "seven", "20"} & {word.lower() for word in analyse.find_keywords(text, "en", 10)}


def test_keywords_may_be_switched_off() -> None:
    assert analyse.find_keywords(WELCOME, "en", 0) == []


HARBOR = (SAMPLES / "harbor.txt").read_text().strip()
RIVER = (
    "The river rises in the hills. A ferry carried people over the river. Then the bridge was built and the ferry stopped. "
    "The old pier is still there. Children jump from the pier into the river. The ferry is in a museum. They don't say 12 or twenty-two."
)


def test_the_keywords_are_the_words_that_hold_the_text_together() -> None:
    found = analyse.find_keywords(RIVER, "en", 5)
    assert {"river", "ferry", "pier"} <= set(found)
    assert analyse.find_keywords(RIVER, "en", 50)[:5] == found, "fewer are the best of more"


@pytest.mark.parametrize(("text", "language"), [(RIVER, "en"), (WELCOME, "en"), (HARBOR, "en"), (GERMAN, "de"), (GERMAN, None)])
def test_keywords_are_words_of_the_text_once_and_no_stop_words(text: str, language: str | None) -> None:
    found = analyse.find_keywords(text, language, 50)
    assert len({word.lower() for word in found}) == len(found) > 5
    assert set(found) <= set(words(text)), "in a spelling that the text has"
    assert not {word.lower() for word in found} & ({"the", "don't", "and", "12"} | analyse._stop_words(language))


def test_a_german_noun_keeps_its_capital() -> None:
    assert "Garten" in analyse.find_keywords(GERMAN, "de", 20)


@pytest.mark.parametrize("text", ["", "The.", "12 34", "river", "river river"])
def test_a_text_of_hardly_a_word_has_hardly_a_keyword(text: str) -> None:
    assert analyse.find_keywords(text, "en", 10) == (["river"] if "river" in text else [])


def test_the_work_for_keywords_grows_with_the_text_and_not_with_its_square() -> None:
    """Each word has at most `2 * (WINDOW - 1)` neighbours for each time that it stands in the text."""
    for count in (100, 200, 400, 800):
        text = [f"word{'abcdefghij'[number % 10]}{chr(97 + number % 26)}" + "x" * (number % 97) for number in range(count)]
        near = keywords._neighbours(text)
        assert sum(map(len, near.values())) <= 2 * (keywords.WINDOW - 1) * count


#: What the English model wrote when it heard espeak-ng's Spanish.
NONSENSE = (
    "The concept of the new market is to take the money from the market and the money from the market. The money from the market "
    "is the money that we have to do in the market, and the money from the market is to take the money from the market."
)


def spoken(*texts: str, seconds: float = 12.0, **data: object) -> dict[str, object]:
    """What the stage before gives, one segment after the other."""
    segments = [{"start": number * seconds, "end": (number + 1) * seconds, "text": text} for number, text in enumerate(texts)]
    return {"transcript": " ".join(texts), "segments": segments, "speech_model": "moonshine-tiny-en", **data}


def test_a_transcript_that_repeats_itself_has_no_language_and_no_summary(make_context: MakeContext, reporter: FakeReporter) -> None:
    found = analyse.run(make_context(data=spoken(NONSENSE)))
    assert (found["language"], found["summary"], found["keywords"]) == (None, "", [])
    (warning,) = found["warnings"]
    assert warning.startswith("language_uncertain: ")
    assert "params.language" in warning, "it says what to do"
    assert reporter.percents[-1] == 100.0


def test_who_says_that_english_is_spoken_is_believed_and_other_models_are(make_context: MakeContext) -> None:
    assert analyse.run(make_context(params={"language": "en"}, data=spoken(NONSENSE)))["summary"]
    assert analyse.run(make_context(data=spoken(NONSENSE, speech_model="whisper-base")))["summary"]


def test_english_that_says_a_thing_again_later_is_not_doubted(make_context: MakeContext) -> None:
    """A long talk: each window by itself is new."""
    assert analyse.run(make_context(data=spoken(*[WELCOME] * 20, seconds=60)))["language"] == "en"
    assert analyse.repetition(spoken(*[WELCOME] * 2, seconds=20)["segments"]) == pytest.approx(0.5, abs=0.05)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["No, no, no, no, no, no.", "Yes.", ""])
def test_a_few_words_tell_nothing(text: str) -> None:
    assert analyse.repetition([{"start": 0.0, "end": 3.0, "text": text}]) == 0.0
