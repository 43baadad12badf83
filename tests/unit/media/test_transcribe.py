from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import BadParameters, JobCancelled
from pipeline_jobs.media import speech, transcribe
from pipeline_jobs.media.speech import Phrase, Samples
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import SAMPLES, FakeReporter, word_share


class Counting:
    """An engine that says how long each piece was."""

    name = "counting-en"
    languages = frozenset({"en"})

    def __init__(self) -> None:
        self.lengths: list[float] = []

    def transcribe(self, samples: Samples, language: str | None) -> Sequence[Phrase]:
        self.lengths.append(len(samples) / speech.RATE)
        return [Phrase(0.5, 1.0, f"piece {len(self.lengths)}")]


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    engine = Counting()
    monkeypatch.setattr(speech, "load", lambda name: engine)
    return engine


def with_sound(make_context: MakeContext, samples: Samples, start: float = 0.0, **options: object) -> JobContext:
    context = make_context(data={"speech": "speech.wav", "speech_start": start}, **options)
    with wave.open(str(context.workdir / "speech.wav"), "wb") as wav:
        wav.setparams((1, 2, speech.RATE, 0, "NONE", ""))
        wav.writeframes((samples * 32767).astype(np.int16).tobytes())
    context.stage = "transcribe"
    return context


def noise(seconds: float, level: float = 0.2) -> Samples:
    generator = np.random.default_rng(1)
    return (generator.uniform(-level, level, int(seconds * speech.RATE))).astype(np.float32)


def silence(seconds: float) -> Samples:
    return np.zeros(int(seconds * speech.RATE), dtype=np.float32)


def test_the_spoken_words_are_found_with_their_times(make_context: MakeContext) -> None:
    with wave.open(str(SAMPLES / "harbor.wav")) as wav:
        sound = np.frombuffer(wav.readframes(wav.getnframes()), dtype=np.int16).astype(np.float32) / 32767
    context = with_sound(make_context, sound, start=10.0)
    said = transcribe.run(context)
    assert word_share((SAMPLES / "harbor.txt").read_text(), said["transcript"]) > 0.9
    assert said["speech_model"] == "moonshine-tiny-en"
    assert said["transcript"] == " ".join(segment["text"] for segment in said["segments"])
    ends = [10.0]
    for segment in said["segments"]:
        assert ends[-1] - 0.2 <= segment["start"] < segment["end"] <= 10.0 + len(sound) / speech.RATE + 0.2
        ends.append(segment["end"])
    assert len(ends) >= 4


def test_long_sound_is_cut_into_pieces_in_its_pauses(make_context: MakeContext, counting: Counting, reporter: FakeReporter) -> None:
    parts = [noise(7), silence(0.5), noise(9), silence(0.5), noise(6), silence(0.5), noise(30)]
    context = with_sound(make_context, np.concatenate(parts))
    said = transcribe.run(context)
    assert counting.lengths[0] == pytest.approx(7.25, abs=0.3)
    assert counting.lengths[1] == pytest.approx(9.5, abs=0.3)
    assert all(length <= transcribe.LONGEST for length in counting.lengths)
    assert sum(counting.lengths) == pytest.approx(53.5, abs=0.01), "nothing is lost and nothing is heard twice"
    starts = np.cumsum([0.0, *counting.lengths[:-1]]) + 0.5
    assert [segment["start"] for segment in said["segments"]] == pytest.approx(list(starts), abs=0.02)
    assert reporter.percents == sorted(set(reporter.percents)), "each piece is a step"
    assert reporter.percents[-1] == 100.0


def test_silence_has_no_words(make_context: MakeContext, counting: Counting, reporter: FakeReporter) -> None:
    said = transcribe.run(with_sound(make_context, silence(20)))
    assert (said["transcript"], said["segments"], counting.lengths) == ("", [], [])
    assert reporter.percents[-1] == 100.0


def test_no_sound_at_all_has_no_words(make_context: MakeContext, counting: Counting) -> None:
    assert transcribe.run(with_sound(make_context, silence(0)))["transcript"] == ""


def test_a_cancel_reaches_the_middle(make_context: MakeContext, counting: Counting, reporter: FakeReporter) -> None:
    reporter.cancel_if = lambda percent, message: percent > 20
    with pytest.raises(JobCancelled):
        transcribe.run(with_sound(make_context, noise(60)))
    assert 0 < sum(counting.lengths) < 30


def test_a_language_that_the_model_does_not_know_is_refused(make_context: MakeContext, counting: Counting) -> None:
    context = with_sound(make_context, silence(1), params={"language": "de"})
    with pytest.raises(BadParameters, match=r"params\.language.*en"):
        transcribe.run(context)


def test_memory_does_not_grow_with_the_length(make_context: MakeContext, tmp_path: Path) -> None:
    context = with_sound(make_context, noise(120))
    longest = max(len(samples) for _, samples, _ in transcribe.pieces(context.workdir / "speech.wav"))
    assert longest <= transcribe.LONGEST * speech.RATE
