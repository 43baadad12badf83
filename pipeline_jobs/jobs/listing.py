"""Lists of jobs: which indexes answer the filters, and pages by cursor.

Each index is a sorted set that holds just the jobs of one filter, so a page by one filter costs the same among ten thousand records and
among a million. Of several filters the one with the fewest jobs is walked, and jobs that do not meet the others are passed over, so many a
page at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline_jobs.job import Job
from pipeline_jobs.records import dumps
from pipeline_jobs.states import LIVE, JobStatus
from pipeline_jobs.store.cursors import read_cursor
from pipeline_jobs.store.pages import Page
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import CANARY_TENANT, is_canary, is_canary_pipeline

#: Most records that a page looks at where filters are mixed; it may be short for that. They take some 3 ms, for which others wait.
BUDGET = 1_000


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Filters of a list; times in Unix milliseconds. The platform's own canary is in none that does not name its tenant or pipeline."""

    tenant_id: str | None = None
    workspace_id: str | None = None
    statuses: tuple[JobStatus, ...] = ()
    pipeline: str | None = None
    tag: str | None = None
    batch_id: str | None = None
    #: The code of its error.
    error_code: str | None = None
    #: A text in its id, address, tags, metadata, error, batch or title. Letters A to Z in either case.
    q: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    limit: int = 25
    cursor: str | None = None
    #: The only workspace whose jobs the caller may see. It goes with any filter: others' records are passed over.
    within: str | None = None

    def filters(self) -> dict[str, Any]:
        """Those that are set, by the names that the API has for them."""
        named = {
            "tenant_id": self.tenant_id, "workspace_id": self.workspace_id, "status": list(self.statuses) or None,
            "pipeline": self.pipeline, "tag": self.tag, "batch_id": self.batch_id,
            "error_code": self.error_code, "q": self.q,
            "created_after": self.created_after, "created_before": self.created_before,
        }  # fmt: skip
        return {name: value for name, value in named.items() if value is not None}


#: Those that a job with an error has.
_BROKEN = (JobStatus.FAILED, JobStatus.CANCELLED)
#: A filter and its value, as a script compares it with the record's field of that name.
_Filter = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a script looks at for a query: one of some indexes, between two orders, and of its jobs those that meet all filters."""

    #: The sorted sets of all indexes, one index after the other. An index is the union of its sets.
    keys: tuple[str, ...]
    #: How many sets each index has ('1,5'); the script takes the one with the fewest members. Empty: it is one index.
    sizes: str
    highest: str
    lowest: str
    #: Jobs are passed over that the caller may not see.
    own: bool
    #: A tenant whose jobs are passed over, or empty.
    hidden: str
    #: What no index says by itself, as arguments of a script: statuses, tag, text, code of the error, fields with their values.
    conditions: Mapping[str, Any]

    @property
    def arguments(self) -> dict[str, Any]:
        """What both scripts that look at jobs are called with."""
        return {"highest": self.highest, "lowest": self.lowest, "hidden": self.hidden, "sizes": self.sizes, **self.conditions}


def page(store: Store, query: JobQuery) -> Page[Job]:
    """One page, by one script call. It may be short and still have a next one where records are passed over, or cannot be read.

    :raises InvalidInput: the cursor is not one of ours.
    """
    chosen = select(store, query)
    reply = store.run("list", keys=chosen.keys, limit=query.limit, budget=BUDGET, own=chosen.own, **chosen.arguments)
    return Page.of(reply, Job.from_mapping, kind="job")


@dataclass(frozen=True, slots=True)
class Tally:
    """How many jobs of a list there are by `status`, `error_code`, `batch_id` and `tag` (of tags only a schedule's)."""

    groups: Mapping[str, Mapping[str, int]]
    #: These are the newest; there may be more that were not looked at.
    more: bool
    #: Jobs that were looked at for it.
    looked_at: int = 0
    #: By status all are counted, though.
    all_by_status: bool = False

    def of(self, kind: str) -> Mapping[str, int]:
        """The numbers by value, the largest first."""
        return self.groups.get(kind, {})

    def more_of(self, kind: str) -> bool:
        """There may be more than these numbers say."""
        return self.more and not (self.all_by_status and kind == "status")


def tally(store: Store, query: JobQuery) -> Tally:
    """Count what a list has, by one script call that looks at as many jobs as a page of mixed filters does.

    :raises InvalidInput: the cursor is not one of ours.
    """
    chosen = select(store, query)
    reply = store.run("tally", keys=chosen.keys, budget=BUDGET, **chosen.arguments)
    groups: dict[str, dict[str, int]] = {}
    for kind, value, number in sorted(reply.groups, key=lambda group: (-int(group[2]), group[1])):
        groups.setdefault(kind, {})[value] = int(number)
    if query.filters().keys() <= {"tenant_id"} and query.within is None and query.cursor is None:
        # The indexes know these numbers, however many jobs there are.
        groups["status"] = _sizes(store, query.tenant_id)
        return Tally(groups, bool(reply.more), reply.looked_at, all_by_status=True)
    return Tally(groups, bool(reply.more), reply.looked_at)


def _sizes(store: Store, tenant_id: str | None) -> dict[str, int]:
    if tenant_id is not None:
        indexes: list[tuple[str, ...]] = [("tenant_status", tenant_id, status) for status in JobStatus]
        return dict(zip(JobStatus, store.sizes(indexes), strict=True))
    found = store.sizes(
        [*(("status", status) for status in JobStatus), *(("tenant_status", CANARY_TENANT, status) for status in JobStatus)]
    )
    half = len(JobStatus)
    return {status: max(0, every - canary) for status, every, canary in zip(JobStatus, found[:half], found[half:], strict=True)}


def select(store: Store, query: JobQuery, *, live: bool = False) -> Selection:
    """What to look at for a query. :param live: of these jobs only the queued and running ones.

    :raises InvalidInput: the cursor is not one of ours.
    """
    # Once each: a set that is read twice gives its jobs twice.
    statuses = tuple(dict.fromkeys(query.statuses)) or (tuple(sorted(LIVE)) if live else _BROKEN if query.error_code else ())
    highest, lowest = _range(query)
    indexes = list(_indexes(store, query, statuses))
    # Whichever is walked, this its members have anyway: a list by one filter reads no record that it does not give.
    said = frozenset.intersection(*(says for _, says in indexes))
    left = [one for one in _filters(query, statuses) if one not in said]
    plain = {name: value for name, value in left if name in ("status", "tag")}
    return Selection(
        keys=tuple(key for keys, _ in indexes for key in keys),
        sizes=",".join(str(len(keys)) for keys, _ in indexes) if len(indexes) > 1 else "",
        highest=highest,
        lowest=lowest,
        own=query.within is not None,
        hidden="" if is_canary(query.tenant_id) or is_canary_pipeline(query.pipeline) else CANARY_TENANT,
        conditions={
            "statuses": plain.get("status"),
            "tag": plain.get("tag"),
            # Letters A to Z only, as `string.lower` in the script.
            "text": query.q.encode().lower().decode() if query.q else None,
            "code": f'"code":{dumps(query.error_code)}' if query.error_code else None,
            "fields": [one for one in left if one[0] not in plain],
        },
    )


def _filters(query: JobQuery, statuses: tuple[JobStatus, ...]) -> Iterator[_Filter]:
    """Those that are set."""
    named = (
        ("status", ",".join(statuses)),
        ("tenant_id", query.tenant_id),
        # Both hold: a caller who may see one workspace and asks for another sees nothing.
        ("workspace_id", query.workspace_id),
        ("workspace_id", query.within if query.within != query.workspace_id else None),
        ("pipeline", query.pipeline),
        ("tag", query.tag),
        ("batch_id", query.batch_id),
    )
    return ((name, value) for name, value in named if value)


def _indexes(store: Store, query: JobQuery, statuses: tuple[JobStatus, ...]) -> Iterator[tuple[tuple[str, ...], frozenset[_Filter]]]:
    """Those of the filters, at least one: the sets whose union it is, and what its members have.

    Workspaces, pipelines and tags are a tenant's own: without `tenant_id` no index has them, and the jobs of the statuses are walked.
    """
    tenant, found = query.tenant_id, False
    own = () if tenant is None else (("tenant_id", tenant),)
    for name, value in _filters(query, ()):
        if name == "batch_id":
            found = True
            yield (store.keys("batch_jobs", value),), frozenset({(name, value)})
        elif name != "tenant_id" and tenant is not None:
            found = True
            yield (store.keys(name.removesuffix("_id"), tenant, value),), frozenset({*own, (name, value)})
    if statuses or not found:
        scope = ("status",) if tenant is None else ("tenant_status", tenant)
        says = frozenset({*own, ("status", ",".join(statuses))})
        yield tuple(store.keys(*scope, status) for status in statuses or JobStatus), says


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
