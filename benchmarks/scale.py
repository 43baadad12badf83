"""How create, list, dispatch, finish, purge and memory grow: from a thousand to a million records, from one to 10,000 tenants."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from benchmarks.kit.bench import OURS, Bench
from benchmarks.kit.figure import Figure, Line, Outcome, Plot, Row
from benchmarks.kit.population import populate
from benchmarks.peers.talk import FIELDS
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused

#: Jobs of one measurement.
CALLS = 1000
RESULT = {"success": True, "data": {"at": 1795531908.123456}}


def run(bench: Bench) -> Outcome:
    outcome = Outcome(
        notes=[
            "One client, one thread, a server with `everysec`; µs of a call as the client sees it (round trip, Python and all). "
            "`finish` ends a job and "
            "dispatches the next; `purge` is for one job; `list` is a page of 50 of one tenant. Records: 100 tenants; the records lie "
            "there, ended, "
            "while the calls are measured. Tenants: each has jobs waiting.",
        ]
    )
    records = [bench.size(1_000, 100), bench.size(10_000, 200), bench.size(100_000, 500), bench.size(1_000_000, 1000)]
    by_records = [(n, _measure(bench, records=n, tenants=100)) for n in records]
    by_tenants = [(n, _measure(bench, records=0, tenants=n)) for n in (1, 10, 100, *([] if bench.smoke else [1000, 10_000]))]
    for found, what, x in ((by_records, "records", "records in the store"), (by_tenants, "tenants", "tenants with jobs waiting")):
        names = [name for name in found[0][1] if name != "memory"]
        outcome.rows += [Row(f"{name} at {n:,} {what}", "µs", [values[name]]) for n, values in found for name in names]
        outcome.plots.append(
            Plot(
                f"scale-{what}",
                f"µs of a call by {what}",
                x,
                "µs",
                [Line(name, [(n, values[name]) for n, values in found]) for name in names],
            )
        )
    outcome.rows += [Row(f"memory at {n:,} records", "B a record", [values["memory"]]) for n, values in by_records]
    outcome.plots.append(
        Plot(
            "scale-memory",
            "Memory of a record",
            "records in the store",
            "bytes",
            [Line("memory", [(n, v["memory"]) for n, v in by_records])],
        )
    )
    bench.flush(OURS)
    return outcome


def _measure(bench: Bench, *, records: int, tenants: int) -> dict[str, float]:
    bench.flush(OURS)
    jobs = bench.jobs()
    store, client = jobs.client.store, jobs.client
    calls = bench.size(CALLS, 20)

    def new(number: int) -> NewJob:
        return NewJob(pipeline="noop", **{**FIELDS, "tenant_id": f"t{number % tenants}"})

    empty = _used(store)
    if records:
        populate(store, client, records, [new(number) for number in range(min(tenants, records // 10))])
    found = {"memory": (_used(store) - empty) / max(1, records)}
    for number in range(0 if records else tenants):
        client.submit(new(number))
    found["create"] = _each(calls, lambda number: client.submit(new(number)))
    found["list"] = _each(calls, lambda number: client.list(JobQuery(tenant_id=f"t{number % tenants}", limit=50)))
    store.announce("scale", 1, [])
    claimed: list[Any] = []

    def claim(_: int) -> None:
        hint = json.loads(str(store.client.rpop("jobs")))
        job = store.claim(hint["headers"]["id"], hint["headers"]["fence"], worker="scale", run="r")
        assert not isinstance(job, ClaimRefused), job
        claimed.append(job)

    def both(number: int) -> float:
        claim(number)
        job = claimed.pop()
        start = time.perf_counter()
        assert store.finish(job.job_id, job.fence, JobStatus.COMPLETED, result=RESULT) is JobStatus.COMPLETED
        return time.perf_counter() - start

    took = sorted(both(number) for number in range(calls))
    found["finish"] = took[len(took) // 2] * 1e6
    store.announce("scale", 0, [], leaving=True)
    if records:
        due = store.client.zrange(store.keys("ended"), 0, min(20_000, records // 2) - 1)
        for start in range(0, len(due), 1000):
            store.client.zadd(store.keys("ended"), dict.fromkeys(due[start : start + 1000], 1), xx=True)
        start_at = time.perf_counter()
        purged = jobs.duties["purge"]()["purged"]
        found["purge"] = (time.perf_counter() - start_at) / purged * 1e6
    return found


def _each(calls: int, call: Callable[[int], object]) -> float:
    """Median µs of a call."""
    took = []
    for number in range(calls):
        start = time.perf_counter()
        call(number)
        took.append(time.perf_counter() - start)
    return sorted(took)[calls // 2] * 1e6


def _used(store: Any) -> int:
    return int(store.client.info("memory")["used_memory"])


FIGURE = Figure("scale", "Growth", run)
