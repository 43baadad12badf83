"""What the body journal says of when jobs may run: after those that they wait for, and no more of a pipeline at once than its cap."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.chaos.evidence import Evidence
from tests.chaos.figures import by_job
from tests.chaos.pipeline import CAP, CAPPED


def before_their_turn(seen: Evidence) -> Iterator[str]:
    """Dependents that began before the last run of the job that they wait for was over: by what its body wrote, so no clock is compared."""
    runs = by_job(seen.bodies)
    for job_id, job in seen.accepted.items():
        if job.depends_on is None or job_id not in runs:
            continue
        began = min(body.started for body in runs[job_id])
        for parent in json.loads(seen.records.get(job_id, {}).get("depends_on", "[]")):
            over = [body.over_at for body in runs.get(parent, ()) if body.over == "end" and body.over_at is not None]
            if over and seen.records.get(parent, {}).get("status") == "completed" and began < min(over):
                yield f"{job_id} began at {began:.3f}, {parent} came to its end at {min(over):.3f}"


def beyond_the_cap(seen: Evidence) -> Iterator[str]:
    """Moments at which more jobs of the capped pipeline were at work. Only last runs count: an earlier one may go on without a say."""
    last = [runs[-1] for job_id, runs in by_job(seen.bodies).items() if seen.records.get(job_id, {}).get("pipeline") == CAPPED.name]
    whole = [body for body in last if body.over == "end"]
    for body in whole:
        at_once = [other.job_id for other in whole if other.alive_at(body.started)]
        if len(at_once) > CAP:
            yield f"at {body.started:.3f}: {at_once}"
