"""Bar 10: a tenant's first job behind the 10,000 of another: from the release of a slot to the start of its body."""

from __future__ import annotations

import random
import time

from benchmarks import noop
from benchmarks.kit.bench import EVERYSEC, Bench, percentile
from benchmarks.kit.figure import Bar, Figure, Outcome, Row
from pipeline_jobs.job import NewJob
from pipeline_jobs.store.store import Store

#: What each job of the flood takes, in seconds.
NAP = 0.01
SLOTS = 2


def run(bench: Bench) -> Outcome:
    flood, probes = bench.size(10_000, 200), bench.size(100, 3)
    outcome = Outcome(
        notes=[
            f"Two slots, jobs of {NAP * 1000:.0f} ms. Behind one tenant: every 50 ms or so a tenant that had no job sends one; its start "
            "is held against the first end of a body after it was sent: there a slot became free. Among 10,000 tenants with a job each all "
            "have the same claim and are served in the order they came: there each start is held against the end of the body before it in "
            "its process. p99 is that of all rounds together.",
        ]
    )
    with noop.ours(bench, EVERYSEC, slots=SLOTS) as contender:
        # The children import what a job needs with their first one.
        contender.both()
        _forget(bench)
        for what, measure in (("behind 10,000 jobs of one tenant", _behind_one), ("among 10,000 tenants", _among_many)):
            waits = [measure(bench, flood, probes, number) for number in range(bench.rounds)]
            whole = [wait for one in waits for wait in one]
            p50, p99 = [percentile(one, 0.5) for one in waits], percentile(whole, 0.99)
            outcome.rows += [Row(f"{what}: p50", "ms", p50), Row(f"{what}: p99", "ms", [p99])]
            outcome.bars += [Bar(10, f"{what}: p50", "<=", 10, p50, "ms"), Bar(10, f"{what}: p99", "<=", 30, [p99], "ms")]
    return outcome


def _behind_one(bench: Bench, flood: int, probes: int, number: int) -> list[float]:
    """Milliseconds from the release of a slot to the start, for each probe."""
    jobs = bench.jobs()
    client, store = jobs.client, jobs.client.store
    for _ in range(flood):
        client.submit(_nap(f"flood{number}"))
    probed: list[tuple[float, str]] = []
    for index in range(probes):
        time.sleep(random.uniform(0.02, 0.08))
        before = time.time()
        probed.append((before, client.submit(_nap(f"probe{number}-{index}")).job_id))
    for _, job_id in probed:
        client.wait(job_id, 120)
    # The youngest first: each that is cancelled in its turn brings the next one to a worker.
    _cancel(store)
    ends = sorted(data["end"] for data in _ended(bench))
    waits = []
    for sent, job_id in probed:
        start = _data(bench, job_id)["start"]
        # No body may have ended between: then the slot had become free just before it was sent.
        release = min((end for end in ends if sent <= end < start), default=sent)
        waits.append((start - release) * 1000)
    _forget(bench)
    return waits


def _among_many(bench: Bench, flood: int, probes: int, number: int) -> list[float]:
    """Milliseconds from the release of a slot to the start in it, for as many jobs."""
    jobs = bench.jobs()
    client, store = jobs.client, jobs.client.store
    ids = [client.submit(_nap(f"many{number}-{index}")).job_id for index in range(flood)]
    # Those that ran while the others were still sent do not count.
    first = int(store.client.zcard(store.keys("status", "completed")))
    client.wait(ids[min(first + 2 * probes, flood - 1)], 300)
    _cancel(store)
    runs = sorted(_ended(bench), key=lambda data: data["start"])[first:]
    waits, before = [], dict[float, float]()
    for data in runs:
        if (end := before.get(data["process"])) is not None:
            waits.append((data["start"] - end) * 1000)
        before[data["process"]] = data["end"]
    _forget(bench)
    return waits


def _nap(tenant: str) -> NewJob:
    return NewJob(pipeline="nap", params={"seconds": NAP}, tenant_id=tenant)


def _cancel(store: Store) -> None:
    """What is left of the flood is none of the next round's business."""
    for job_id in store.client.zrevrange(store.keys("status", "queued"), 0, -1):
        store.cancel(job_id)


def _ended(bench: Bench) -> list[dict[str, float]]:
    store = bench.jobs().client.store
    return [_data(bench, job_id) for job_id in store.client.zrange(store.keys("status", "completed"), 0, -1)]


def _forget(bench: Bench) -> None:
    """Remove what has ended: the next round looks at its own."""
    store = bench.jobs().client.store
    for status in ("completed", "cancelled"):
        for job_id in store.client.zrange(store.keys("status", status), 0, -1):
            store.delete(job_id)


def _data(bench: Bench, job_id: str) -> dict[str, float]:
    data: dict[str, float] = bench.jobs().client.get(job_id).result["data"]
    return data


FIGURE = Figure("flood", "Behind a flood", run)
