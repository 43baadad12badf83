"""How a run ended, as whoever started it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Ending(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    #: Went back to the queue for another attempt.
    REQUEUED = "requeued"
    #: The hint was stale, doubled or forged: nothing ran.
    REFUSED = "refused"
    #: Another run has the say: whatever this run did counts for nothing.
    FENCED = "fenced"
    #: The store was away too long: whoever watches over this process hands the job back when the store is there again.
    GAVE_UP = "gave_up"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run."""

    ending: Ending
    #: `StepResult.to_dict()` when completed, or of a large one the reference to it: what Celery hands on.
    result: Mapping[str, Any] | None = None
    #: What to tell: the job's error, or why nothing ran.
    error: str | None = None
