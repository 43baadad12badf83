"""What can be asked of the history besides lists, and what is answered. Knows no database: the API has it without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: Longest time that an evaluation may take, in seconds.
QUERY_SECONDS = 10.0
#: Most days of an evaluation.
MAX_DAYS = 92
#: Most lines of an evaluation, and most jobs of an export.
MAX_LINES, MAX_EXPORT = 2_000, 100_000


class Busy(Exception):
    """Another evaluation of this tenant is going on."""


class TooMany(Exception):
    """The answer would be longer than it may be."""


@dataclass(frozen=True, slots=True)
class Range:
    """Which jobs: those that ended from one moment up to before another (Unix ms)."""

    since_ms: int
    until_ms: int
    tenant_id: str | None = None
    workspace_id: str | None = None
    pipeline: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """Jobs of a tenant and a pipeline that ended on a day (UTC). Times in seconds; None: nothing started."""

    date: str
    tenant_id: str
    pipeline: str
    completed: int
    failed: int
    cancelled: int
    #: From the first start to the end.
    duration_p50_seconds: float | None
    duration_p95_seconds: float | None
    #: From the acceptance to the first start.
    wait_p50_seconds: float | None
    wait_p95_seconds: float | None
    slot_seconds: float
    #: Failed jobs by the code of their error.
    failures: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}
