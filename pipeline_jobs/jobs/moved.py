"""Changes of a job that no worker reports, for those who watch Celery's events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline_jobs.job import Job


@dataclass(frozen=True, slots=True)
class Moved:
    """A job was moved by somebody else than the worker that has it."""

    job_id: str
    #: `cancelled`, `failed` or `queued`; what the rescue knows besides has no event.
    became: str
    #: It was running.
    ran: bool = False
    #: Its record, where the watchers may not have heard of the job yet.
    job: Job | None = None


#: Is told of each.
Say = Callable[[Moved], None]


def quiet(moved: Moved) -> None:
    """Nobody watches."""
