"""Requests that wait for a job: how long (`Prefer: wait=n`, RFC 7240), and how many at once."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from pipeline_jobs.cell import Cell
from pipeline_jobs.events.log import MAX_NUMBER, read
from pipeline_jobs.exceptions import StoreUnavailable, UnknownJob
from pipeline_jobs.job import Job
from pipeline_jobs.web.access.caller import Handle
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.server.giving_way import stand_back

#: How often a request that waits for any change of a job looks at it without an event, in seconds: why it waits has none.
CHANGE_INTERVAL = 1.0
#: How often a request that waits looks whether the process is to stop, in seconds. Each look subscribes anew.
STOP_INTERVAL = 2.0
#: Before a client tries again that found every place for long requests taken, in seconds.
BUSY_RETRY_SECONDS = 5

_WAIT = re.compile(r'\s*wait\s*=\s*"?([0-9]{1,9})"?\s*(?:;.*)?', re.IGNORECASE)


def preferred_wait(header: str | None, cap: float) -> float | None:
    """Seconds from the first `wait=n` of a `Prefer` header, at most `cap`; None if there is none.

    A preference that we cannot read is no error (RFC 7240, section 2): it is as if it were not there.
    """
    if header is None:
        return None
    for preference in header.split(","):
        if found := _WAIT.fullmatch(preference):
            return min(float(found[1]), cap)
    return None


class WaitingRoom:
    """Caps the waiting requests of this process, so that some threads are always free for the short ones.

    A tenant may take another place while it has fewer than are free: alone half of them, beside others less, and the next tenant finds
    one (dynamic thresholds, as switches share their buffers). Who finds no place is answered at once with the job as it is; the job
    itself goes on either way.
    """

    def __init__(self, places: int, rests: Callable[[], None]) -> None:
        """:param rests: called by whoever found a place: its thread waits from now on."""
        self._places, self._rests = places, rests
        self._is_stopping: Callable[[], bool] = lambda: False
        self._taken: Counter[str] = Counter()
        self._lock = Lock()

    def stop_when(self, is_stopping: Callable[[], bool]) -> None:
        """Nobody waits any longer as soon as this is true: a stop of the process need not wait for a job that takes minutes."""
        self._is_stopping = is_stopping

    def until_ended(self, handle: Handle, seconds: float) -> Job:
        """The job when it has ended, or as it is after `seconds`, or when the process is to stop. :raises UnknownJob:"""
        deadline = time.monotonic() + seconds
        stand_back()
        while True:
            left = deadline - time.monotonic()
            job = handle.until_ended(max(0.0, min(left, STOP_INTERVAL)))
            if job.ended or left <= STOP_INTERVAL or self._is_stopping():
                return job

    @contextmanager
    def place(self, tenant_id: str) -> Iterator[bool]:
        """True if there was a place for a request of this tenant; it is given back at the end of the block."""
        with self._lock:
            admitted = self._taken[tenant_id] < self._places - self._taken.total()
            self._taken[tenant_id] += admitted
        if admitted:
            self._rests()
        try:
            yield admitted
        finally:
            with self._lock:
                self._taken[tenant_id] -= admitted
                if not self._taken[tenant_id]:
                    del self._taken[tenant_id]

    @contextmanager
    def required(self, tenant_id: str) -> Iterator[None]:
        """A place for a request that makes no sense without one.

        :raises Refused: 429, the tenant has its share of them; 503, all are taken.
        """
        with self.place(tenant_id) as admitted:
            if not admitted:
                status, whose = (429, "the tenant has") if self._taken.total() < self._places else (503, "there are")
                raise Refused(
                    status, "busy", f"{whose} too many long requests in progress", headers={"Retry-After": str(BUSY_RETRY_SECONDS)}
                )
            yield


def wait_for_end(room: WaitingRoom, handle: Handle, job: Job, seconds: float) -> tuple[Job, bool]:
    """The job that was just accepted, after at most `seconds`, and whether we waited.

    The job *is* accepted: when the store goes away meanwhile, or someone deletes the job, we give what we know instead of an error.
    """
    with room.place(job.tenant_id) as admitted:
        if not admitted:
            return job, False
        try:
            return room.until_ended(handle, seconds), True
        except (StoreUnavailable, UnknownJob):
            return job, False


def wait_for_change(handle: Handle, cell: Cell, job: Job, seconds: float, same: Callable[[Job], bool]) -> Job:
    """The job when `same(job)` is false or it has ended, or as it is after `seconds`. It is looked at whenever it has a new event."""
    if job.ended or seconds <= 0 or not same(job):
        return job
    deadline = time.monotonic() + seconds
    stand_back()
    last = read(cell.store, job.job_id, MAX_NUMBER, 1).last
    with cell.events.follow(job.job_id, job.tenant_id, last) as follower:
        # It may have changed before we listened.
        job = handle.record()
        while not job.ended and same(job) and follower.end is None and (left := deadline - time.monotonic()) > 0:
            follower.next(min(left, CHANGE_INTERVAL))
            job = handle.record()
    return job
