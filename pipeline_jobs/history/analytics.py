"""Evaluations of the history: each is one query over the rows themselves, so a recount of the rows gives the same.

Quantiles are of the nearest rank: of 20 jobs, p95 is the 19th duration in order.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select

from pipeline_jobs.history.database import Database
from pipeline_jobs.history.queries import MAX_EXPORT, MAX_LINES, QUERY_SECONDS, Line, Range, TooMany
from pipeline_jobs.history.tables import JOBS
from pipeline_jobs.records import rfc3339

_DAY_MS = 86_400_000
_DAY = (JOBS.c.ended_ms // _DAY_MS).label("day")
_GROUP = (_DAY, JOBS.c.tenant_id, JOBS.c.pipeline)
_STATUSES = ("completed", "failed", "cancelled")
#: Columns of the export; those that end with `_at` are times.
COLUMNS = (
    "job_id", "tenant_id", "workspace_id", "pipeline", "status", "error_code", "created_at", "started_at", "ended_at", "wait_seconds",
    "duration_seconds", "slot_seconds", "attempts", "crashes", "batch_id",
)  # fmt: skip
#: What is read for it: not the records, each of which has a result.
_EXPORTED = tuple(column for column in JOBS.columns if column.name != "record")
#: With these a spreadsheet takes a text for a formula.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")
#: Rows of the export that are read at once.
_CHUNK = 1_000


def lines(database: Database, cell: str, asked: Range) -> list[Line]:
    """Of each day, tenant and pipeline a line, in this order.

    :raises TooMany: there are more than `MAX_LINES`. :raises StoreUnavailable: also: it took longer than `QUERY_SECONDS`.
    """
    ranked = _ranked(cell, asked)
    columns = ranked.c
    found = (
        select(
            columns.day, columns.tenant_id, columns.pipeline,
            *(func.sum(case((columns.status == status, 1), else_=0)) for status in _STATUSES),
            *(_quantile(columns, name, percent) for name in ("run", "wait") for percent in (50, 95)),
            func.coalesce(func.sum(columns.slot_ms), 0),
        )
        .group_by(columns.day, columns.tenant_id, columns.pipeline)
        .order_by(columns.day, columns.tenant_id, columns.pipeline)
        .limit(MAX_LINES + 1)
    )  # fmt: skip
    failed = select(*_GROUP, JOBS.c.error_code, func.count()).where(*_within(cell, asked), JOBS.c.status == "failed")
    with database.reading(QUERY_SECONDS) as connection:
        rows = connection.execute(found).all()
        if len(rows) > MAX_LINES:
            raise TooMany
        failures = connection.execute(failed.group_by(*_GROUP, JOBS.c.error_code)).all()
    by_group: dict[tuple[Any, ...], dict[str, int]] = defaultdict(dict)
    for day, tenant_id, pipeline, code, n in failures:
        by_group[day, tenant_id, pipeline][code or "unknown"] = n
    return [_line(one, dict(sorted(by_group[tuple(one[:3])].items()))) for one in rows]


def _ranked(cell: str, asked: Range) -> Any:
    """The jobs, each with its place in its group by duration and by wait; those that never started come last and have none."""
    ranks = []
    for name in ("run", "wait"):
        column = JOBS.c[f"{name}_ms"]
        ranks.append(func.row_number().over(partition_by=_GROUP, order_by=(column.is_(None), column)).label(f"{name}_rank"))
        ranks.append(func.count(column).over(partition_by=_GROUP).label(f"{name}_number"))
    return select(*_GROUP, JOBS.c.status, JOBS.c.run_ms, JOBS.c.wait_ms, JOBS.c.slot_ms, *ranks).where(*_within(cell, asked)).subquery()


def _quantile(columns: Any, name: str, percent: int) -> ColumnElement[Any]:
    rank, number, value = columns[f"{name}_rank"], columns[f"{name}_number"], columns[f"{name}_ms"]
    return func.max(case((rank == (number * percent + 99) // 100, value)))


def _within(cell: str, asked: Range) -> Iterator[ColumnElement[bool]]:
    yield from (JOBS.c.cell == cell, JOBS.c.ended_ms >= asked.since_ms, JOBS.c.ended_ms < asked.until_ms)
    for name in ("tenant_id", "workspace_id", "pipeline"):
        if (value := getattr(asked, name)) is not None:
            yield JOBS.c[name] == value


def _line(row: Any, failures: dict[str, int]) -> Line:
    day, tenant_id, pipeline, completed, failed, cancelled, *quantiles, slot_ms = row
    run_50, run_95, wait_50, wait_95 = (None if value is None else int(value) / 1000 for value in quantiles)
    return Line(
        date=datetime.fromtimestamp(int(day) * 86_400, UTC).date().isoformat(),
        tenant_id=tenant_id,
        pipeline=pipeline,
        completed=int(completed),
        failed=int(failed),
        cancelled=int(cancelled),
        duration_p50_seconds=run_50,
        duration_p95_seconds=run_95,
        wait_p50_seconds=wait_50,
        wait_p95_seconds=wait_95,
        # PostgreSQL gives sums as Decimal.
        slot_seconds=int(slot_ms) / 1000,
        failures=failures,
    )


def export(database: Database, cell: str, asked: Range) -> Iterator[str]:
    """Jobs as CSV (RFC 4180), in the order in which they ended; it is read as it is sent.

    :raises TooMany: there are more than `MAX_EXPORT`.
    """
    some = select(JOBS.c.job_id).where(*_within(cell, asked)).limit(MAX_EXPORT + 1).subquery()
    with database.reading(QUERY_SECONDS) as connection:
        if connection.execute(select(func.count()).select_from(some)).scalar_one() > MAX_EXPORT:
            raise TooMany
    return _text(database, cell, asked)


def _text(database: Database, cell: str, asked: Range) -> Iterator[str]:
    yield _csv([COLUMNS])
    last: tuple[int, int] = (asked.since_ms, -1)
    for _ in range(MAX_EXPORT // _CHUNK + 1):
        after = or_(JOBS.c.ended_ms > last[0], and_(JOBS.c.ended_ms == last[0], JOBS.c.ord > last[1]))
        chunk = select(*_EXPORTED).where(*_within(cell, asked), JOBS.c.ended_ms >= last[0], after)
        with database.reading(QUERY_SECONDS) as connection:
            rows = connection.execute(chunk.order_by(JOBS.c.ended_ms, JOBS.c.ord).limit(_CHUNK)).mappings().all()
        if not rows:
            return
        yield _csv([[_cell(_value(one, name)) for name in COLUMNS] for one in rows])
        last = rows[-1]["ended_ms"], rows[-1]["ord"]


def _value(row: Any, name: str) -> Any:
    kind, _, unit = name.rpartition("_")
    if unit == "at":
        return rfc3339(row[f"{kind}_ms"])
    if unit == "seconds":
        value = row[f"{'run' if kind == 'duration' else kind}_ms"]
        return None if value is None else value / 1000
    return row[name]


def _cell(value: Any) -> Any:
    """A text with which a spreadsheet would reckon is quoted by an apostrophe (OWASP, "CSV injection")."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


def _csv(rows: Any) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
