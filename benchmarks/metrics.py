"""What a scrape of `/metrics` takes among 10,000 tenants of 20 workspaces."""

from __future__ import annotations

import time

from benchmarks.kit.bench import OURS, Bench
from benchmarks.kit.figure import Bar, Figure, Outcome, Row
from benchmarks.peers.talk import FIELDS
from pipeline_jobs.job import NewJob
from pipeline_jobs.operation.metrics import StoreMetrics
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.store import Store

WORKSPACES = 20
#: A workspace's counters when each had its own, whether it was named or not: a few of its buckets are used.
OF_A_WORKSPACE = ("completed|{}|completed", "duration|{}|1000", "duration|{}|5000", "duration_sum|{}", "wait|{}|100", "wait_sum|{}")


def run(bench: Bench) -> Outcome:
    tenants = bench.size(10_000, 200)
    outcome = Outcome(
        notes=[
            f"`StoreMetrics.text`, {tenants:,} tenants with {WORKSPACES} workspaces each. `submitted`: each workspace submitted a job. "
            "`older counters`: as versions left them that kept a counter of each workspace: `created` alone, and seven counters."
        ]
    )
    store = bench.jobs().client.store
    for name, fill in (("submitted", _submit), ("older counters, created", _created), ("older counters, all", _all)):
        bench.flush(OURS)
        fill(bench, store, tenants)
        took, metrics = [], StoreMetrics(store, Settings())
        for _ in range(max(3, bench.rounds)):
            start = time.perf_counter()
            metrics.text()
            took.append(time.perf_counter() - start)
        outcome.rows.append(Row(f"a scrape, {name}", "s", took))
        if fill is _submit:
            outcome.bars.append(Bar(12, "a scrape among 10,000 tenants x 20 workspaces", "<=", 0.1, took, "s"))
    bench.flush(OURS)
    return outcome


def _submit(bench: Bench, store: Store, tenants: int) -> None:
    client = bench.jobs().client
    for number in range(tenants * WORKSPACES):
        place = {"tenant_id": f"t{number // WORKSPACES}", "workspace_id": f"w{number % WORKSPACES}"}
        client.submit(NewJob(pipeline="noop", **{**FIELDS, **place}))


def _created(bench: Bench, store: Store, tenants: int) -> None:
    _write(store, tenants, ("created|{}",))


def _all(bench: Bench, store: Store, tenants: int) -> None:
    _write(store, tenants, ("created|{}", *OF_A_WORKSPACE))


def _write(store: Store, tenants: int, fields: tuple[str, ...]) -> None:
    for tenant in range(tenants):
        flat = {field.format(f"t{tenant}|w{workspace}"): 1 for workspace in range(WORKSPACES) for field in fields}
        store.client.hset(store.keys("counters"), mapping=flat)


FIGURE = Figure("metrics", "A scrape of the metrics", run)
