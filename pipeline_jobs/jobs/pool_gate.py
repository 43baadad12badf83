"""Whether jobs that go from pool to pool may be accepted: not while processes of a version that knows of no pools are there.

Their workers refuse such jobs and never see the hints of other pools. But their reconciler looks for the lease of every running job in the
one pool that it knows, and would take it for lost (docs/decisions/0016-pools.md).
"""

from __future__ import annotations

import time

from pipeline_jobs.exceptions import StoreFull
from pipeline_jobs.store import presence
from pipeline_jobs.store.store import Store

#: The first version of records that knows of pools.
KNOWS_POOLS = 4
#: How long a good answer holds, in seconds; and after how many to try again.
GOOD_SECONDS, RETRY_SECONDS = 5.0, 30
#: Of the processes that change the records of jobs.
_KINDS = ("jobs", "maintenance")


class CellUpgrading(StoreFull):
    """Processes of an earlier version are there, which know of no pools: try again later."""

    code = "cell_upgrading"


class PoolGate:
    """Asks the store, and remembers for a while that all is well."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._good_until = float("-inf")

    def check(self) -> None:
        """:raises CellUpgrading: names the processes. :raises StoreUnavailable:"""
        now = time.monotonic()
        if now < self._good_until:
            return
        seen = presence.census(self._store)
        live = presence.live(seen.processes, seen.now)
        earlier = sorted(one.node for one in live if one.about.kind in _KINDS and one.about.schema < KNOWS_POOLS)
        if earlier:
            names = ", ".join(earlier)
            raise CellUpgrading(f"processes of an earlier version know of no pools ({names}): try again later", retry_after=RETRY_SECONDS)
        self._good_until = now + GOOD_SECONDS
