"""Wait for an event, with a limit: never for a length of time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal, TypeVar

T = TypeVar("T")
_never = threading.Event()
#: Seconds from look to look, at first and after some seconds: most looks ask a server, and what is looked at works meanwhile.
PAUSE, LONGEST_PAUSE = 0.05, 0.2
#: Seconds: a pause that took longer than this was a machine, or a process, that stood still.
STILL = 1.0


def until(condition: Callable[..., T | Literal[False] | None], what: str = "", seconds: float = 60) -> T:
    """The first true value of `condition`; fails with its last value after so many seconds (generous: machines are shared).

    :param condition: called with nothing: the defaults of a lambda bind a loop's variables.
    """
    start = time.monotonic()
    deadline = start + seconds
    while True:
        # It fails by a look that began after the limit: this process may have stood still since the look before.
        began = time.monotonic()
        value = condition()
        if value:
            return value
        if began > deadline:
            raise AssertionError(f"waited {seconds} s for {what or condition}; last: {value!r}")
        before = time.monotonic()
        # What takes long may be seen later by a twentieth of that.
        _never.wait(min(max(PAUSE, (before - start) / 20), LONGEST_PAUSE))
        # Nobody waits while all stands still, and others that stood still as well have as long as before.
        deadline += max(0.0, time.monotonic() - before - STILL)
