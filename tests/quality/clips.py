"""The fixed set of clips: what is said, by whom, over what, and where its pauses are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline_jobs.media.sentences import sentences
from pipeline_jobs.media.speakers import Turn
from tests.quality import texts, voices
from tests.quality.voices import RATE, Samples

#: Decibels of noise below speech, and of music.
NOISE, MUSIC = (20, 10, 5), 10
#: Silence between two sentences, in seconds: what is true of a cue's end.
PAUSE = 0.5
#: Seconds of each clip in which nothing is said.
NOTHING = 20
#: Seconds of the long clip, at least: the held-out texts, again and again.
HOUR = 3600

#: A sound, and the begin and the end of each pause between its sentences.
Spoken = tuple[Samples, tuple[tuple[float, float], ...]]


@dataclass(frozen=True)
class Clip:
    name: str
    #: Row of the table.
    kind: str
    #: ISO 639-1; None and "" where nothing is said.
    language: str | None
    said: str
    sound: Samples
    #: Begin and end of each pause between sentences.
    pauses: tuple[tuple[float, float], ...] = ()
    #: Who speaks when, where there are two; empty: one.
    turns: tuple[Turn, ...] = ()


def clean(voice: str, text: str, folder: Path) -> Spoken:
    """Sentence by sentence, with pauses that are known."""
    parts, pauses, at = [], [], 0.0
    for sentence in sentences(text):
        sound = _trimmed(voices.read(voices.say(voice, sentence, folder)))
        parts += [sound, np.zeros(int(PAUSE * RATE), dtype=np.float32)]
        at += len(sound) / RATE
        pauses.append((at, at + PAUSE))
        at += PAUSE
    return np.concatenate(parts), tuple(pauses[:-1])


@dataclass(frozen=True)
class Plan:
    """A clip before it is made: to speak takes its time."""

    name: str
    kind: str
    make: Callable[[], Clip]


def every(folder: Path, *, hour: bool) -> Iterator[Plan]:
    """Those of the table, what matters most first; with the long one or without."""
    yield from _spoken_by("held out", voices.HELD_OUT, texts.HELD_OUT, folder)
    yield from _in_other_languages(folder)
    for name, sound in (("silence", _silence), ("noise", _noise), ("tone", _tone), ("music", _music)):
        yield Plan(name, "nothing said", partial(_nothing, name, sound))
    for pair in voices.PAIRS:
        yield Plan(" and ".join(pair), "two speakers", partial(_dialogue, pair, folder))
    said = " ".join(texts.ENGLISH[name] for name in texts.HELD_OUT)
    speech = partial(clean, voices.HELD_OUT[0], said, folder)
    for level in NOISE:
        yield _plan(f"noise {level} dB", f"noise, {level} dB", "en", said, partial(_under, speech, _noise, level))
    yield _plan("music below", f"music, {MUSIC} dB", "en", said, partial(_under, speech, _music, MUSIC))
    yield from _spoken_by("tuned by", voices.TUNED_BY, texts.TUNED_BY, folder)
    yield from _spoken_by("apart", voices.APART, texts.HELD_OUT, folder)
    if hour:
        yield Plan("1 h", "1 h", partial(_again, said, speech))


def _in_other_languages(folder: Path) -> Iterator[Plan]:
    for language, spoken_by in voices.FOREIGN.items():
        for voice in spoken_by:
            engine, said = voice.partition("-")[0], texts.FOREIGN[language]
            kind = f"language {language}" if engine == "espeak" else f"language {language}, {engine.capitalize()}"
            yield _plan(f"{engine} {language}", kind, language, said, partial(clean, voice, said, folder))


def _spoken_by(kind: str, spoken_by: Sequence[str], names: Sequence[str], folder: Path) -> Iterator[Plan]:
    for voice in spoken_by:
        for name in names:
            yield _plan(f"{voice} {name}", kind, "en", texts.ENGLISH[name], partial(clean, voice, texts.ENGLISH[name], folder))


def _dialogue(pair: tuple[str, str], folder: Path) -> Clip:
    """In turns, with a pause between any two."""
    parts, turns, at = [], [], 0
    for number, text in enumerate(texts.DIALOGUE):
        part = voices.read(voices.say(pair[number % 2], text, folder))
        turns.append(Turn(at / RATE, (at + len(part)) / RATE, number % 2))
        parts += [part, np.zeros(int(PAUSE * RATE), np.float32)]
        at += len(part) + len(parts[-1])
    pauses = tuple((turn.end, turn.end + PAUSE) for turn in turns[:-1])
    return Clip(" and ".join(pair), "two speakers", "en", " ".join(texts.DIALOGUE), np.concatenate(parts), pauses, tuple(turns))


def _nothing(name: str, sound: Callable[[int], Samples]) -> Clip:
    made = sound(NOTHING * RATE)
    return Clip(name, "nothing said", None, "", (made * (0.3 / max(0.3, float(np.abs(made).max())))).astype(np.float32))


def _plan(name: str, kind: str, language: str, said: str, sound: Callable[[], Spoken]) -> Plan:
    return Plan(name, kind, lambda: Clip(name, kind, language, said, *sound()))


def _under(speech: Callable[[], Spoken], other: Callable[[int], Samples], decibels: float) -> Spoken:
    sound, pauses = speech()
    return _over(sound, other(len(sound)), decibels), pauses


def _again(said: str, speech: Callable[[], Spoken]) -> Clip:
    """Until it is an hour long."""
    sound, _ = speech()
    times = math.ceil(HOUR * RATE / len(sound))
    return Clip("1 h", "1 h", "en", " ".join([said] * times), np.tile(sound, times))


def _trimmed(sound: Samples) -> Samples:
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    return sound[loud[0] : loud[-1] + 1] if len(loud) else sound


def _over(sound: Samples, other: Samples, decibels: float) -> Samples:
    """The other sound so many decibels below the first."""
    power = float(np.mean(sound**2)) / float(np.mean(other**2))
    mixed: Samples = (sound + other * np.sqrt(power / 10 ** (decibels / 10))).astype(np.float32)
    return mixed / max(1.0, float(np.abs(mixed).max()))


def _silence(count: int) -> Samples:
    return np.zeros(count, dtype=np.float32)


def _tone(count: int) -> Samples:
    made: Samples = np.sin(np.arange(count) * (2 * np.pi * 440 / RATE)).astype(np.float32)
    return made


def _noise(count: int) -> Samples:
    return np.random.default_rng(16).normal(0, 1, count).astype(np.float32)


def _music(count: int) -> Samples:
    """Chords that change twice a second."""
    at = np.arange(count) / RATE
    root = 220 * 2 ** (np.array([0, 5, 7, 3])[(at * 2).astype(int) % 4] / 12)
    made: Samples = sum((np.sin(2 * np.pi * root * 2 ** (third / 12) * at) for third in (0, 4, 7)), np.zeros(count)).astype(np.float32)
    return made
