"""Bar 5: jobs that kill their process, beside good ones."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from pipeline_jobs.states import JobStatus
from tests.heavy.figures import all_ended, quantiles, terminal_writes
from tests.integration.recount import differences
from tests.stack import Stack

KINDS = ("segfault", "kill", "memory")


@dataclass(slots=True)
class PoisonFigures:
    """What a run gave."""

    seed: int
    poison: dict[str, int] = field(default_factory=dict)
    good: int = 0
    #: Seconds from creation to end.
    good_took: dict[str, float] = field(default_factory=dict)
    poison_took: dict[str, float] = field(default_factory=dict)
    #: What must be empty.
    wrong: list[str] = field(default_factory=list)


def run_poison(stack: Stack, *, poison: int, good: int, seed: int, max_crashes: int = 3) -> PoisonFigures:
    """Submit all in one shuffled row, wait for their ends, and look."""
    chance = random.Random(seed)
    figures = PoisonFigures(seed, dict.fromkeys(KINDS, 0), good)
    row = [KINDS[i % len(KINDS)] for i in range(poison)] + [""] * good
    chance.shuffle(row)
    kinds: dict[str, str] = {}
    for kind in row:
        params = {"seconds": round(chance.uniform(0.0, 0.1), 3), "poison": kind}
        kinds[stack.submit(pipeline="bar", params=params).job_id] = kind
    jobs = all_ended(stack, list(kinds), "all jobs", seconds=120 + 5 * poison + 0.5 * good)
    took: dict[bool, list[float]] = {True: [], False: []}
    for job_id, kind in kinds.items():
        job = jobs[job_id]
        took[bool(kind)].append(((job.completed_at or 0) - job.created_at) / 1000)
        if kind:
            figures.poison[kind] += 1
            code = (job.error_detail or {}).get("code")
            if (job.status, code, job.crashes) != (JobStatus.FAILED, "worker_lost", max_crashes):
                figures.wrong.append(f"{job_id} ({kind}): {job.status}, code {code}, {job.crashes} crashes")
        elif job.status is not JobStatus.COMPLETED or job.crashes:
            figures.wrong.append(f"{job_id} (good): {job.status}, {job.crashes} crashes: {job.error}")
        if (writes := terminal_writes(stack.client.store, job_id)) != 1:
            figures.wrong.append(f"{job_id}: {writes} terminal writes")
    figures.wrong += differences(stack.client.store)
    figures.good_took, figures.poison_took = quantiles(took[False]), quantiles(took[True])
    return figures
