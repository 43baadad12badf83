"""Wait for an event, with a limit: never for a length of time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal, TypeVar

T = TypeVar("T")
_never = threading.Event()


def until(condition: Callable[..., T | Literal[False] | None], what: str = "", seconds: float = 60) -> T:
    """The first true value of `condition`; fails with its last value after so many seconds (generous: machines are shared).

    :param condition: called with nothing: the defaults of a lambda bind a loop's variables.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what or condition}; last: {value!r}")
        _never.wait(0.05)
