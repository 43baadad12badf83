"""Which parts of jobs run, and which ran lately: of a part that has ended there is no record, so its script leaves a row."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline_jobs.store.connection import store_errors
from pipeline_jobs.store.pool_figures import leased
from pipeline_jobs.store.reader import Reader

#: Rows that are kept, about, of all tenants together (`lua/lib/parts.lua`).
MOST_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class Held:
    """A slot that was held by a run. Times are Unix ms."""

    tenant_id: str
    #: The job that ran; of a part the one that it is a part of.
    job_id: str
    begin: int
    #: None: it runs.
    end: int | None


def ended(store: Reader) -> list[Held]:
    """The last runs of parts that have ended, newest first. :raises StoreUnavailable:"""
    (rows,) = store.streams(MOST_ROWS, [("parts_ran",)])
    return [Held(row["tenant"], row["job"], int(row["begin"]), int(row["end"])) for _, row in rows]


def running(store: Reader) -> list[Held]:
    """The parts that run. :raises StoreUnavailable:"""
    parts = [one for one in leased(store) if "~" in one]
    # One that has ended meanwhile has no record.
    found = store.fields_of_each(("tenant_id", "part_of", "started_at"), "job", parts)
    return [Held(tenant_id, job_id, int(begin), None) for tenant_id, job_id, begin in found if tenant_id and job_id and begin]


def forget(store: Reader, tenant_id: str) -> None:
    """Remove a tenant's rows. :raises StoreUnavailable:"""
    key = store.keys("parts_ran")
    with store_errors():
        if theirs := [number for number, row in store.client.xrange(key) if row["tenant"] == tenant_id]:
            store.client.xdel(key, *theirs)
