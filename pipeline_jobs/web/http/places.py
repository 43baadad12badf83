"""How many event streams are open at once, in a process and of a tenant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from threading import Lock

from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.processes import Processes

#: Before a client asks again that found every place for a stream taken, in seconds.
BUSY_RETRY_SECONDS = 5


class Places:
    """Caps the streams of this process, each of which holds a thread, and those of a tenant: one must not take the others' places."""

    def __init__(self, rests: Callable[[], None], most: int, most_of_tenant: int, processes: Processes) -> None:
        """
        :param rests: called by whoever takes a place: its thread waits from now on.
        :param most_of_tenant: over all API processes.
        """
        self._rests = rests
        self._processes = processes
        self._most, self._most_of_tenant = most, most_of_tenant
        self._taken: Counter[str] = Counter()
        self._lock = Lock()

    def take(self, tenant_id: str) -> ExitStack:
        """A place for a stream of this tenant's events, given back when it is closed. Closed twice it gives one back.

        :raises Refused: 503, all are taken; 429, the tenant has as many as it may.
        """
        with self._lock:
            if self._taken.total() >= self._most:
                raise _refused(503, "this process has the maximum number of open streams")
            if self._taken[tenant_id] >= self._processes.share(self._most_of_tenant):
                raise _refused(429, "the tenant has the maximum number of open streams")
            self._taken[tenant_id] += 1
        self._rests()
        place = ExitStack()
        place.callback(self._give_back, tenant_id)
        return place

    def _give_back(self, tenant_id: str) -> None:
        with self._lock:
            self._taken[tenant_id] -= 1
            if not self._taken[tenant_id]:
                del self._taken[tenant_id]


def _refused(status: int, why: str) -> Refused:
    return Refused(status, "too_many_streams", why, headers={"Retry-After": str(BUSY_RETRY_SECONDS)})
