"""Stage `speakers`: who speaks when, for jobs that ask for the output `speakers`. The whole sound at once: in pieces a model takes the same
voice for another one. That costs some two CPU seconds a second of sound, so the stage has a budget of its own.
"""

from __future__ import annotations

import ctypes
import resource
import time
import wave
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline_jobs.context import JobContext
from pipeline_jobs.media.outputs.catalogue import wanted
from pipeline_jobs.media.word_times import WordTimes

# Moonshine has no wheel for every platform; the catalogue's row of `speakers` says so.
try:
    import moonshine_voice
    from moonshine_voice.errors import check_error
    from moonshine_voice.moonshine_api import TranscriptC
    from moonshine_voice.transcriber import Transcriber
except ImportError:
    moonshine_voice = None

RATE = 16_000
#: CPU seconds that the stage may take, and so many more for each second of sound: twice what was measured.
BUDGET, BUDGET_A_SECOND = 120.0, 4.0
#: A turn that goes on after a pause of so many seconds is one; turns of fewer seconds are a cough, or a "yes" into another's words.
PAUSE, SHORTEST = 0.5, 0.3
#: Of a sound of at most so many seconds the first so many are heard once more behind its end: the model tells voices apart by what comes
#: before and after, and took the last turn of a short dialogue for the other speaker's (DER 0.16, and 0.02 so). A longer one has enough.
SHORT, AGAIN = 600, 30

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Turn:
    """Somebody speaks: seconds, and a number from 0 on."""

    start: float
    end: float
    speaker: int


def run(context: JobContext) -> dict[str, Any]:
    """Needs `speech`, `speech_start`, `segments`, `words`, the param `speaker_names`; gives nothing unless `params.outputs` asks for
    `speakers`.

    :return: `{"segments": [{"start", "end", "text", "speaker": "Speaker 1"}], "speakers": [{"name", "seconds"}], "turns": [{"start", "end",
        "speaker"}]}`. A segment in which the speaker changes is cut at the end of the sentence that is nearest.
    """
    if "speakers" not in [output.name for output in wanted(context.params)] or not context.data.get("segments"):
        return {}
    context.progress(0.0, "telling speakers apart")
    samples = _read(context.workdir / context.data["speech"])
    with cpu_limit(BUDGET + BUDGET_A_SECOND * len(samples) / RATE):
        turns = joined(_turns(samples))
    offset = float(context.data["speech_start"])
    placed = [Turn(turn.start + offset, turn.end + offset, turn.speaker) for turn in turns]
    names = context.params.get("speaker_names", ())
    segments = labelled(context.data["segments"], placed, WordTimes.read(context.workdir, context.data), names)
    context.progress(1.0, "told speakers apart")
    return {"segments": segments, "speakers": _speakers(placed, names), "turns": [_row(turn, names) for turn in placed]}


def joined(turns: Sequence[Turn]) -> list[Turn]:
    """In order, those of one speaker that follow each other as one, and numbered by who speaks first."""
    found: list[Turn] = []
    for turn in sorted((one for one in turns if one.end - one.start >= SHORTEST), key=lambda one: one.start):
        if found and found[-1].speaker == turn.speaker and turn.start - found[-1].end <= PAUSE:
            found[-1] = Turn(found[-1].start, max(found[-1].end, turn.end), turn.speaker)
        else:
            found.append(turn)
    numbers = {speaker: number for number, speaker in enumerate(dict.fromkeys(turn.speaker for turn in found))}
    return [Turn(turn.start, turn.end, numbers[turn.speaker]) for turn in found]


def labelled(
    segments: Sequence[Mapping[str, Any]], turns: Sequence[Turn], words: WordTimes, names: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The segments, each with its speaker; cut where that changes. One in which nobody is known to speak has none."""
    return [piece for segment in segments for piece in _labelled(segment, turns, words, names)]


def _labelled(segment: Mapping[str, Any], turns: Sequence[Turn], words: WordTimes, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    near = [turn for turn in turns if turn.start < segment["end"] and turn.end > segment["start"]]
    parts = list(words.sentences(segment)) if len({turn.speaker for turn in near}) > 1 else [dict(segment)]
    for speaker, group in groupby(parts, key=lambda part: _who(part, near)):
        of_one = list(group)
        piece = {**of_one[0], "end": of_one[-1]["end"], "text": " ".join(part["text"] for part in of_one)}
        yield piece if speaker is None else {**piece, "speaker": _name(speaker, names)}


def _who(part: Mapping[str, Any], turns: Sequence[Turn]) -> int | None:
    """The speaker who speaks longest in this part; None: nobody does."""
    shares: dict[int, float] = {}
    for turn in turns:
        if (share := min(turn.end, part["end"]) - max(turn.start, part["start"])) > 0:
            shares[turn.speaker] = shares.get(turn.speaker, 0.0) + share
    return max(shares, key=shares.__getitem__) if shares else None


def _speakers(turns: Sequence[Turn], names: Sequence[str]) -> list[dict[str, Any]]:
    spoken: dict[int, float] = {}
    for turn in turns:
        spoken[turn.speaker] = spoken.get(turn.speaker, 0.0) + turn.end - turn.start
    return [{"name": _name(speaker, names), "seconds": round(seconds, 2)} for speaker, seconds in spoken.items()]


def _row(turn: Turn, names: Sequence[str]) -> dict[str, Any]:
    return {"start": round(turn.start, 2), "end": round(turn.end, 2), "speaker": _name(turn.speaker, names)}


def _name(speaker: int, names: Sequence[str]) -> str:
    """As the job calls whoever speaks first, second and so on; else by that number."""
    return names[speaker] if speaker < len(names) else f"Speaker {speaker + 1}"


def _turns(samples: Samples) -> list[Turn]:
    end = len(samples) / RATE
    if end <= SHORT:
        samples = np.concatenate([samples, samples[: AGAIN * RATE]])
    # 0 turns the library's own voice detector off, which would cut the sound. The memory is passed as it is: a list of an hour has 1.8 GB.
    options = {"vad_threshold": "0", "return_audio_data": "false", "identify_speakers": "true", "skip_transcription": "true"}
    with Transcriber(moonshine_voice.get_model_path("tiny-en"), moonshine_voice.ModelArch.TINY, options=options) as model:
        found = ctypes.POINTER(TranscriptC)()
        floats = samples.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        error = model._lib.moonshine_transcribe_without_streaming(model._handle, floats, len(samples), RATE, 0, ctypes.byref(found))
        check_error(error)
        lines = model._parse_transcript(found).lines
    spans = [span for line in lines for span in line.speaker_spans or ()]
    found = [Turn(float(span.start_time), float(span.start_time + span.duration), int(span.speaker_index)) for span in spans]
    return [Turn(turn.start, min(turn.end, end), turn.speaker) for turn in found if turn.start < end]


def _read(path: Path) -> Samples:
    with wave.open(str(path), "rb") as wav:
        return np.frombuffer(wav.readframes(wav.getnframes()), dtype=np.int16).astype(np.float32) / np.float32(32768)


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """The kernel ends this process (SIGXCPU) when the block has taken so much of the processor: nothing else can, inside a library."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    most = int(time.process_time() + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
