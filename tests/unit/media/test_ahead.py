"""The speech model is loaded before the film is transcoded to its end."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline_jobs.exceptions import BadParameters
from pipeline_jobs.media import languages, speech
from pipeline_jobs.media.ahead import LEFT, Ahead


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(speech, "load", names.append)
    return names


def through(duration: float | None, params: dict[str, Any], *reached: float) -> Ahead:
    ahead = Ahead(params, duration)
    for at in reached:
        ahead.reached(at)
    if ahead.thread is not None:
        ahead.thread.join()
    return ahead


def test_it_is_loaded_once_when_the_end_is_near(loaded: list[str]) -> None:
    assert through(LEFT + 100, {}, 0.0, 99.0).thread is None
    assert loaded == []
    through(LEFT + 100, {}, 99.0, 100.0, 101.0)
    assert loaded == ["moonshine"]


def test_of_a_short_film_at_once_and_of_one_without_a_length_not_at_all(loaded: list[str]) -> None:
    through(3.0, {"language": "en"}, 0.0)
    through(None, {}, 0.0, 1e6)
    assert loaded == ["moonshine"]


@pytest.mark.parametrize("params", [{"speech_model": "whisper"}, {"language": "sv"}, {"language": "en", "speech_model": "whisper"}])
def test_another_engine_is_not_loaded_ahead(loaded: list[str], monkeypatch: pytest.MonkeyPatch, params: dict[str, Any]) -> None:
    for here in (("moonshine", "whisper"), ("moonshine",)):
        monkeypatch.setattr(languages, "installed", lambda here=here: here)
        through(3.0, params, 0.0)
    assert loaded == []


def test_what_is_wrong_with_the_model_is_for_the_stage_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(name: str) -> None:
        asked.append(name)
        raise BadParameters("it is not installed")

    monkeypatch.setattr(speech, "load", refuse)
    ahead = through(3.0, {}, 0.0)
    assert asked == ["moonshine"]
    assert ahead.thread is not None
    assert not ahead.thread.is_alive()


def test_two_who_ask_at_once_are_given_the_same() -> None:
    ahead = Ahead({}, 1.0)
    ahead.reached(0.0)
    mine = speech.load("moonshine")
    assert ahead.thread is not None
    ahead.thread.join()
    assert speech.load("moonshine") is mine
