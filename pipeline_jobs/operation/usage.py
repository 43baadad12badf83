"""The usage of a tenant by day, from counters that the transitions update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline_jobs.store.store import Store

#: Waits are counted in steps of a quarter (as in `lua/jobs/claim.lua`): a quantile is off by an eighth at most.
STEP = 1.25
SECONDS_A_DAY = 86_400
#: The counts of jobs of a day: fields of `Day`, and of its record.
COUNTS = ("created", "completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Day:
    """The usage of a tenant on one day in UTC."""

    date: str
    created: int
    completed: int
    failed: int
    cancelled: int
    #: Slots held, times seconds.
    slot_seconds: float
    #: Seconds from acceptance to the first start; None: nothing started.
    wait_p50_seconds: float | None
    wait_p95_seconds: float | None

    @property
    def failure_rate(self) -> float | None:
        """Failed of those that completed or failed; None: there were none."""
        ended = self.completed + self.failed
        return self.failed / ended if ended else None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "failure_rate": self.failure_rate}


def of_tenant(store: Store, tenant_id: str, days: int) -> list[Day]:
    """The last so many days, today first; days without anything are there with zeros."""
    today = datetime.now(UTC)
    dates = [today - timedelta(days=n) for n in range(days)]
    found = store.records("usage_day", [(tenant_id, str(int(date.timestamp() // SECONDS_A_DAY))) for date in dates])
    return [_day(date.date().isoformat(), flat) for date, flat in zip(dates, found, strict=True)]


def _day(date: str, flat: Mapping[str, str]) -> Day:
    waits = sorted((int(name.removeprefix("wait:")), int(count)) for name, count in flat.items() if name.startswith("wait:"))
    return Day(
        date=date,
        **{name: int(flat.get(name, 0)) for name in COUNTS},
        slot_seconds=int(flat.get("slot_ms", 0)) / 1000,
        wait_p50_seconds=_quantile(waits, 0.5),
        wait_p95_seconds=_quantile(waits, 0.95),
    )


def _quantile(waits: list[tuple[int, int]], q: float) -> float | None:
    """The middle of the step in which the quantile lies, in seconds."""
    total = sum(count for _, count in waits)
    seen = 0
    for step, count in waits:
        seen += count
        if seen >= q * total:
            return round(STEP ** (step - 0.5) / 1000, 4) if step else 0.0
    return None
