"""Speech in parts: where it is cut, and that what is put together is the whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_jobs.context import JobContext
from pipeline_jobs.media import speech, speech_parts, transcribe, voice
from pipeline_jobs.media.in_parts import MAX_PARTS
from pipeline_jobs.media.speech import Phrase, Samples, Word
from tests.unit.media.conftest import MakeContext
from tests.unit.media.test_transcribe import noise, with_sound

RATE = voice.RATE
MASKED = {"mask": ["number"], "speech_model": "moonshine", "language": "en"}


class Exact:
    """An engine that hears in other samples other words."""

    name = "exact-en"

    def __init__(self) -> None:
        self.pieces = 0

    def transcribe(self, samples: Samples, language: str | None) -> Sequence[Phrase]:
        self.pieces += 1
        heard, seconds = f"{abs(float(samples.sum())):.4f}".replace(".", "7").zfill(9), len(samples) / RATE
        words = [Word(0.1, 0.2, "Call", 0.5), Word(0.3, seconds, f"{heard}.", 0.25)]
        return [Phrase(0.0, seconds, f"Call {heard}.", tuple(words))]


#: Where somebody speaks, in seconds: without a pause of two seconds, with one, and half a minute without any.
SPOKEN = ((0.5, 9), (9.5, 20), (20.4, 24), (27, 60), (63, 70), (70.5, 75), (75.5, 92))


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> Exact:
    engine = Exact()
    monkeypatch.setattr(speech, "load", lambda name, model=None: engine)
    monkeypatch.setattr(voice, "stretches", lambda path, told: [(int(begin * RATE), int(end * RATE)) for begin, end in SPOKEN])
    return engine


def spoken(make_context: MakeContext) -> JobContext:
    context = with_sound(make_context, noise(95), start=1.5, params=MASKED)
    context.params = {**context.params, "part_seconds": 20, "whole_seconds": 0}
    return context


def parts_of(context: JobContext) -> list[dict[str, Any]]:
    """What each part gives, each done in a folder that has its files only."""
    context.data.update(speech_parts.plan(context))
    found = speech_parts.cut_sound(context)["cut"]
    assert found == context.data["speech_parts"] > 2
    results = []
    for number in range(found):
        folder = context.workdir / "parts" / str(number)
        folder.mkdir(parents=True)
        files = {"sound": f"hear-{number}.wav", "about": f"hear-{number}.json"}
        for name in files.values():
            (context.workdir / name).replace(folder / name)
        results.append(json.loads(json.dumps(speech_parts.recognise(replace(context, workdir=folder, data=files)))))
    return results


def test_speech_in_parts_is_the_speech_as_a_whole_to_the_letter(make_context: MakeContext, exact: Exact) -> None:
    context = spoken(make_context)
    whole, words = transcribe.run(context), (context.workdir / "words.json").read_text()
    pieces, exact.pieces = exact.pieces, 0
    assert pieces >= 4
    results = parts_of(context)
    assert exact.pieces == pieces
    (context.workdir / "recognised.json").write_text(json.dumps(results))
    context.data["recognised"] = "recognised.json"
    assert transcribe.run(context) == whole
    assert (context.workdir / "words.json").read_text() == words
    assert (exact.pieces, whole["masked"]) == (pieces, {"number": pieces}), "nothing is recognised twice"
    starts = [segment["start"] for segment in whole["segments"]]
    assert starts == sorted(starts)
    assert "[number]" in json.dumps(results)
    assert "7" not in "".join(word[2] for one in results for word in one["words"]), "no part gives what is to be masked"


def test_what_a_part_failed_of_is_recognised_after_all(make_context: MakeContext, exact: Exact) -> None:
    context = spoken(make_context)
    whole = transcribe.run(context)
    pieces, results = exact.pieces, parts_of(context)
    exact.pieces = 0
    (context.workdir / "recognised.json").write_text(json.dumps([results[0], None, *results[2:-1]]))
    assert transcribe.run(_with(context, "recognised.json")) == whole
    assert 0 < exact.pieces < pieces


def test_a_retry_with_other_parameters_hears_all_of_it_anew(make_context: MakeContext, exact: Exact) -> None:
    """What is to be masked by now stands in what the parts of the job before gave."""
    context = spoken(make_context)
    context.params = {**context.params, "mask": []}
    (context.workdir / "recognised.json").write_text(json.dumps(parts_of(context)))
    context.params = {**context.params, **MASKED}
    again = transcribe.run(_with(context, "recognised.json"))
    assert again == transcribe.run(replace(context, data={name: context.data[name] for name in ("speech", "speech_start")}))
    assert (again["masked"]["number"] > 0, "7" in again["transcript"]) == (True, False)
    assert speech_parts.cut_sound(context) == {"cut": 0}, "its parts would be those of the other job"


def test_a_long_sound_in_which_nobody_speaks_gives_the_same(
    make_context: MakeContext, exact: Exact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice, "stretches", lambda path, told: [])
    context = spoken(make_context)
    whole = transcribe.run(context)
    assert (whole["transcript"], whole["speech_model"]) == ("", exact.name)
    context.data.update(speech_parts.plan(context))
    assert context.data["speech_parts"] == 0
    assert transcribe.run(context) == whole


def _with(context: JobContext, recognised: str) -> JobContext:
    return replace(context, data={**context.data, "recognised": recognised})


def test_a_stage_that_listened_before_is_not_asked_again(make_context: MakeContext, exact: Exact, monkeypatch: pytest.MonkeyPatch) -> None:
    context = spoken(make_context)
    found = voice.stretches(context.workdir / "speech.wav", lambda done: None)
    whole = transcribe.run(context)
    (context.workdir / "spoken.json").write_text(json.dumps(found))
    monkeypatch.setattr(voice, "stretches", lambda path, told: pytest.fail("it listens again"))
    context.data["spoken"] = "spoken.json"
    assert transcribe.run(context) == whole


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5 * RATE), st.integers(RATE // 2, 26 * RATE)), max_size=60), st.integers(5, 120))
def test_the_parts_have_all_pieces_in_order_and_an_end(gaps: list[tuple[int, int]], seconds: int) -> None:
    """Also where nobody pauses: no piece is longer than a model is given."""
    pieces, now = [], 0
    for pause, length in gaps:
        pieces.append((now + pause, now + pause + length))
        now += pause + length
    parts = speech_parts.cut(pieces, seconds)
    assert [piece for part in parts for piece in part] == pieces
    assert all(parts)
    assert all(part[-1][1] - part[0][0] <= (seconds + 52) * RATE for part in parts)
    assert all(one[-1][1] <= later[0][0] for one, later in pairwise(parts))


def test_the_speech_of_a_very_long_film_has_longer_parts() -> None:
    pieces = [(second * RATE, (second + 1) * RATE) for second in range(4 * 3600)]
    assert MAX_PARTS / 2 < len(speech_parts.cut(pieces, 5)) <= MAX_PARTS
