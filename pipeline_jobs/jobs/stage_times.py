"""How long stages take, for the metrics of the worker that runs them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline_jobs.stage import Parked, Split

StageTook = Callable[[str, str, str, float], None]


def untold(pipeline: str, stage: str, outcome: str, seconds: float) -> None:
    """Nobody counts."""


@contextmanager
def timed(took: StageTook, pipeline: str, stage: str) -> Iterator[None]:
    """Tell how long a stage took, however it ends. That its job waits for a signal, or for its parts, is no error."""
    began, outcome = time.monotonic(), "error"
    try:
        yield
        outcome = "ok"
    except (Parked, Split):
        outcome = "ok"
        raise
    finally:
        took(pipeline, stage, outcome, time.monotonic() - began)
