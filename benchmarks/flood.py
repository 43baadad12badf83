"""Bar 10: a tenant's first job behind the 10,000 of another: from the release of a slot to the start of its body."""

from __future__ import annotations

import random
import time

from benchmarks import noop
from benchmarks.kit.bench import EVERYSEC, Bench, percentile
from benchmarks.kit.figure import Bar, Figure, Outcome, Row
from pipeline_jobs.job import NewJob

#: What each job of the flood takes, in seconds.
NAP = 0.01
SLOTS = 2


def run(bench: Bench) -> Outcome:
    flood, tenants, probes = bench.size(10_000, 200), bench.size(10_000, 20), bench.size(100, 3)
    outcome = Outcome(
        notes=[
            f"Two slots, jobs of {NAP * 1000:.0f} ms. Every 50 ms or so a tenant that had no job sends one; its start is held against "
            f"the first end "
            "of a body after it was sent: there a slot became free. p99 is that of all rounds together.",
        ]
    )
    with noop.ours(bench, EVERYSEC, slots=SLOTS) as contender:
        # The children import what a job needs with their first one.
        contender.both()
        for what, waiting in (("behind 10,000 jobs of one tenant", 1), ("behind 10,000 tenants", tenants)):
            waits = [_waits(bench, flood, waiting, probes, number) for number in range(bench.rounds)]
            whole = [wait for one in waits for wait in one]
            p50, p99 = [percentile(one, 0.5) for one in waits], percentile(whole, 0.99)
            outcome.rows += [Row(f"{what}: p50", "ms", p50), Row(f"{what}: p99", "ms", [p99])]
            outcome.bars += [Bar(10, f"{what}: p50", "<=", 10, p50, "ms"), Bar(10, f"{what}: p99", "<=", 30, [p99], "ms")]
    return outcome


def _waits(bench: Bench, flood: int, tenants: int, probes: int, number: int) -> list[float]:
    """Milliseconds from the release of a slot to the start, for each probe."""
    jobs = bench.jobs()
    client, store = jobs.client, jobs.client.store
    new = lambda tenant: NewJob(pipeline="nap", params={"seconds": NAP}, tenant_id=tenant)  # noqa: E731
    for index in range(flood):
        client.submit(new(f"flood{number}-{index % tenants}"))
    probed: list[tuple[float, str]] = []
    for index in range(probes):
        time.sleep(random.uniform(0.02, 0.08))
        before = time.time()
        probed.append((before, client.submit(new(f"probe{number}-{tenants}-{index}")).job_id))
    for _, job_id in probed:
        client.wait(job_id, 120)
    ended = (_data(bench, job_id) for job_id in store.client.zrange(store.keys("status", "completed"), -20_000, -1))
    # The jobs that warmed the children up say nothing of their end.
    ends = sorted(data["end"] for data in ended if "end" in data)
    waits = []
    for sent, job_id in probed:
        start = _data(bench, job_id)["start"]
        # No body may have ended between: then the slot had become free just before it was sent.
        release = min((end for end in ends if sent <= end < start), default=sent)
        waits.append((start - release) * 1000)
    # What is left of the flood is none of the next round's business.
    for job_id in store.client.zrange(store.keys("status", "queued"), 0, -1):
        store.cancel(job_id)
    return waits


def _data(bench: Bench, job_id: str) -> dict[str, float]:
    data: dict[str, float] = bench.jobs().client.get(job_id).result["data"]
    return data


FIGURE = Figure("flood", "Behind a flood", run)
