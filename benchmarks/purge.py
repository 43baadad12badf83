"""Bar 12: TTL cleanup of 100,000 ended jobs among a million, and how long it holds up everybody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import redis

from benchmarks.kit.bench import ALWAYS, EVERYSEC, OURS, Bench, percentile
from benchmarks.kit.figure import Bar, Figure, Outcome, Row
from benchmarks.kit.population import populate
from benchmarks.peers.talk import FIELDS
from pipeline_jobs.job import NewJob

T = TypeVar("T")
TENANTS = 100


def run(bench: Bench) -> Outcome:
    total, expired = bench.size(1_000_000, 3000), bench.size(100_000, 1000)
    outcome = Outcome(
        notes=[
            "`Purge.run_once` as the maintenance worker calls it. Meanwhile another connection sends PINGs as fast as they are "
            "answered; `held` is the "
            "longest PING less the longest of an equal time without purge. `longest script` is the server's own figure of a purge call.",
        ]
    )
    for fsync in (EVERYSEC, ALWAYS):
        bench.flush(OURS, fsync)
        jobs = bench.jobs(fsync)
        store, client = jobs.client.store, jobs.client
        populate(store, client, total, [NewJob(pipeline="noop", **{**FIELDS, "tenant_id": f"t{n}"}) for n in range(TENANTS)])
        rates, held, scripts, idle = [], [], [], []
        rounds = min(3, bench.rounds)
        for _ in range(rounds):
            # The time of so many of them has come.
            due = store.client.zrange(store.keys("ended"), 0, expired // rounds - 1)
            for start in range(0, len(due), 1000):
                store.client.zadd(store.keys("ended"), dict.fromkeys(due[start : start + 1000], 1), xx=True)
            idle.append(_Pinger.during(bench, fsync, lambda: time.sleep(bench.size(3, 1)))[1])
            store.client.config_resetstat()
            store.client.execute_command("LATENCY", "RESET")
            (removed, seconds), longest = _Pinger.during(bench, fsync, partial(_purge, jobs))
            if removed < len(due):
                raise RuntimeError(f"{removed} of {len(due)} removed")
            rates.append(removed / seconds)
            held.append(longest)
            scripts.append(_longest_script(store.client))
        outcome.rows += [
            Row(f"purge ({fsync})", "jobs/s", rates),
            Row(f"longest PING meanwhile ({fsync})", "ms", held),
            Row(f"longest PING without purge ({fsync})", "ms", idle),
            Row(f"longest script call ({fsync}), at most", "ms", scripts),
        ]
        if fsync == EVERYSEC:
            outcome.bars += [
                Bar(12, "purge of 100,000 among a million", ">=", 20_000, rates, "jobs/s"),
                Bar(12, "longest script call (upper bound)", "<=", 5, scripts, "ms"),
            ]
        bench.flush(OURS, fsync)
    return outcome


def _purge(jobs: Any) -> tuple[int, float]:
    start = time.perf_counter()
    counts = jobs.duties["purge"]()
    return counts["purged"], time.perf_counter() - start


def _longest_script(client: redis.Redis) -> float:
    """Upper bound in ms of the slowest call of a function since the reset; buckets are powers of two of a microsecond."""
    found = client.execute_command("LATENCY", "HISTOGRAM", "fcall")
    inner = found[1] if isinstance(found, list) else found["fcall"]
    pairs = dict(zip(inner[::2], inner[1::2], strict=True)) if isinstance(inner, list) else inner
    buckets = pairs["histogram_usec"]
    bounds = buckets[::2] if isinstance(buckets, list) else list(buckets)
    return max(int(bound) for bound in bounds) / 1000


class _Pinger(threading.Thread):
    """Sends PINGs and keeps the longest time."""

    def __init__(self, bench: Bench, fsync: str) -> None:
        super().__init__(daemon=True)
        self._client, self._on, self.took = bench.server(fsync).client(), True, [0.0]

    def run(self) -> None:
        while self._on:
            start = time.perf_counter()
            self._client.ping()
            self.took.append((time.perf_counter() - start) * 1000)
            time.sleep(0.001)

    @classmethod
    def during(cls, bench: Bench, fsync: str, work: Callable[[], T]) -> tuple[T, float]:
        """What `work` gives, and the longest PING meanwhile in ms (the longest of 99.9 %: a preempted client is no held server)."""
        pinger = cls(bench, fsync)
        pinger.start()
        try:
            given = work()
        finally:
            pinger._on = False
            pinger.join()
        return given, percentile(pinger.took, 0.999)


FIGURE = Figure("purge", "Purge", run)
