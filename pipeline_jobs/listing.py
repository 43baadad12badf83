"""Lists of jobs: which filters go together, which index answers them, and pages by cursor.

Each index is a sorted set that holds just the jobs of one filter, so a page costs the same among ten thousand records and among a million.
What would need a scan is refused: there is no history database behind this.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from pipeline_jobs.exceptions import FiltersNotMixed, InvalidInput
from pipeline_jobs.job import Job
from pipeline_jobs.states import LIVE, JobStatus
from pipeline_jobs.store import Store

#: Orders are microseconds that a double holds exactly.
MAX_ORDER = 2**53 - 1
#: Most records that a page looks at; only a key of one workspace, or a filter by status within a batch, passes records over.
BUDGET = 2_000
RULE = (
    "filters that can be asked for together: tenant_id with one of workspace_id, status, pipeline and tag; batch_id with status; "
    "status alone; and created_after and created_before with each of these"
)


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Filters of a list; times in Unix milliseconds."""

    tenant_id: str | None = None
    workspace_id: str | None = None
    statuses: tuple[JobStatus, ...] = ()
    pipeline: str | None = None
    tag: str | None = None
    batch_id: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    limit: int = 25
    cursor: str | None = None
    #: The only workspace whose jobs the caller may see. It goes with any filter: others' records are passed over.
    within: str | None = None


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs, newest first, and the cursor of the next page (None: the end)."""

    jobs: tuple[Job, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Selection:
    """What a script looks at for a query: the union of some indexes, between two orders."""

    indexes: tuple[str, ...]
    highest: str
    lowest: str
    #: What the indexes do not say: of the records only those with one of these statuses, this tenant, this workspace.
    statuses: str
    tenant_id: str
    workspace_id: str

    @property
    def filters(self) -> tuple[str, str, str]:
        return self.statuses, self.tenant_id, self.workspace_id


def page(store: Store, query: JobQuery) -> JobPage:
    """One page, by one script call. It may be short and still have a next one where records are passed over.

    :raises FiltersNotMixed: no index answers these filters together.
    :raises InvalidInput: the cursor is not one of ours.
    """
    chosen = select(store, query)
    following, *records = store.run_on("list", chosen.indexes, chosen.highest, chosen.lowest, query.limit, BUDGET, *chosen.filters)
    jobs = tuple(Job.from_mapping(dict(zip(flat[::2], flat[1::2], strict=True))) for flat in records)
    return JobPage(jobs, write_cursor(int(following)) if following else None)


def select(store: Store, query: JobQuery, *, live: bool = False) -> Selection:
    """The indexes for a query. :param live: of these jobs only the queued and running ones.

    :raises FiltersNotMixed:
    :raises InvalidInput: the cursor is not one of ours.
    """
    indexes = _indexes(store, query, live)
    by_status = indexes is None
    wanted = query.statuses or (tuple(sorted(LIVE)) if live else ())
    if indexes is None:
        statuses = wanted or tuple(JobStatus)
        if query.tenant_id is None:
            indexes = tuple(store.keys("status", status) for status in statuses)
        else:
            indexes = tuple(store.keys("tenant_status", query.tenant_id, status) for status in statuses)
    return Selection(
        indexes,
        *_range(query),
        statuses="" if by_status else ",".join(wanted),
        tenant_id=(query.tenant_id or "") if query.batch_id else "",
        workspace_id=query.within or "",
    )


def _indexes(store: Store, query: JobQuery, live: bool) -> tuple[str, ...] | None:
    """The one index of the filter, or None: those of the statuses."""
    workspace = query.workspace_id if query.workspace_id != query.within else None
    named = [name for name, value in (("workspace", workspace), ("pipeline", query.pipeline), ("tag", query.tag)) if value]
    if query.batch_id:
        if named:
            raise FiltersNotMixed(f"batch_id cannot be combined with {named[0]}: {RULE}")
        return (store.keys("batch_jobs", query.batch_id),)
    if len(named) + bool(query.statuses) > 1 or (named and query.tenant_id is None):
        raise FiltersNotMixed(RULE)
    if not named and query.within and not query.statuses and query.tenant_id:
        return (store.keys("workspace", query.tenant_id, query.within),)
    if not named:
        return None
    assert query.tenant_id is not None
    value = {"workspace": workspace, "pipeline": query.pipeline, "tag": query.tag}[named[0]]
    return (store.keys(named[0], query.tenant_id, str(value)),)


def _range(query: JobQuery) -> tuple[str, str]:
    """The highest and the lowest order. A page goes down from its cursor; orders are microseconds."""
    highest, lowest = "+inf", "-inf"
    after = read_cursor(query.cursor)
    before = None if query.created_before is None else query.created_before * 1000
    ends = [order for order in (after, before) if order is not None]
    if ends:
        highest = f"({min(ends)}"
    if query.created_after is not None:
        lowest = str(query.created_after * 1000)
    return highest, lowest


def write_cursor(order: int) -> str:
    return base64.urlsafe_b64encode(order.to_bytes(8, "big")).decode().rstrip("=")


def read_cursor(cursor: str | None) -> int | None:
    """:raises InvalidInput: it is not one of ours."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=", altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    order = int.from_bytes(raw, "big")
    if len(raw) != 8 or order > MAX_ORDER:
        raise InvalidInput("cursor is not one that a list gave", field="cursor")
    return order
