"""Sound on one line of time: what is missing of it is silence, and what is there twice is left out.

Films that were cut and joined, and recordings of streams, have both. The published AAC must not go back in time, or its muxer fails, and
what a speech model hears must be as late in its file as it is in the film, or all cues behind a hole are early.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame

#: So far a time may be off, in seconds: many containers round it to a millisecond, and nobody sees lips that are late by less.
ROUNDED = 0.045
#: Longest piece of silence, in seconds: a hole may be as long as a film.
PIECE = 1


class SteadySound:
    """Takes frames of one rate and format, whose times are in samples, and gives them without gaps and overlaps."""

    def __init__(self, rate: int, origin: Fraction) -> None:
        """:param origin: when the film begins, in seconds of the source's own time."""
        self._rate, self._origin = rate, round(origin * rate)
        #: When the next sample is due, in samples of the film.
        self._due: int | None = None

    def take(self, part: AudioFrame) -> Iterator[AudioFrame]:
        """What follows in the film: the frame, or what of it is new, with silence before it if there was nothing."""
        at = self._due or 0 if part.pts is None else part.pts - self._origin
        self._due = at if self._due is None else self._due
        missing = at - self._due
        if missing > ROUNDED * self._rate:
            yield from self._silence(part, missing)
        elif -missing > ROUNDED * self._rate:
            if -missing >= part.samples:
                return
            part = _tail(part, -missing)
        yield self._timed(part)

    def _silence(self, like: AudioFrame, samples: int) -> Iterator[AudioFrame]:
        rows = like.to_ndarray()
        for begin in range(0, samples, PIECE * self._rate):
            nothing = np.zeros((rows.shape[0], min(PIECE * self._rate, samples - begin)), rows.dtype)
            yield self._timed(_frame(nothing, like))

    def _timed(self, part: AudioFrame) -> AudioFrame:
        part.pts, part.time_base = self._due, Fraction(1, self._rate)
        self._due = (self._due or 0) + part.samples
        return part


def _tail(part: AudioFrame, samples: int) -> AudioFrame:
    """The frame without so many of its first samples."""
    return _frame(np.ascontiguousarray(part.to_ndarray()[:, samples:]), part)


def _frame(rows: Any, like: AudioFrame) -> AudioFrame:
    """Of planar samples, or of one channel."""
    made = AudioFrame.from_ndarray(rows, like.format.name, like.layout.name)
    made.sample_rate = like.sample_rate
    return made
