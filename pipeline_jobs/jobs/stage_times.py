"""How long stages take, for the metrics of the worker that runs them."""

from __future__ import annotations

import time
from collections.abc import Callable

from pipeline_jobs.stage import Parked, Split

StageTook = Callable[[str, str, str, float], None]


def untold(pipeline: str, stage: str, outcome: str, seconds: float) -> None:
    """Nobody counts."""


class Timed:
    """Tells how long the block, a stage, took, however it ends. That its job waits for a signal, or for its parts, is no error."""

    def __init__(self, took: StageTook, pipeline: str, stage: str) -> None:
        self._took, self._pipeline, self._stage = took, pipeline, stage

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        outcome = "ok" if kind is None or issubclass(kind, Parked | Split) else "error"
        self._took(self._pipeline, self._stage, outcome, time.monotonic() - self._began)
