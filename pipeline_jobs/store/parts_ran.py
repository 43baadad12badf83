"""Which parts of jobs run, and which ran lately: of a part that has ended there is no record, so its script leaves a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from pipeline_jobs.store.connection import store_errors
from pipeline_jobs.store.pool_figures import leased
from pipeline_jobs.store.reader import Reader

#: Rows that are kept of a tenant, about, for an hour after the last one (`lua/lib/parts.lua`).
MOST_OF_TENANT = 500
#: Rows that are read, and of how many tenants, those whose parts ended last: each has the same share of the rows.
MOST_ROWS, MOST_TENANTS = 2_000, 100


@dataclass(frozen=True, slots=True)
class Held:
    """A slot that was held by a run. Times are Unix ms."""

    tenant_id: str
    #: The job that ran; of a part the one that it is a part of.
    job_id: str
    begin: int
    #: None: it runs.
    end: int | None


def ended(store: Reader, since: int = 0) -> tuple[list[Held], bool]:
    """The last runs of parts that have ended, each tenant's newest first; and whether there may have been others since then (Unix ms).

    :raises StoreUnavailable:
    """
    tenants = [*store.top(MOST_TENANTS + 1, "parts_ran_tenants")]
    read = tenants[:MOST_TENANTS]
    share = min(MOST_OF_TENANT, MOST_ROWS // max(1, len(read)))
    streams = store.streams(share, [("parts_ran", tenant) for tenant in read])
    found = [[_held(tenant, row) for _, row in rows] for tenant, rows in zip(read, streams, strict=True)]
    more = len(tenants) > len(read) or any(len(rows) == share and (rows[-1].end or 0) > since for rows in found)
    return list(chain.from_iterable(found)), more


def _held(tenant_id: str, row: Mapping[str, str]) -> Held:
    return Held(tenant_id, row["job"], int(row["begin"]), int(row["end"]))


def running(store: Reader) -> list[Held]:
    """The parts that run. :raises StoreUnavailable:"""
    parts = [one for one in leased(store) if "~" in one]
    # One that has ended meanwhile has no record.
    found = store.fields_of_each(("tenant_id", "part_of", "started_at"), "job", parts)
    return [Held(tenant_id, job_id, int(begin), None) for tenant_id, job_id, begin in found if tenant_id and job_id and begin]


def forget(store: Reader, tenant_id: str) -> None:
    """Remove a tenant's rows. :raises StoreUnavailable:"""
    with store_errors():
        store.client.delete(store.keys("parts_ran", tenant_id))
        store.client.zrem(store.keys("parts_ran_tenants"), tenant_id)
