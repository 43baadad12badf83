"""Is this cell able to take and run jobs, and if not, which part is it and why? And can this process take one?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from pipeline_jobs import disk as disks
from pipeline_jobs.exceptions import StoreFull, StoreUnavailable
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.operation import checks
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.figures import Load, history, load
from pipeline_jobs.store.guard import StoreGuard, data_folder, share_of_memory, unbounded, used_share
from pipeline_jobs.store.pool_figures import PoolFigures
from pipeline_jobs.store.store import Store

#: How long a look at whether jobs can be accepted is good, and after how long one that has no answer yet says that they cannot, in seconds.
ACCEPT_SECONDS, ACCEPT_HANGS_SECONDS = 1.0, 2.0


class Acceptance:
    """Can this process accept a job now? Of the store only, as a submit asks it: beat and workers may be away.

    One look a second, however many ask: the answer is for anybody. While one thread looks the others are given the last answer.
    """

    def __init__(self, store: Store, settings: Settings, guard: StoreGuard) -> None:
        self._store, self._settings, self._guard = store, settings, guard
        self._lock = threading.Lock()
        self._looked, self._began, self._accepts = float("-inf"), float("-inf"), True

    def __call__(self) -> bool:
        if not self._settings.enable_job_queue:
            # Then `POST /pipeline/run` is all that there may be, and it needs no store.
            return self._settings.enable_run_api
        if time.monotonic() - self._looked < ACCEPT_SECONDS:
            return self._accepts
        if not self._lock.acquire(blocking=self._looked == float("-inf")):
            return self._accepts and time.monotonic() - self._began < ACCEPT_HANGS_SECONDS
        try:
            self._began = time.monotonic()
            self._accepts = self._look()
            self._looked = time.monotonic()
            return self._accepts
        finally:
            self._lock.release()

    def _look(self) -> bool:
        try:
            self._guard.check()
            queued, parked = self._store.sizes([("status", JobStatus.QUEUED), ("awaiting",)])
            return queued - parked < self._settings.max_queued
        except (StoreUnavailable, StoreFull):
            return False


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
        warnings = {
            "store": unbounded(memory) or _nearly_full(settings, memory),
            "workers": _warnings(now),
            "history": _behind(store, settings),
        }
        reasons = {
            "store": _store(store, settings, memory),
            "broker": broker(),
            "workers": _workers(store, settings, now),
            "beat": _beat(store, settings),
        }
    except StoreUnavailable:
        down = "the store cannot be reached"
        reasons = {"store": down, "broker": down if settings.broker_is_store else broker(), "workers": down, "beat": down}
    if settings.history_url:
        # Jobs run without it.
        reasons["history"] = None
    parts: dict[str, dict[str, object]] = {part: {"ok": reason is None, "reason": reason} for part, reason in reasons.items()}
    for part, warning in warnings.items():
        if warning:
            parts[part]["warning"] = warning
    return parts


def disk(store: Store | None, settings: Settings, artifacts: ArtifactStore) -> dict[str, object]:
    """The part `disk`, as in `check`: that of artifacts and uploads, if it is one of this machine, and the store's, likewise."""
    try:
        reason = artifacts.lacks_room()
        warning = _store_disk(store, settings, artifacts) if store else None
    except OSError as error:
        reason, warning = f"the disk cannot be asked: {error}", None
    return {"ok": reason is None, "reason": reason, **({"warning": warning} if warning else {})}


def _store_disk(store: Store, settings: Settings, artifacts: ArtifactStore) -> str | None:
    """What is to be done about the disk of the store's data: a server that cannot write its log ends."""
    folder = data_folder(store, settings.redis_url)
    if folder is None:
        return None
    if full := disks.too_full(folder, settings.disk_reserve):
        return f"the store's disk is nearly full: {full}"
    if checks.can_be_filled(folder, artifacts.folder, settings.work_dir):
        return "the store's data is on a disk that artifacts or working folders can fill: give it a disk of its own"
    return None


def _behind(store: Store, settings: Settings) -> str | None:
    """What an operator should know of the history."""
    waiting = history(store) if settings.history_url else None
    if waiting is None or not checks.is_behind(settings, waiting):
        return None
    return f"{waiting.jobs} ended jobs are not moved into the history, the first for {waiting.seconds:.0f} s: is its database there?"


def _store(store: Store, settings: Settings, memory: Mapping[str, object]) -> str | None:
    if reason := checks.refused(store, settings):
        return reason
    if share_of_memory(memory, settings.memory_watermark) == 0:
        return "the server's memory is full: no new jobs are accepted"
    return None


def _nearly_full(settings: Settings, memory: Mapping[str, object]) -> str | None:
    share = share_of_memory(memory, settings.memory_watermark)
    if share is None:
        return None
    return f"the server's memory is nearly full ({used_share(memory):.0%}): tenants that hold more than {share} bytes get no new jobs"


def _workers(store: Store, settings: Settings, now: Load) -> str | None:
    here = now.default
    if not here.slots:
        return "no live worker consumes the queue `jobs`"
    if len(here.slots) <= len(here.paused):
        return f"every live worker is paused: {_by_worker(here.paused)}"
    return _canary(store, settings, here)


def _warnings(now: Load) -> str | None:
    """Which workers take no jobs because their machines cannot run any, and what else their operator should know."""
    return "; ".join(filter(None, (_by_worker(now.paused), _by_worker(now.warnings)))) or None


def _by_worker(texts: Mapping[str, str]) -> str:
    return "; ".join(f"{worker.partition('/')[0]}: {text}" for worker, text in sorted(texts.items()))


def _canary(store: Store, settings: Settings, here: PoolFigures) -> str | None:
    """A ping proves nothing: has a job gone the whole way lately?"""
    age = checks.age(store, "canary", time.time() * 1000)
    if not checks.is_canary_late(settings, age, here):
        return None
    return f"the last canary job came back {age:.0f} s ago: workers announce themselves but run no jobs"


def _beat(store: Store, settings: Settings) -> str | None:
    age = checks.age(store, "rescue", time.time() * 1000)
    if age is None:
        return "maintenance has not run yet: are beat and the maintenance worker running?"
    if checks.is_late(settings, age):
        return f"maintenance last ran {age:.0f} s ago: are beat and the maintenance worker up?"
    return None
