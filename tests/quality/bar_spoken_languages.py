"""Which language is spoken, by the extra `[whisper]` with the base model: clips of up to 30 s in twelve languages."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from pipeline_jobs.media import speech, transcribe, voice
from pipeline_jobs.media.languages import Heard
from pipeline_jobs.media.speech import Whisper
from tests.quality import models, voices
from tests.quality.clips import clean
from tests.quality.texts import ENGLISH, FOREIGN, FOREIGN_HELD_OUT, FURTHER, HELD_OUT

#: Language, voice, text.
Clip = tuple[str, str, str]
Listen = Callable[[Clip], Heard]

SECONDS, RIGHT = 30, 24
#: Five clips of each of these: espeak-ng's voice of the language, and others of its.
_BY_ESPEAK = ("es", "de", "fr", "it")
_VARIANTS = (("", FOREIGN), ("+f2", FOREIGN), ("+m3", FOREIGN), ("", FOREIGN_HELD_OUT), ("+f2", FOREIGN_HELD_OUT))
#: And of Portuguese, by a woman and two men: espeak-ng's is no speech to the base model, not even where it is told the language.
_BY_KOKORO = (
    ("pf_dora", FOREIGN), ("pm_alex", FOREIGN), ("pm_santa", FOREIGN), ("pf_dora", FOREIGN_HELD_OUT), ("pm_alex", FOREIGN_HELD_OUT)
)  # fmt: skip
#: Of the bar: five languages, five clips of each.
FIVE = [
    *((language, f"espeak-{language}{variant}", texts[language]) for variant, texts in _VARIANTS for language in _BY_ESPEAK),
    *(("pt", f"kokoro-{speaker}", texts["pt"]) for speaker, texts in _BY_KOKORO),
]
#: espeak-ng's Portuguese, of Portugal and of Brazil, and other languages.
OTHERS = [
    *(("pt", f"espeak-pt{variant}", texts["pt"]) for variant, texts in _VARIANTS),
    *(("pt", "espeak-pt-br", texts["pt"]) for texts in (FOREIGN, FOREIGN_HELD_OUT)),
    *((language, f"espeak-{language}{variant}", text) for language, text in FURTHER.items() for variant in ("", "+f2")),
]
_SPEAKERS = (*voices.TUNED_BY, *voices.HELD_OUT, *voices.APART)
IN_ENGLISH = [("en", speaker, ENGLISH[name]) for speaker in _SPEAKERS for name in HELD_OUT[:3]]


@pytest.fixture(scope="module")
def listen(tmp_path_factory: pytest.TempPathFactory) -> Listen:
    """As a job hears a clip: what Whisper says of its speech."""
    folder = tmp_path_factory.mktemp("spoken")
    engine = speech.load("whisper", models.whisper(folder))
    assert isinstance(engine, Whisper)

    def heard(clip: Clip) -> Heard:
        _, speaker, text = clip
        sound, _ = clean(speaker, text, folder)
        path = voices.write(folder / "speech.wav", sound[: SECONDS * voices.RATE])
        spans = voice.joined(voice.stretches(path, lambda done: None))
        found = engine.language(voice.sample(path, spans, transcribe.ENOUGH))
        print(f"{speaker}: {found.language} {found.probability:.2f}", flush=True)
        return found

    return heard


def right(clips: Iterable[Clip], listen: Listen) -> list[bool]:
    """Of each clip, whether its language is heard for sure. :raises AssertionError: for sure another one is."""
    found = [(clip, listen(clip).sure) for clip in clips]
    assert [(clip[:2], sure) for clip, sure in found if sure not in (None, clip[0])] == []
    return [sure is not None for _, sure in found]


def test_the_language_of_24_of_25_clips_is_heard(listen: Listen) -> None:
    found = right(FIVE, listen)
    print(f"the language is right in {sum(found)} of {len(found)}, and in none another is heard for sure")
    assert len(found) == 25
    assert sum(found) >= RIGHT


def test_no_other_language_is_taken_for_one_that_it_is_not(listen: Listen) -> None:
    found = right(OTHERS, listen)
    print(f"other languages: right in {sum(found)} of {len(found)}, and in none another is heard for sure")


def test_english_is_heard_as_english(listen: Listen) -> None:
    found = right(IN_ENGLISH, listen)
    print(f"English: right in {sum(found)} of {len(found)}")
    assert found == [True] * 21
