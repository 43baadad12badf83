"""Whether the server is safe to store jobs in, and how much of its memory a tenant may hold. Looked at before each submit, at most ten
times a second.

Above the watermark a tenant gets new jobs while it holds at most twice what is free below the mark at which nobody gets any: the share
shrinks as the server fills. So those who hold much are refused first, one alone leaves a third of that room to others, and who comes last
finds some (Choudhury and Hahne's dynamic thresholds for the shared memory of a switch).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from pipeline_jobs.exceptions import StoreFull, StoreUnavailable
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.store import Store

#: How long an answer is good, in seconds. One tenant can write some ten MB a second: between two looks none may get from the watermark
#: to where nobody gets new jobs.
MEMORY_SECONDS = 0.1
SAFETY_SECONDS = 60.0
#: A place frees itself as jobs end and are purged; nobody can say when.
FULL_RETRY_SECONDS = 30
#: Where between the watermark and the limit nobody gets new jobs any more: what is above is left to the jobs that there are, to end.
FULL_AT = 0.6
#: A tenant's share, as a multiple of what is free below that mark.
SHARE = 2

logger = structlog.get_logger(__name__)


class StoreGuard:
    """Refuses new jobs while the server could lose them, or is full; sees to it that the store refuses those who hold more than their share
    before. Running jobs go on, end and are cancelled."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store, self.settings = store, settings
        self._lock = threading.Lock()
        self._memory_at = self._safety_at = float("-inf")
        self._full = self._must_wait = False
        self._unsafe: str | None = None
        self._warned: str | None = None

    def check(self) -> bool:
        """Look at the server.

        :return: a submit must wait for disks: the server's, if it does not write there before it answers, and those of replicas.

        :raises StoreFull: full. :raises StoreUnavailable: away, or set up so that it could lose accepted jobs.
        """
        # As `look`, without a call more for each submit.
        if time.monotonic() - self._memory_at >= MEMORY_SECONDS:
            self._look()
        if self._unsafe and not self.settings.allow_unsafe_store:
            raise StoreUnavailable(self._unsafe)
        if self._full:
            raise StoreFull("the server's memory is full: try again later", retry_after=FULL_RETRY_SECONDS)
        return self._must_wait

    def look(self) -> None:
        """Look at the server, if the last look is too long ago: then the store knows what a tenant's share is. :raises StoreUnavailable:"""
        if time.monotonic() - self._memory_at >= MEMORY_SECONDS:
            self._look()

    def _look(self) -> None:
        now = time.monotonic()
        # One thread asks; the others go on with what is known, unless nothing is.
        if not self._lock.acquire(blocking=self._memory_at == float("-inf")):
            return
        try:
            if now - self._safety_at >= SAFETY_SECONDS or self._unsafe:
                self._unsafe = unsafe(self.store)
                trusted = self._unsafe or self.settings.allow_unsafe_store
                disk_first = trusted or writes_before_it_answers(self.store)
                self._must_wait = self.settings.store_replicas > 0 or not disk_first
                self._safety_at = now
            memory = self.store.memory()
            share = share_of_memory(memory, self.settings.memory_watermark)
            self._full, self.store.share = share == 0, -1 if share is None else share
            self._memory_at = now
            self._warn(unbounded(memory))
        finally:
            self._lock.release()

    def _warn(self, warning: str | None) -> None:
        """Once, until it changes."""
        if warning and warning != self._warned:
            logger.warning("the store has no memory limit", hint=warning)
        self._warned = warning


def used_share(memory: Mapping[str, object]) -> float:
    """Used part of the limit (0.0 where there is none)."""
    limit = memory_limit(memory)
    return _number(memory, "used_memory") / limit if limit else 0.0


def share_of_memory(memory: Mapping[str, object], watermark: float) -> int | None:
    """Bytes that a tenant may hold if it is to get new jobs; 0: nobody gets any; None: below the watermark, each may hold what it will."""
    limit, used = memory_limit(memory), _number(memory, "used_memory")
    if used <= watermark * limit or not limit:
        return None
    return max(0, int(SHARE * (full_at(watermark) * limit - used)))


def full_at(watermark: float) -> float:
    """The used part of the limit above which nobody gets new jobs."""
    return watermark + FULL_AT * (1 - watermark)


def memory_limit(memory: Mapping[str, object]) -> int:
    """`maxmemory`; where that is 0, the memory of the server's machine (0 where it does not tell)."""
    return _number(memory, "maxmemory") or _number(memory, "total_system_memory")


def unbounded(memory: Mapping[str, object]) -> str | None:
    """What to do about a server without a limit of memory; None: it has one."""
    if _number(memory, "maxmemory"):
        return None
    return (
        "maxmemory is 0, so the server can use all memory of the machine until the kernel kills it: set maxmemory to at most "
        "half of the memory of its machine or container"
    )


def _number(memory: Mapping[str, object], name: str) -> int:
    return int(str(memory.get(name) or 0))


def writes_before_it_answers(store: Store) -> bool:
    """`appendfsync` is `always`: measured to cost nothing at 16 writers, where waiting for `everysec` costs 100 ms each. False where the
    server does not tell. :raises StoreUnavailable: it cannot be asked."""
    return store.setting("appendfsync") == "always"


def data_folder(store: Store, url: str) -> Path | None:
    """Where the server writes its log, if it runs on this machine (by its address) and tells."""
    address = urlsplit(url)
    if address.scheme != "unix" and address.hostname not in ("localhost", "127.0.0.1", "::1"):
        return None
    try:
        folder = Path(store.setting("dir") or "")
    except StoreUnavailable:
        return None
    return folder if folder.is_absolute() and folder.is_dir() else None


def unsafe(store: Store) -> str | None:
    """Why accepted jobs would not be safe on this server, or None.

    `appendfsync` other than `always` can lose the last second at a crash of the machine: not named here, because `Store.submit`
    waits for the disk then (WAITAOF).

    :raises StoreUnavailable: it cannot be asked.
    """
    memory, persistence, replication = (store.info(section) for section in ("memory", "persistence", "replication"))
    if persistence.get("loading"):
        return "the server is loading its data"
    if replication.get("role") != "master":
        return "the server is a replica"
    if memory.get("maxmemory_policy") != "noeviction":
        return "maxmemory-policy must be noeviction: any other policy deletes jobs"
    if not persistence.get("aof_enabled"):
        return "appendonly must be yes: accepted jobs would not survive a restart of the server"
    if persistence.get("aof_last_write_status") != "ok":
        return "the server could not write its AOF"
    return None
