from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline_jobs.exceptions import BadParameters
from pipeline_jobs.media import speech
from pipeline_jobs.media.speech import Phrase


class FakeWhisperModel:
    """The part of faster_whisper.WhisperModel that is used."""

    def __init__(self, size: str, **options: Any) -> None:
        self.size = size

    def transcribe(self, audio: Any, *, language: str | None, **options: Any) -> tuple[Any, Any]:
        parts = [SimpleNamespace(start=0.0, end=1.5, text=" Guten  Tag."), SimpleNamespace(start=1.5, end=2.0, text=" ")]
        return iter(parts), SimpleNamespace(language=language or "de")


@pytest.fixture
def whisper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "faster_whisper", SimpleNamespace(WhisperModel=FakeWhisperModel))


def test_moonshine_is_taken_when_nothing_is_asked_for(whisper: None) -> None:
    assert speech.choose("auto") == "moonshine"


def test_whisper_is_taken_when_asked_for_and_where_moonshine_is_missing(whisper: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert speech.choose("whisper") == "whisper"
    monkeypatch.setattr(speech, "moonshine_voice", None)
    assert speech.choose("auto") == "whisper"


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "faster_whisper", None)
    with pytest.raises(BadParameters, match="whisper"):
        speech.choose("whisper")
    monkeypatch.setattr(speech, "moonshine_voice", None)
    with pytest.raises(BadParameters, match="not installed"):
        speech.choose("auto")


def test_whispers_segments_become_phrases(whisper: None) -> None:
    engine = speech.Whisper()
    assert list(engine.transcribe(np.zeros(16000, dtype=np.float32), None)) == [Phrase(0.0, 1.5, "Guten Tag.")]
    assert engine.languages is None


def test_an_engine_is_loaded_once() -> None:
    assert speech.load("moonshine") is speech.load("moonshine")


class Stuck:
    """The part of moonshine's Transcriber that is used: it gets stuck in whatever is longer than it can hear."""

    def __init__(self, most: float) -> None:
        self.most = most

    def transcribe_without_streaming(self, samples: list[float], rate: int) -> SimpleNamespace:
        seconds = len(samples) / rate
        return SimpleNamespace(lines=[SimpleNamespace(text="2" + "3" * 50 if seconds > self.most else f"{seconds:.0f} seconds.")])


def test_a_piece_in_which_the_model_gets_stuck_is_heard_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = speech.Moonshine()
    sound = np.random.default_rng(1).uniform(-0.1, 0.1, 12 * speech.RATE).astype(np.float32)
    monkeypatch.setattr(engine, "_model", Stuck(most=7))
    found = list(engine.transcribe(sound, None))
    assert len(found) > 1
    assert not any("33" in phrase.text for phrase in found)
    assert (found[0].start, found[-1].end) == (0.0, 12.0)
    assert [phrase.end for phrase in found[:-1]] == [phrase.start for phrase in found[1:]]
    monkeypatch.setattr(engine, "_model", Stuck(most=0))
    assert list(engine.transcribe(sound, None)) == [], "it ends, and nothing is invented"
