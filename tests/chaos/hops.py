"""What must be of jobs that go from pool to pool, by what their bodies wrote: each stage in its pool, each change of pools once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from tests.chaos.evidence import Evidence
from tests.chaos.figures import by_job
from tests.chaos.journal import HOP, Body
from tests.chaos.pipeline import POOLED
from tests.chaos.system import pool_of

#: The stages in their order, each of them a segment of its own, and the pool of each.
ORDER = tuple(stage.name for stage in POOLED.stages)
POOLS = {stage.name: stage.pool for stage in POOLED.stages}
#: How the runs of a completed job were over.
OVERS = (*(HOP for _ in ORDER[1:]), "end")


def begun_again(seen: Evidence) -> Iterator[str]:
    """Runs that began a stage before one that an earlier run had begun: that one had its output."""
    for job_id, runs in _pooled(seen).items():
        reached = 0
        for body in runs:
            for stage in body.stages:
                if ORDER.index(stage) < reached:
                    yield f"{job_id}: run {body.fence} began {stage}, after {ORDER[reached]} had begun"
                reached = max(reached, ORDER.index(stage))


def in_another_pool(seen: Evidence) -> Iterator[str]:
    for job_id, runs in _pooled(seen).items():
        for body in runs:
            wrong = [stage for stage in body.stages if POOLS[stage] != pool_of(body.mark)]
            if wrong:
                yield f"{job_id}: {body.mark.split(':', 1)[1]} ran {wrong}"


def miscounted_hops(seen: Evidence) -> Iterator[str]:
    """A completed job has changed pools as often as its stages ask for, and no job more often."""
    due = len(ORDER) - 1
    for job_id, hops in seen.hops.items():
        flat = seen.records[job_id]
        if hops > due or (flat["status"] == "completed" and hops != due):
            yield f"{job_id} is {flat['status']} after {hops} changes of pools"


def broken_trails(seen: Evidence) -> Iterator[str]:
    """The result names the run of each stage: one for each, in their order, that came to the end of it."""
    pooled = _pooled(seen)
    for job_id, flat in seen.records.items():
        if flat.get("pipeline") == POOLED.name and flat["status"] == "completed":
            runs = {f"{job_id}.{body.fence}": body for body in pooled.get(job_id, ())}
            trail = json.loads(flat["result"])["data"].get("trail", [])
            if not _is_whole([runs.get(run) for run in trail]):
                yield f"{job_id}: its result was made by {trail}"


def _is_whole(trail: list[Body | None]) -> bool:
    bodies = [body for body in trail if body is not None]
    told = [(body.stages, body.over) for body in bodies]
    fences = [body.fence for body in bodies]
    return (
        len(bodies) == len(trail)
        and told == [([stage], over) for stage, over in zip(ORDER, OVERS, strict=True)]
        and fences == sorted(fences)
    )


def _pooled(seen: Evidence) -> Mapping[str, list[Body]]:
    """The runs of each job of the pipeline, in the order of their fences."""
    runs = by_job(body for body in seen.bodies if body.stages and body.stages[0] in ORDER)
    return {job_id: sorted(found, key=lambda body: body.fence) for job_id, found in runs.items()}
