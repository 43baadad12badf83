"""How long the first job of a child waits that is forked for it, beside one whose child is there."""

from __future__ import annotations

import statistics

from benchmarks import noop
from benchmarks.kit.bench import ALWAYS, Bench
from benchmarks.kit.figure import Figure, Outcome, Row
from pipeline_jobs.job import NewJob

#: Slots of the worker, how many of its children are there from the start, and for how long each job keeps its child, in seconds.
SLOTS, THERE, NAP = 6, 2, 3.0


def run(bench: Bench) -> Outcome:
    waits = [_waits(bench) for _ in range(bench.rounds)]
    return Outcome(
        rows=[
            Row("a child that is there", "ms", [statistics.median(one[:THERE]) for one in waits]),
            Row("a child that is forked", "ms", [statistics.median(one[THERE:]) for one in waits]),
        ],
        notes=[
            f"From the creation of the record to the start. A worker that was just started (`--autoscale={SLOTS},{THERE}`) is given "
            f"{SLOTS} jobs at once, which keep their children for {NAP:g} s. No child has had a job before. Median of each kind, of a "
            "round.",
        ],
    )


def _waits(bench: Bench) -> list[float]:
    """Milliseconds, shortest first."""
    with noop.ours(bench, ALWAYS, slots=SLOTS, flower=False):
        client = bench.jobs(ALWAYS).client
        jobs = [client.submit(NewJob(pipeline="nap", params={"seconds": NAP})).job_id for _ in range(SLOTS)]
        ended = [client.wait(job, 60) for job in jobs]
    return sorted(float(job.started_at - job.created_at) for job in ended)


FIGURE = Figure("new_children", "The first job of a child", run)
