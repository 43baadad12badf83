"""Is this cell able to take and run jobs, and if not, which part is it and why?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.figures import Load, load
from pipeline_jobs.store.guard import unbounded, unsafe, used_share
from pipeline_jobs.store.store import Store

#: A duty counts as late after so many of its intervals.
LATE = 4


def check(store: Store, settings: Settings, broker: Callable[[], str | None]) -> dict[str, dict[str, object]]:
    """Look at every part.

    :param broker: gives None, or why the broker is not ready.
    :return: `{"store": {"ok": bool, "reason": str | None}, "broker": ..., "workers": ..., "beat": ...}`; where something is to be mended
        that stops nothing yet, with `warning` (str).
    """
    warnings: dict[str, str | None] = {}
    try:
        memory = store.info("memory")
        now = load(store)
        warnings = {"store": unbounded(memory), "workers": _warnings(now)}
        reasons = {
            "store": _store(store, settings, memory),
            "broker": broker(),
            "workers": _workers(store, settings, now),
            "beat": _beat(store, settings),
        }
    except StoreUnavailable:
        down = "the store cannot be reached"
        reasons = {"store": down, "broker": down if settings.broker_is_store else broker(), "workers": down, "beat": down}
    parts: dict[str, dict[str, object]] = {part: {"ok": reason is None, "reason": reason} for part, reason in reasons.items()}
    for part, warning in warnings.items():
        if warning:
            parts[part]["warning"] = warning
    return parts


def _store(store: Store, settings: Settings, memory: Mapping[str, object]) -> str | None:
    reason = unsafe(store)
    if reason and settings.allow_unsafe_store:
        return None
    if reason:
        return reason
    if used_share(memory) > settings.memory_watermark:
        return "the server's memory is nearly full: no new jobs are accepted"
    return None


def _workers(store: Store, settings: Settings, now: Load) -> str | None:
    if not now.workers:
        return "no live worker consumes the queue `jobs`"
    if now.workers <= len(now.paused):
        return f"every live worker is paused: {_by_worker(now.paused)}"
    return _canary(store, settings, busy=now.leases >= now.capacity)


def _warnings(now: Load) -> str | None:
    """Which workers take no jobs because their machines cannot run any, and what else their operator should know."""
    return "; ".join(filter(None, (_by_worker(now.paused), _by_worker(now.warnings)))) or None


def _by_worker(texts: Mapping[str, str]) -> str:
    return "; ".join(f"{worker.partition('/')[0]}: {text}" for worker, text in sorted(texts.items()))


def _canary(store: Store, settings: Settings, *, busy: bool) -> str | None:
    """A ping proves nothing: has a job gone the whole way lately? While all slots are busy, the running jobs are the proof."""
    last = store.text("heartbeat", "canary")
    if not settings.canary_seconds or last is None:
        return None
    age = time.time() - int(last) / 1000
    if age <= LATE * settings.canary_seconds or busy:
        return None
    return f"the last canary job came back {age:.0f} s ago: workers announce themselves but run no jobs"


def _beat(store: Store, settings: Settings) -> str | None:
    last = store.text("heartbeat", "rescue")
    if last is None:
        return "maintenance has not run yet: are beat and the maintenance worker running?"
    age = time.time() - int(last) / 1000
    if age > max(LATE * settings.rescue_seconds, 10):
        return f"maintenance last ran {age:.0f} s ago: are beat and the maintenance worker up?"
    return None
