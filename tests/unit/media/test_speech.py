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
