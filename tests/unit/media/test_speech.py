from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline_jobs.exceptions import BadParameters
from pipeline_jobs.media import languages, speech
from pipeline_jobs.media.languages import LanguageUnsupported
from pipeline_jobs.media.speech import Phrase, Samples


class FakeWhisperModel:
    """The part of faster_whisper.WhisperModel that is used. `make quality` hears with the real one."""

    def __init__(self, folder: str, **options: Any) -> None:
        assert options["local_files_only"]

    def transcribe(self, audio: Any, *, language: str | None, **options: Any) -> tuple[Any, Any]:
        self.language = language
        said = [(" Guten", 0.0, 0.4, 0.9), (" Tag,", 0.5, 0.8, 0.8), (" l", 1.0, 1.1, 0.9), ("'eau.", 1.1, 1.5, 0.5)]
        words = [SimpleNamespace(word=word, start=start, end=end, probability=sure) for word, start, end, sure in said]
        parts = [
            SimpleNamespace(start=0.0, end=1.5, text=" Guten Tag, l'eau.", words=words),
            SimpleNamespace(start=1.5, end=2.0, text=" ", words=[]),
            SimpleNamespace(start=2.0, end=3.0, text=" Ohne  Zeiten.", words=None),
        ]
        return iter(parts), SimpleNamespace(language=language or "de")

    def detect_language(self, audio: Any) -> tuple[str, float, list[tuple[str, float]]]:
        return "la", 0.6, [("la", 0.6), ("de", 0.3), ("nl", 0.1)]


@pytest.fixture
def whisper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "faster_whisper", SimpleNamespace(WhisperModel=FakeWhisperModel))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`installed("moonshine", "whisper")`: these speech models and no other."""
    return lambda *names: monkeypatch.setattr(languages, "installed", lambda: names)


def test_the_engine_is_the_first_one_that_knows_the_language(installed: Callable[..., None]) -> None:
    installed("moonshine", "whisper")
    found = [languages.choose(*asked) for asked in [("auto", None), ("auto", "en"), ("auto", "de"), ("whisper", "en"), ("moonshine", None)]]
    assert found == ["moonshine", "moonshine", "whisper", "whisper", "moonshine"]
    with pytest.raises(LanguageUnsupported, match=r"'de' is not known to moonshine, which knows: en$"):
        languages.choose("moonshine", "de")
    installed("whisper")
    assert languages.choose("auto", None) == "whisper"
    with pytest.raises(LanguageUnsupported, match="'xx'"):
        languages.choose("auto", "xx")
    installed("moonshine")
    with pytest.raises(LanguageUnsupported, match=r"pipeline-jobs\[whisper\]"):
        languages.choose("auto", "de")


def test_what_is_not_installed_is_said(installed: Callable[..., None]) -> None:
    installed("moonshine")
    with pytest.raises(BadParameters, match=r"'whisper' is not installed.*\[whisper\]"):
        languages.choose("whisper", None)
    installed()
    with pytest.raises(BadParameters, match="no speech model"):
        languages.choose("auto", None)


@pytest.mark.usefixtures("whisper")
def test_whispers_segments_become_phrases_with_whole_words(tmp_path: Path) -> None:
    engine = speech.Whisper(tmp_path / "faster-whisper-small")
    assert engine.name == "whisper-small"
    first, second = engine.transcribe(np.zeros(16000, dtype=np.float32), None)
    assert (first.start, first.end, first.text) == (0.0, 1.5, "Guten Tag, l'eau.")
    assert first.words == ((0.0, 0.4, "Guten", 0.9), (0.5, 0.8, "Tag,", 0.8), (1.0, 1.5, "l'eau.", 0.5))
    assert second == Phrase(2.0, 3.0, "Ohne Zeiten.")
    # Nobody speaks Latin: what the detector says is what it says of the others.
    language, share, by = engine.language(np.zeros(16000, dtype=np.float32))
    assert (language, by) == ("de", "whisper-small")
    assert share == pytest.approx(0.75)


def test_what_is_taken_for_latin_alone_is_in_no_language_for_sure() -> None:
    """As the detector says of Portuguese by espeak-ng (`make quality`)."""
    found = languages.heard({"la": 0.605, "my": 0.075, "en": 0.055, "km": 0.028, "es": 0.024, "pt": 0.001}, "whisper-base")
    assert (found.language, found.sure) == ("my", None)
    assert languages.heard({"en": 0.57, "la": 0.2, "cy": 0.23}, "whisper-base").sure == "en"


@pytest.mark.usefixtures("whisper", "installed")
def test_whispers_own_codes_are_written_as_others_write_them(tmp_path: Path, installed: Callable[..., None]) -> None:
    installed("moonshine", "whisper")
    found = [languages.heard({code: 0.9, "en": 0.1}, "whisper") for code in ("jw", "yue", "haw")]
    assert [one.sure for one in found] == ["jv", "zh", "haw"]
    assert {languages.choose("auto", one.sure) for one in found} == {"whisper"}, "none of them ends the job"
    assert languages.heard({"en": 0.4, "zh": 0.3, "yue": 0.3}, "whisper").sure == "zh"
    engine = speech.Whisper(tmp_path)
    engine.transcribe(np.zeros(16000, dtype=np.float32), "jv")
    assert engine._model.language == "jw"


def test_an_engine_is_loaded_once() -> None:
    assert speech.load("moonshine") is speech.load("moonshine")


class Stuck:
    """What the model says of a piece: it gets stuck in whatever is longer than it can hear."""

    def __init__(self, most: float) -> None:
        self.most = most

    def lines(self, samples: Samples) -> list[SimpleNamespace]:
        seconds = len(samples) / speech.RATE
        return [SimpleNamespace(text="2" + "3" * 50 if seconds > self.most else f"{seconds:.0f} seconds.")]


def test_a_piece_in_which_the_model_gets_stuck_is_heard_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = speech.Moonshine()
    sound = np.random.default_rng(1).uniform(-0.1, 0.1, 12 * speech.RATE).astype(np.float32)
    monkeypatch.setattr(engine, "_lines", Stuck(most=7).lines)
    found = list(engine.transcribe(sound, None))
    assert len(found) > 1
    assert not any("33" in phrase.text for phrase in found)
    assert (found[0].start, found[-1].end) == (0.0, 12.0)
    assert [phrase.end for phrase in found[:-1]] == [phrase.start for phrase in found[1:]]
    monkeypatch.setattr(engine, "_lines", Stuck(most=0).lines)
    assert list(engine.transcribe(sound, None)) == [], "it ends, and nothing is invented"
