"""Jobs of a pipeline that one of two workers knows, beside enough work for both."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline_jobs.job import Job
from pipeline_jobs.states import JobStatus
from tests.heavy import rare
from tests.heavy.figures import all_ended, quantiles
from tests.integration.recount import differences
from tests.stack import Stack
from tests.waiting import until

COMMON = "examples.demo_pipelines,tests.bodies"
ALL = f"{COMMON},{rare.MODULE}"
#: Who knows `rare`; the other one has a name of its own.
KNOWS = "knows"


@dataclass(slots=True)
class FleetFigures:
    """What a run gave."""

    rare: int
    load: int
    failed: int
    #: From acceptance to the first start, in seconds.
    start: dict[str, float]
    load_start: dict[str, float]
    #: How many jobs of the load each worker ran: both had enough to do.
    load_by: dict[str, int]
    #: What must be empty.
    wrong: list[str] = field(default_factory=list)


def run_fleet(stack: Stack, rare_jobs: int, load: int, load_seconds: float, slots: int) -> FleetFigures:
    """All at once, by two tenants, while all slots of the live workers are held by the load: `slots` in all."""
    # The last slot is for others: the load alone would never have it.
    held = [stack.hold(tenant_id="load" if number else "rare").job_id for number in range(slots)]
    until(lambda: stack.running() == slots, "all slots to be busy")
    loads = [stack.submit(tenant_id="load", params={"seconds": load_seconds, "steps": 1}).job_id for _ in range(load)]
    rares = [stack.submit(tenant_id="rare", pipeline="rare", params={"seconds": 0.02, "steps": 1}).job_id for _ in range(rare_jobs)]
    stack.tell(*held)
    ended = all_ended(stack, [*held, *rares, *loads], "all jobs", 600)
    mine, others = [ended[job_id] for job_id in rares], [ended[job_id] for job_id in loads]
    by: dict[str, int] = {}
    for job in others:
        by[worker_of(job)] = by.get(worker_of(job), 0) + 1
    wrong = [
        f"{job.job_id}: {job.status}, attempt {job.attempt}, {job.crashes} crashes, {job.handbacks} hand-backs, {job.worker}: {job.error}"
        for job in ended.values()
        if (job.status, job.attempt, job.crashes, job.handbacks) != (JobStatus.COMPLETED, 1, 0, 0)
        or (job.pipeline == "rare" and worker_of(job) != KNOWS)
    ]
    return FleetFigures(
        rare=len(mine), load=len(others), failed=sum(job.status is JobStatus.FAILED for job in ended.values()),
        start=quantiles(waited(job) for job in mine), load_start=quantiles(waited(job) for job in others), load_by=by,
        wrong=wrong + differences(stack.client.store),
    )  # fmt: skip


def worker_of(job: Job) -> str:
    return (job.worker or "").partition("@")[0]


def waited(job: Job) -> float:
    return ((job.started_at or 0) - job.created_at) / 1000
