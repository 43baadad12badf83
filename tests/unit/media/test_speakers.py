"""Who speaks when: turns become names on segments, and the stage ends in time."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import wave
from collections.abc import Mapping
from typing import Any

import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import MediaTooLarge
from pipeline_jobs.media import speakers, stages
from pipeline_jobs.media.outputs import told
from pipeline_jobs.media.outputs.catalogue import OUTPUTS
from pipeline_jobs.media.outputs.making import CannotMake, Making
from pipeline_jobs.media.speakers import Turn, joined, labelled
from pipeline_jobs.media.word_times import WordTimes
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import SAMPLES


def segment(start: float, end: float, text: str) -> dict[str, Any]:
    return {"start": start, "end": end, "text": text}


def test_turns_of_one_speaker_are_one_and_numbered_by_who_speaks_first() -> None:
    turns = [Turn(6.0, 9.0, 0), Turn(0.0, 2.0, 7), Turn(2.3, 5.0, 7), Turn(5.1, 5.2, 3), Turn(9.6, 10.0, 0)]
    assert joined(turns) == [Turn(0.0, 5.0, 0), Turn(6.0, 9.0, 1), Turn(9.6, 10.0, 1)]


def test_a_segment_has_the_speaker_who_speaks_longest_in_it() -> None:
    turns = [Turn(0.0, 4.0, 0), Turn(4.0, 8.0, 1)]
    found = labelled([segment(0.2, 3.9, "Hello."), segment(3.8, 7.0, "Good morning"), segment(20.0, 21.0, "Who?")], turns, WordTimes())
    assert [one.get("speaker") for one in found] == ["Speaker 1", "Speaker 2", None]


def test_a_segment_in_which_the_speaker_changes_is_cut_between_its_sentences() -> None:
    turns = [Turn(0.0, 6.0, 0), Turn(6.0, 9.0, 1), Turn(9.0, 12.0, 0)]
    said = segment(0.0, 12.0, "The first one says this. And it says that. Now the other says. The first is back now.")
    found = labelled([said], turns, WordTimes())
    assert [(one["speaker"], one["text"]) for one in found] == [
        ("Speaker 1", "The first one says this. And it says that."), ("Speaker 2", "Now the other says."),
        ("Speaker 1", "The first is back now."),
    ]  # fmt: skip
    times = [time for one in found for time in (one["start"], one["end"])]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (0.0, 12.0)


def test_a_sentence_belongs_to_who_speaks_while_its_words_are_said() -> None:
    """The first one is short and slow: by lengths it would end after a second, and the other's would begin in the first one's turn."""
    heard = [(0.2, 5.8, "Well.", 0.9), (6.0, 6.5, "Let", 0.9), (6.5, 7.0, "us", 0.9), (7.0, 7.7, "begin.", 0.9)]
    turns = [Turn(0.0, 5.9, 0), Turn(5.9, 9.0, 1)]
    found = labelled([segment(0.2, 7.7, "Well. Let us begin.")], turns, WordTimes(heard))
    assert [(one["speaker"], one["start"], one["end"]) for one in found] == [("Speaker 1", 0.2, 5.8), ("Speaker 2", 6.0, 7.7)]


def test_speakers_are_called_as_the_job_says_by_who_speaks_first() -> None:
    turns = [Turn(0.0, 4.0, 0), Turn(4.0, 8.0, 1), Turn(8.0, 12.0, 2)]
    said = [segment(0.0, 4.0, "Hello."), segment(4.0, 8.0, "Good morning."), segment(8.0, 12.0, "And I am here, too.")]
    found = labelled(said, turns, WordTimes(), ["Anna", "Ben"])
    assert [one["speaker"] for one in found] == ["Anna", "Ben", "Speaker 3"]


@pytest.mark.parametrize(("params", "segments"), [({}, [segment(0, 1, "a")]), ({"outputs": ["speakers"]}, [])])
def test_nothing_is_told_that_nobody_asked_for_or_said(make_context: MakeContext, params: Mapping[str, Any], segments: list[Any]) -> None:
    assert speakers.run(make_context(params=dict(params), data={"segments": segments, "speech": None})) == {}


def test_what_was_told_is_a_file(make_context: MakeContext) -> None:
    context = make_context(data={"segments": [segment(0, 1, "a")], "output_media": {"duration": 1.0}})
    with pytest.raises(CannotMake):
        told.speakers(Making(context, OUTPUTS["speakers"], (0.0, 1.0)))
    context.data |= {"speakers": [{"name": "Speaker 1", "seconds": 1.0}], "turns": [{"start": 0.0, "end": 1.0, "speaker": "Speaker 1"}]}
    assert told.speakers(Making(context, OUTPUTS["speakers"], (0.0, 1.0))).files == ("speakers.json",)


def test_the_limit_of_the_processor_s_time_ends_a_process_inside_a_library_and_is_taken_back() -> None:
    code = (
        "import resource, time; from pipeline_jobs.media.speakers import cpu_limit\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "with cpu_limit(1): pass\n"
        "assert resource.getrlimit(resource.RLIMIT_CPU)[0] == resource.RLIM_INFINITY\n"
        "with cpu_limit(0.1):\n"
        "    while time.process_time() < 20: pow(3, 10**6)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -signal.SIGXCPU, done.stderr
    assert resource.getrlimit(resource.RLIMIT_CPU)[0] == resource.RLIM_INFINITY


def test_a_child_that_took_too_long_is_said_so(make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGXCPU)"
    monkeypatch.setattr(stages, "COMMAND", (sys.executable, "-c", code))
    context: JobContext = make_context()
    with pytest.raises(MediaTooLarge, match="processor"):
        stages.InChild("speakers")(context)


def test_one_voice_is_one_speaker(make_context: MakeContext) -> None:
    """By the real model, on two seconds of a sample. Dialogues, with figures: `make quality`."""
    params = {"outputs": ["speakers"], "speaker_names": ["The harbour master"]}
    context = make_context(params=params, data={"segments": [segment(10.0, 12.0, "Good.")], "speech_start": 10.0})
    context.data["speech"] = "speech.wav"
    with wave.open(str(SAMPLES / "harbor.wav")) as whole, wave.open(str(context.workdir / "speech.wav"), "wb") as cut:
        assert (whole.getframerate(), whole.getnchannels(), whole.getsampwidth()) == (speakers.RATE, 1, 2)
        cut.setparams(whole.getparams())
        cut.writeframes(whole.readframes(2 * speakers.RATE))
    done = speakers.run(context)
    assert [one["name"] for one in done["speakers"]] == ["The harbour master"]
    assert [one.get("speaker") for one in done["segments"]] == ["The harbour master"]
    assert all(10.0 <= turn["start"] < turn["end"] <= 12.0 and turn["speaker"] == "The harbour master" for turn in done["turns"])
