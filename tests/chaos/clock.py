"""The clock of the server, which a run may step while the server works (libfaketime, in Debian's package `faketime`)."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

LIBRARY = next((path for path in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1") if sys.platform == "linux"), None)
MISSING = "CLOCK STEPS ARE LEFT OUT: libfaketime is not installed (Debian: apt install faketime)"

#: Steps that are drawn, in seconds: a bad NTP server, a wrong time zone, a clock of half a day ago.
STEPS = (90.0, -90.0, 3600.0, -3600.0, 13 * 3600.0, -13 * 3600.0)
#: How far apart the times are that the clock shows at most, in seconds: what is kept for a day (keys, Celery's results) must not run out in
#: a run, whose last step is past all that was shown.
WIDEST = 23 * 3600.0
#: Between two times of which it must be certain before which step they were read, in seconds: faults come a little late.
MARGIN_SECONDS = 30.0
#: How long a run may go on after its last planned moment, in seconds.
AFTERWARDS_SECONDS = 1800.0


class Clock:
    """What the server takes for the time, and what time it really was when it said so."""

    def __init__(self, folder: Path) -> None:
        #: What the library reads: by how much it is ahead.
        self.file = folder / "clock"
        #: (since when, in Unix seconds; by how much the server's clock is ahead, in seconds).
        self.epochs: list[tuple[float, float]] = []
        self.step_to(0)

    @property
    def environment(self) -> Mapping[str, str]:
        """For the server. Its monotonic clock is left alone: that one no step moves."""
        if LIBRARY is None:
            return {}
        return {
            "LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
        }  # fmt: skip

    def step_to(self, offset: float) -> None:
        """From now on the clock is so many seconds ahead of the real time."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{offset:+.0f}")
        # In one piece: the server reads it at each look at its clock.
        os.replace(new, self.file)
        self.epochs.append((time.time(), offset))

    def step_past_all(self) -> None:
        """Where it was never yet: whatever waits for a moment of this clock has reached it."""
        if self.epochs[-1][1] < (highest := max(offset for _, offset in self.epochs)):
            self.step_to(highest + MARGIN_SECONDS)

    def real(self, ms: float) -> float:
        """:param ms: what the server took for the time, in Unix milliseconds. :return: what time it was, in Unix seconds."""
        return real(self.epochs, ms)


def real(epochs: Sequence[tuple[float, float]], ms: float) -> float:
    """The moment at which the clock showed so much; plans are made so that there is one only (`offsets`)."""
    seconds = ms / 1000
    ends = [begin for begin, _ in epochs[1:]] + [float("inf")]
    # What was read a little before a step may be told a little after it; what fits none is nearest to the last.
    fits = [seconds - ahead for (begin, ahead), end in zip(epochs, ends, strict=True) if begin - 0.1 <= seconds - ahead <= end + 0.1]
    return fits[0] if fits else seconds - epochs[-1][1]


def offsets(rng: random.Random, moments: Sequence[float], end: float) -> list[float]:
    """How far ahead the clock is from each moment on, in seconds, so that it shows no time twice.

    :param moments: seconds after the start, in their order; `end`: of the run.
    """
    ahead = [0.0]
    times = [0.0, *moments, end + AFTERWARDS_SECONDS]
    for number in range(1, len(moments) + 1):
        shown = [(times[i] + ahead[i] - MARGIN_SECONDS, times[i + 1] + ahead[i] + MARGIN_SECONDS) for i in range(number)]
        new = (times[number], times[number + 1])
        possible = [to for to in (ahead[-1] + step for step in STEPS) if max(*ahead, to) - min(*ahead, to) <= WIDEST]
        fresh = [offset for offset in possible if all(new[1] + offset < a or b < new[0] + offset for a, b in shown)]
        ahead.append(rng.choice(fresh) if fresh else max(ahead) + 2 * MARGIN_SECONDS + 1)
    return ahead[1:]
