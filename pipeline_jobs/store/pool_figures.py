"""What each pool has: its workers, their slots, and what they run. Reads only; `figures` puts it together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline_jobs.store.connection import store_errors
from pipeline_jobs.store.keys import Keys
from pipeline_jobs.store.reader import Reader


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """A pool, of one moment."""

    #: Its name; empty: `default`.
    pool: str
    #: Leases that its workers hold, and dispatched jobs that none has claimed yet.
    leases: int
    hinted: int
    #: Slots of its live workers together, whatever its cap says.
    capacity: int
    #: Its cap; None: nobody has set it.
    most: int | None
    #: Of each live worker its slots, the jobs that it runs, and its class (empty: it does not say).
    slots: dict[str, int]
    running: dict[str, int]
    kinds: dict[str, str]
    #: Which of them take no jobs, and why; and what an operator should know of others.
    paused: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    #: Why jobs wait in it for a slot, and how many for each reason. Of `default` empty, in a cell without other pools: all do.
    reasons: dict[str, int] = field(default_factory=dict)
    #: How long the first of those has been waiting that no limit of its tenant or pipeline holds back, in seconds; 0: there is none.
    ready_seconds: float = 0.0
    #: How long ago its canary came back; None: none has.
    canary_seconds: float | None = None

    def within(self, cap: int | None = None) -> int:
        """Jobs that can run at once. :param cap: where nobody has set one; None: there is none."""
        most = cap if self.most is None else self.most
        return self.capacity if most is None else min(self.capacity, most)


#: How many commands `ask` sends for a pool.
COMMANDS = 10


def heartbeat_of(pool: str) -> str:
    """The heartbeat of a pool's canary, by its part of the key."""
    return f"canary:{pool}" if pool else "canary"


def last_canary(store: Reader, pool: str) -> str | None:
    """The id of a pool's last canary. :raises StoreUnavailable:"""
    with store_errors():
        found: str | None = store.client.get(Keys(store.keys.prefix, pool)("canary"))
    return found


def note_canary(store: Reader, pool: str, job_id: str) -> None:
    """:raises StoreUnavailable:"""
    with store_errors():
        store.client.set(Keys(store.keys.prefix, pool)("canary"), job_id)


def leased(store: Reader) -> list[str]:
    """The ids of the running jobs of all pools. :raises StoreUnavailable:"""
    with store_errors():
        return [job_id for keys in store.keys_of_pools() for job_id in store.client.zrange(keys("leases"), 0, -1)]


def ask(store: Reader, pipe: Any) -> list[str]:
    """Put the questions into a pipeline. :return: the names of the pools, for `read`."""
    names = store.pools()
    for name in names:
        keys = Keys(store.keys.prefix, name)
        pipe.zcard(keys("leases"))
        pipe.zcard(keys("hints"))
        pipe.mget(keys("capacity"), keys("max_concurrent_jobs"))
        pipe.zrange(keys("workers"), 0, -1, withscores=True)
        pipe.get(keys("heartbeat", heartbeat_of(name)))
        for table in ("slots", "running", "class_of", "paused", "warnings"):
            pipe.hgetall(keys(table))
    return names


def read(names: Sequence[str], replies: Sequence[Any], now_ms: float) -> list[PoolFigures]:
    """The answers to `ask`, `default` first. :param now_ms: by the server's clock: workers are announced by that."""
    return list(_each(names, replies, now_ms))


def _each(names: Sequence[str], replies: Sequence[Any], now_ms: float) -> Iterator[PoolFigures]:
    for number, name in enumerate(names):
        leases, hinted, (capacity, cap), announced, sang, *tables = replies[number * COMMANDS : (number + 1) * COMMANDS]
        live = [worker for worker, until in announced if until >= now_ms]
        # One that was lost a moment ago may have left its word behind.
        slots, running, kinds, paused, warnings = ({worker: table[worker] for worker in live if worker in table} for table in tables)
        most, age = int(cap) if cap else None, max(0.0, (now_ms - float(sang)) / 1000) if sang else None
        counts = _numbers(slots, live), _numbers(running, live)
        yield PoolFigures(name, leases, hinted, int(capacity or 0), most, *counts, kinds, paused, warnings, canary_seconds=age)


def _numbers(table: Mapping[str, str], live: Sequence[str]) -> dict[str, int]:
    return {worker: int(table.get(worker, 0)) for worker in live}
