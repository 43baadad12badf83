"""Who used the slots of real workers, when: a backlog of tenants is let loose at once and looked at over a window."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from tests.heavy.figures import now_ms
from tests.stack import Stack
from tests.waiting import until

#: After the first start, before the window begins, in ms: processes are forked, averages are learnt.
WARM_MS = 5_000.0


@dataclass(frozen=True)
class Backlog:
    """Jobs that a tenant has waiting, and how long each of them sleeps, in seconds."""

    jobs: int
    least: float
    most: float
    weight: float = 1.0
    workspaces: int = 1


def fill(stack: Stack, backlogs: Mapping[str, Backlog], seed: int) -> None:
    """Submit all of it, tenants in turn, while everything is paused."""
    stack.client.set_limits("*", TenantLimits(paused=True))
    chance = random.Random(seed)
    for tenant, backlog in backlogs.items():
        if backlog.weight != 1.0:
            stack.client.set_limits(tenant, TenantLimits(weight=backlog.weight))
    for number in range(max(backlog.jobs for backlog in backlogs.values())):
        for tenant, backlog in backlogs.items():
            if number < backlog.jobs:
                params = {"seconds": round(chance.uniform(backlog.least, backlog.most), 3), "steps": 1}
                stack.submit(tenant_id=tenant, workspace_id=f"w{number % backlog.workspaces}", params=params)


def fill_in_bulk(stack: Stack, tenant: str, calls: int, jobs: int, seconds: float) -> None:
    """The same of one tenant in so many calls, with so many jobs each."""
    stack.client.set_limits("*", TenantLimits(paused=True))
    one = NewJob(pipeline="sleep", tenant_id=tenant, params={"seconds": seconds, "steps": 1})
    for _ in range(calls):
        Batches(stack.client).create(NewBatch(jobs=(one,) * jobs, tenant_id=tenant))


def let_loose(stack: Stack) -> float:
    """End the pause. :return: when the first job started, in Unix ms."""
    stack.client.set_limits("*", TenantLimits())
    until(stack.running, "the first start")
    return now_ms()


def pass_window(stack: Stack, start: float, seconds: float) -> tuple[float, float]:
    """Wait until the window of so many seconds is over. :return: its begin and end, in Unix ms."""
    begin = start + WARM_MS
    end = begin + seconds * 1000
    until(lambda: now_ms() >= end, "the window to pass", seconds + 30)
    return begin, end


def jobs_of(stack: Stack) -> list[Job]:
    """Every job that has started."""
    client, keys = stack.client.store.client, stack.client.store.keys
    ids = [job_id for status in JobStatus for job_id in client.zrange(keys("status", status), 0, -1)]
    jobs: list[Job] = []
    for start in range(0, len(ids), 500):
        with client.pipeline(transaction=False) as pipe:
            for job_id in ids[start : start + 500]:
                pipe.hgetall(keys("job", job_id))
            jobs += [Job.from_mapping(flat) for flat in pipe.execute() if flat]
    return [job for job in jobs if job.started_at is not None]


def slot_seconds(jobs: list[Job], begin: float, end: float) -> Counter[str]:
    """Seconds of slots that each tenant had inside a window."""
    used: Counter[str] = Counter()
    now = time.time() * 1000
    for job in jobs:
        assert job.started_at is not None
        inside = min(job.completed_at or now, end) - max(job.started_at, begin)
        if inside > 0:
            used[job.tenant_id] += inside / 1000  # type: ignore[assignment]
    return used


def jain(values: list[float]) -> float:
    """Jain's index: 1 when all are equal, 1/n when one has everything."""
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))
