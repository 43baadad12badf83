from __future__ import annotations

import pytest

from pipeline_jobs.exceptions import JobCancelled
from pipeline_jobs.media import analyse
from pipeline_jobs.media.sentences import sentences
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


def test_keywords_may_be_switched_off() -> None:
    assert analyse.find_keywords(WELCOME, "en", 0) == []


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
