"""What several bars say in the same way: quantiles, and how the jobs of a run ended."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from pipeline_jobs.job import Job
from pipeline_jobs.store.store import Store
from tests.stack import Stack
from tests.waiting import until


def quantiles(values: Iterable[float]) -> dict[str, float]:
    """`{"n", "p50", "p99", "max"}` of seconds; empty if there are none."""
    ordered: Sequence[float] = sorted(values)
    if not ordered:
        return {"n": 0}
    last = len(ordered) - 1
    return {
        "n": len(ordered),
        "p50": round(ordered[last // 2], 3),
        "p99": round(ordered[round(last * 0.99)], 3),
        "max": round(ordered[-1], 3),
    }


def live(stack: Stack) -> set[str]:
    """The jobs that have not ended, in one moment."""
    keys = stack.client.store.keys
    with stack.client.store.client.pipeline() as at_once:
        for status in ("queued", "running"):
            at_once.zrange(keys("status", status), 0, -1)
        return {job_id for ids in at_once.execute() for job_id in ids}


def all_ended(stack: Stack, ids: Sequence[str], what: str, seconds: float) -> dict[str, Job]:
    """The records, when none of these jobs is live any more."""
    wanted = set(ids)
    until(lambda: not live(stack) & wanted, f"{what} to end", seconds)
    return {job_id: stack.client.get(job_id) for job_id in ids}


def terminal_writes(store: Store, job_id: str) -> int:
    return int(str(store.client.hget(store.keys("job", job_id), "terminal_writes") or 0))


def now_ms() -> float:
    """This machine's clock, which is the server's too."""
    return time.time() * 1000
