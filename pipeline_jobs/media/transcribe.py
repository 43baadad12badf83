"""Stage `transcribe`: the speech as text with times, in pieces that end in pauses."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import BadParameters
from pipeline_jobs.media import speech
from pipeline_jobs.media.speech import Phrase, Samples

#: A piece's length in seconds. One piece is what a cancel may have to wait for, and what a step of the progress is.
SHORTEST, LONGEST = 4.0, 12.0
#: The quietest stretch of this many seconds is where a piece ends.
PAUSE = 0.3
#: Below this (of 1.0, root mean square of the loudest pause length) a piece is silence: models invent words there.
SILENCE = 0.001


def run(context: JobContext) -> dict[str, Any]:
    """Needs `speech`, `speech_start`, params `language` and `speech_model`; gives the words.

    :return: `{"transcript": str, "segments": [{"start": 0.0, "end": 2.4, "text": "..."}], "speech_model": name}`: times in
        seconds of the film. Silence gives "" and [].
    :raises BadParameters: the model is not installed, or does not know the language.
    """
    language = context.params.get("language", "auto")
    engine = speech.load(speech.choose(context.params.get("speech_model", "auto")))
    if engine.languages is not None and language != "auto" and language not in engine.languages:
        known = ", ".join(sorted(engine.languages))
        raise BadParameters(f"params.language: the speech model {engine.name} knows only: {known}")
    context.progress(0.0, "transcribing")
    path, offset = context.workdir / context.data["speech"], context.data["speech_start"]
    phrases: list[Phrase] = []
    for start, samples, fraction in pieces(path):
        if not is_silent(samples):
            found = engine.transcribe(samples, None if language == "auto" else language)
            phrases += [Phrase(p.start + start + offset, p.end + start + offset, p.text) for p in found]
        context.progress(fraction, "transcribing")
    return {
        "transcript": " ".join(phrase.text for phrase in phrases),
        "segments": [{"start": round(p.start, 2), "end": round(p.end, 2), "text": p.text} for p in phrases],
        "speech_model": engine.name,
    }


def pieces(path: Path) -> Iterator[tuple[float, Samples, float]]:
    """The sound of a 16 kHz mono WAV in pieces of `SHORTEST` to `LONGEST` seconds: start, samples, fraction done by then."""
    longest = int(LONGEST * speech.RATE)
    with wave.open(str(path), "rb") as wav:
        whole = wav.getnframes()
        rest: Samples = np.zeros(0, dtype=np.float32)
        start = 0
        while True:
            more = wav.readframes(longest - len(rest))
            rest = np.concatenate([rest, np.frombuffer(more, dtype=np.int16).astype(np.float32) / 32768])
            if len(rest) == 0:
                return
            end = len(rest) if len(rest) < longest else pause_in(rest)
            yield start / speech.RATE, rest[:end], (start + end) / whole
            start, rest = start + end, rest[end:]


def pause_in(samples: Samples) -> int:
    """Where to cut: the middle of the quietest stretch after `SHORTEST` seconds, the later of two that are alike."""
    loudness = _loudness(samples)
    first = int(SHORTEST / _HOP)
    candidates = loudness[first:]
    quiet = np.flatnonzero(candidates <= candidates.min() * 1.1)
    return int((first + quiet[-1] + PAUSE / _HOP / 2) * _HOP * speech.RATE)


def is_silent(samples: Samples) -> bool:
    return len(samples) == 0 or bool(_loudness(samples).max() < SILENCE)


#: Resolution of the loudness, in seconds.
_HOP = 0.02


def _loudness(samples: Samples) -> Samples:
    """Root mean square over `PAUSE` seconds from each multiple of `_HOP` on; at least one value."""
    hop = int(_HOP * speech.RATE)
    count = max(1, -(-len(samples) // hop))
    padded = np.zeros(count * hop, dtype=np.float32)
    padded[: len(samples)] = samples
    energy = (padded.reshape(count, hop) ** 2).mean(axis=1)
    window = min(int(PAUSE / _HOP), count)
    return np.sqrt(np.convolve(energy, np.ones(window) / window, mode="valid")).astype(np.float32)
