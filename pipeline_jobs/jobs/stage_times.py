"""How long stages take, for the metrics of the worker that runs them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

StageTook = Callable[[str, str, str, float], None]


def untold(pipeline: str, stage: str, outcome: str, seconds: float) -> None:
    """Nobody counts."""


@contextmanager
def timed(took: StageTook, pipeline: str, stage: str) -> Iterator[None]:
    """Tell how long a stage took, however it ends."""
    began, outcome = time.monotonic(), "error"
    try:
        yield
        outcome = "ok"
    finally:
        took(pipeline, stage, outcome, time.monotonic() - began)
