"""From where on something is wrong, once for readiness (`health.py`), the conditions (`conditions.py`) and what a process finds by itself
(`watch.py`). What each says of it is its own: readiness names a part and why it fails, a condition what to do.
"""

from __future__ import annotations

from pathlib import Path

from pipeline_jobs import disk as disks
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.figures import Unmoved
from pipeline_jobs.store.guard import unsafe
from pipeline_jobs.store.pool_figures import PoolFigures
from pipeline_jobs.store.store import Store

#: A duty counts as late after so many of its intervals, and not before so many seconds.
LATE, LEAST_LATE_SECONDS = 4, 10.0
#: An ended job that is not in the history after so many seconds waits for its database.
BEHIND_SECONDS = 60.0


def refused(store: Store, settings: Settings) -> str | None:
    """Why the store is given no jobs; None: it cannot lose them, or that is allowed."""
    reason = unsafe(store)
    return None if settings.allow_unsafe_store else reason


def age(store: Store, duty: str, now: float) -> float | None:
    """Seconds since the duty last ran; None: it never has. :param now: Unix ms."""
    last = store.text("heartbeat", duty)
    return None if last is None else (now - int(last)) / 1000


def is_late(settings: Settings, seconds: float) -> bool:
    """Of maintenance, which last ran so long ago."""
    return seconds > max(LATE * settings.rescue_seconds, LEAST_LATE_SECONDS)


def is_canary_late(settings: Settings, seconds: float | None, pool: PoolFigures) -> bool:
    """Of the one that last came back to a pool so long ago (None: none ever has). While all slots are busy, running jobs are the proof."""
    if not settings.canary_seconds or seconds is None:
        return False
    return seconds > LATE * settings.canary_seconds and pool.leases < pool.capacity


def is_behind(settings: Settings, waiting: Unmoved) -> bool:
    """The history."""
    return waiting.seconds > max(LATE * settings.history_seconds, BEHIND_SECONDS)


def can_be_filled(folder: Path, *others: Path | None) -> bool:
    """The disk of the store's data, by what lies in one of the others."""
    return any(disks.device(folder) == disks.device(other) for other in others if other is not None)
