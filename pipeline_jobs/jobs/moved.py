"""Changes of a job that no worker reports, for those who watch Celery's events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Labelled(Protocol):
    """Of a job, or of what a cancel replied of one."""

    @property
    def tenant_id(self) -> str: ...

    @property
    def workspace_id(self) -> str: ...

    @property
    def pipeline(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Moved:
    """A job was moved by somebody else than the worker that has it."""

    job_id: str
    #: `cancelled`, `failed` or `queued`; what the rescue knows besides has no event.
    became: str
    #: It was running.
    ran: bool = False
    #: Whose it is, where the watchers may not have heard of the job yet.
    job: Labelled | None = None


#: Is told of each.
Say = Callable[[Moved], None]


def quiet(moved: Moved) -> None:
    """Nobody watches."""
