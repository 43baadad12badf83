"""Whether jobs that go from pool to pool, or run in parts, may be accepted: not while processes of a version that knows of none live.

Their workers refuse such jobs and never see the hints of other pools. But their reconciler looks for the lease of every running job in the
one pool that it knows, and would take it for lost (docs/decisions/0016-pools.md); and their rescue would list parts as jobs (0018).
"""

from __future__ import annotations

import time

from pipeline_jobs.exceptions import StoreFull
from pipeline_jobs.job import FOR_PARTS
from pipeline_jobs.store import presence
from pipeline_jobs.store.store import Store

#: How long a good answer holds, in seconds; and after how many to try again.
GOOD_SECONDS, RETRY_SECONDS = 5.0, 30
#: Of the processes that change the records of jobs.
_KINDS = ("jobs", "maintenance")


class CellUpgrading(StoreFull):
    """Processes of an earlier version are there, which know of no pools, or of no parts: try again later."""

    code = "cell_upgrading"


class PoolGate:
    """Asks the store, and remembers for a while that all is well."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: By schema.
        self._good_until: dict[int, float] = {}

    def check(self, schema: int) -> None:
        """:param schema: of the jobs. :raises CellUpgrading: names the processes. :raises StoreUnavailable:"""
        now = time.monotonic()
        if now < self._good_until.get(schema, now):
            return
        seen = presence.census(self._store)
        live = presence.live(seen.processes, seen.now)
        earlier = sorted(one.node for one in live if one.about.kind in _KINDS and one.about.schema < schema)
        if earlier:
            names = ", ".join(earlier)
            what = "parts" if schema >= FOR_PARTS else "pools"
            raise CellUpgrading(f"processes of an earlier version know of no {what} ({names}): try again later", retry_after=RETRY_SECONDS)
        self._good_until[schema] = now + GOOD_SECONDS
