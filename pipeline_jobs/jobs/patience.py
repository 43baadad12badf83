"""What a run does while a store is away, and how a job is handed back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.jobs.outcome import Ending, Outcome
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import Store

logger = structlog.get_logger(__name__)

T = TypeVar("T")

#: How long a claim or a finish is repeated while the store is away, in seconds, and the writing of a result while the artifact store is.
#: After that the worker hands the job back.
FINISH_PATIENCE = 120.0


def patiently(call: Callable[[], T], away: type[Exception] = StoreUnavailable) -> T:
    """Repeat a call while the store (or the artifact store) is away: what was done would have to be done again.

    :raises away: it was for `FINISH_PATIENCE`.
    """
    deadline = time.monotonic() + FINISH_PATIENCE
    pause = 0.1
    while True:
        try:
            return call()
        except away as error:
            if time.monotonic() >= deadline:
                raise
            logger.warning("the store is unavailable, will try again", seldom=True, pause_seconds=pause, error=str(error))
            time.sleep(pause)
            pause = min(pause * 2, 5.0)


def hand_back(store: Store, job_id: str, fence: int, reason: str) -> Outcome:
    """This machine is at fault, not the job: it goes back to the queue, nothing is counted."""
    logger.error("this machine cannot run the job now: handed back", job_id=job_id, reason=reason)
    try:
        became = patiently(lambda: store.requeue(job_id, fence, "fault"))
    except StoreUnavailable as error:
        return Outcome(Ending.GAVE_UP, error=error.message)
    return gone_back(became, reason)


def gone_back(became: JobStatus | None, why: str) -> Outcome:
    """What is to be said of a job after its requeue, which may have ended it instead."""
    if became is JobStatus.QUEUED:
        return Outcome(Ending.REQUEUED, error=why)
    return Outcome(Ending.FENCED if became is None else Ending(became.value), error=why)
