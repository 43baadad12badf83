"""How many slots a pool of workers should have, for whatever starts and ends workers: KEDA asks `GET /pipeline/scaling`. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline_jobs.jobs.pipeline_limits import MOST
from pipeline_jobs.operation.metrics import NOT_FOR_SLOTS
from pipeline_jobs.pools.pool_names import DEFAULT
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import Reason
from pipeline_jobs.store.figures import pool_of
from pipeline_jobs.store.pool_figures import PoolFigures
from pipeline_jobs.store.store import Store

#: Why jobs wait that more workers of the same kind would not start.
_NO_HELP = {*NOT_FOR_SLOTS, Reason.NO_WORKER_FOR_PIPELINE}


@dataclass(frozen=True, slots=True)
class Scaling:
    """What a pool has and what it should have. All but the age count jobs, or places for jobs."""

    #: Jobs that could start and wait for a slot.
    ready: int
    running: int
    #: Of the live workers together, within the pool's cap.
    slots: int
    #: How long the first of the jobs that could start has been waiting, in seconds; 0: none does.
    oldest_seconds: float
    #: Slots that it should have. Divided by the slots of a worker, and rounded up, it is how many workers there should be.
    wanted: int


def scaling(store: Store, settings: Settings, pool: str = DEFAULT) -> Scaling:
    """:raises StoreUnavailable:"""
    now = pool_of(store, pool)
    cap = settings.pool_caps.get(pool, MOST) if pool else settings.max_concurrent_jobs
    cap = cap if now.most is None else now.most
    ready = sum(n for reason, n in now.reasons.items() if reason not in _NO_HELP)
    running = sum(now.running.values())
    slots = min(sum(now.slots.values()), cap)
    return Scaling(ready, running, slots, now.ready_seconds, wanted(ready, now, cap))


def wanted(ready: int, now: PoolFigures, cap: int) -> int:
    """A slot for each job that runs or could, within the cap; and no fewer than all slots of the workers that run something.

    Jobs are spread over the workers: with one job on each of five, a slot for each job would be one worker, and four busy ones would be
    ended for it. With this, no more workers go than are idle; which ones, `pod_costs` tells Kubernetes.
    """
    busy = sum(n > 0 for n in now.running.values())
    of_one = max(now.slots.values(), default=0)
    return max(busy * max(of_one, 1), min(cap, ready + sum(now.running.values())))


def busy_by_host(running: Mapping[str, int]) -> dict[str, int]:
    """Running jobs by the host that stands in the worker's name: `jobs@jobs-HOST/incarnation`."""
    found: dict[str, int] = {}
    for worker, jobs in running.items():
        host = worker.partition("/")[0].partition("@")[2].removeprefix("jobs-")
        found[host] = found.get(host, 0) + jobs
    return found
