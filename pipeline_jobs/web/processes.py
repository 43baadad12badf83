"""How many API processes there are: a limit that each of them counts by itself is divided by their number."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import structlog

from pipeline_jobs.exceptions import StoreFull, StoreUnavailable
from pipeline_jobs.store import presence
from pipeline_jobs.store.store import Store

#: How often a process announces itself, and how long that holds, in seconds.
ANNOUNCE_SECONDS, LIFE_SECONDS = 5.0, 15.0

logger = structlog.get_logger("pipeline_jobs.web")


class Processes:
    """Those that are announced; 1 until this one has announced itself. While the store is away the last number holds."""

    def __init__(self, store: Store, name: str = "") -> None:
        """:param name: of this process; drawn if not given."""
        self._store, self._name = store, name or os.urandom(8).hex()
        self.count = 1

    def share(self, most: int) -> int:
        """This process's part of a limit for all of them; at least 1."""
        return -(-most // self.count)

    def announce(self) -> None:
        """:raises StoreUnavailable:"""
        self.count = max(1, self._store.announce_api(self._name, round(LIFE_SECONDS * 1000)))

    def keep_announced(self, goes_on: Callable[[], bool]) -> None:
        """Announce this process as long as it goes on."""
        while goes_on():
            try:
                self.announce()
                if not goes_on():
                    # It has left meanwhile.
                    presence.leave(self._store, self._name)
            except (StoreUnavailable, StoreFull) as error:
                logger.info("api_not_announced", seldom=True, error=str(error))
            time.sleep(ANNOUNCE_SECONDS)
