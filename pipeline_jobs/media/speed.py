"""Gives up on a source that is too slow: a trickle passes the timeout of each read and would hold a slot for ever."""

from __future__ import annotations

import time

from pipeline_jobs.exceptions import SourceTooSlow

#: A source must bring so many bytes in each window of so many seconds.
SLOW_SECONDS, SLOW_BYTES = 60.0, 60 * 1024
#: Bytes a second that a source must bring on the whole, after its first `SLOW_SECONDS`: half a megabit.
#: So a fetch takes no longer than its size at this speed, whatever the source does meanwhile.
FLOOR = 64 * 1024


class Speed:
    """Counts what comes, over all tries of a download."""

    def __init__(self, host: str, first_seconds: float = 0.0) -> None:
        """:param first_seconds: before the first window begins, for what must be found out before anything comes."""
        self._host = host
        self._began = self._window = time.monotonic() + first_seconds
        self._before = 0
        #: Bytes so far.
        self.came = 0

    def check(self) -> None:
        """:raises SourceTooSlow:"""
        now = time.monotonic()
        if now - self._began > SLOW_SECONDS + self.came / FLOOR:
            raise SourceTooSlow(f"{self._host} sends fewer than {FLOOR} bytes a second")
        if now - self._window < SLOW_SECONDS:
            return
        if self.came - self._before < SLOW_BYTES:
            raise SourceTooSlow(f"{self._host} sends fewer than {SLOW_BYTES} bytes in {SLOW_SECONDS:g} s")
        self._window, self._before = now, self.came
