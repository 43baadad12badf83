"""Moves ended jobs into the history. At least once, and the key makes it exactly once: a mover that is killed anywhere has lost nothing."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import structlog

from pipeline_jobs import failpoints
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.store.reader import mapping

if TYPE_CHECKING:
    from pipeline_jobs.history.history import History

#: Jobs of a page, and the most tenants of whom it has some.
PAGE, TENANTS = 500, 25
#: Between two sweeps of what is older than is kept, in seconds.
SWEEP_SECONDS = 3600.0

logger = structlog.get_logger(__name__)


class Mover:
    """A duty of maintenance. It works in a thread of its own: the other duties must not wait for a database."""

    def __init__(self, history: History) -> None:
        self._history, self._store = history, history.store
        self._pid, self._thread = -1, threading.Thread()
        self._swept = float("-inf")

    def run_once(self) -> dict[str, int]:
        """See to it that the thread moves what there is. :return: `{"moving": 1}`"""
        if self._pid != os.getpid() or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="history-mover", daemon=True)
            self._pid = os.getpid()
            self._thread.start()
        return {"moving": 1}

    def _work(self) -> None:
        try:
            self.move()
            if time.monotonic() - self._swept >= SWEEP_SECONDS:
                self._history.sweep()
                self._swept = time.monotonic()
        except StoreUnavailable as error:
            # It has been logged what is away; the next tick tries again.
            logger.warning("ended jobs wait to be moved into the history", seldom=True, reason=error.message)

    def move(self) -> int:
        """Move what waits. :return: how many. :raises StoreUnavailable: the database or the store cannot be asked."""
        total = 0
        while records := self._store.run("history_page", tenants=TENANTS, limit=PAGE):
            page = [mapping(flat) for flat in records.records]
            written = self._history.put(page)
            failpoints.reach("history.before_mark")
            for refused in (False, True):
                orders = [(flat["job_id"], flat["order"]) for flat in page if (flat["job_id"] in written) is not refused]
                # What cannot be moved must not hold up what can.
                total += int(self._store.run("history_moved", refused=refused, orders=orders)) if orders else 0
        self._store.beat("history")
        return total
