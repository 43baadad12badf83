"""Bar 5: a page of 50 jobs of a tenant, by each filter, among ten thousand records and a million; beside a SCAN of Celery's results."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.kit.bench import OURS, RESULTS, Bench, percentile
from benchmarks.kit.figure import Bar, Figure, Line, Outcome, Plot, Row, ratios
from benchmarks.kit.population import populate
from benchmarks.peers.talk import FIELDS
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus

#: The tenant that is listed has a hundredth of all records.
TENANTS, TENANT = 100, "t7"
FILTERS: dict[str, dict[str, object]] = {
    "tenant": {},
    "status": {"statuses": (JobStatus.COMPLETED,)},
    "workspace": {"workspace_id": "main"},
    "pipeline": {"pipeline": "noop"},
    "tag": {"tag": "nightly"},
}


def run(bench: Bench) -> Outcome:
    outcome = Outcome(
        notes=[
            f"A page of 50 through `client.list`, of one of {TENANTS} tenants, newest first, by the tenant and one filter more; "
            f"median of many. "
            "Celery keeps no list: to find its results one scans all keys and reads them (SCAN with COUNT 1000, MGET), which finds no "
            "tenant either."
        ]
    )
    sizes = [bench.size(10_000, 1000), bench.size(100_000, 2000), bench.size(1_000_000, 4000)]
    ours: dict[str, list[list[float]]] = {name: [] for name in FILTERS}
    scans: list[float] = []
    client = bench.jobs().client
    bench.flush(OURS)
    have = 0
    for size in sizes:
        new = [NewJob(pipeline="noop", tags=("nightly",), **{**FIELDS, "tenant_id": f"t{number}"}) for number in range(TENANTS)]
        populate(client.store, client, size - have, new, first=have)
        have = size
        found: dict[str, list[float]] = {name: [] for name in FILTERS}
        for _ in range(bench.rounds):
            for name, filters in FILTERS.items():
                query = JobQuery(tenant_id=TENANT, limit=50, **filters)  # type: ignore[arg-type]
                found[name].append(_median(bench.size(300, 10), lambda query=query: client.list(query)))  # type: ignore[misc]
        for name, medians in found.items():
            ours[name].append(medians)
        scans.append(_scan(bench, size))
    for name, by_size in ours.items():
        outcome.rows += [Row(f"ours by {name}, {size:,} records", "ms", values) for size, values in zip(sizes, by_size, strict=True)]
        outcome.bars.append(Bar(5, f"list by {name}, a million / 10,000 records", "<=", 1.2, ratios(by_size[-1], by_size[0])))
    outcome.rows += [Row(f"celery SCAN + MGET, {size:,} results", "ms", [took]) for size, took in zip(sizes, scans, strict=True)]
    slowest = max(ours.values(), key=lambda by_size: percentile(by_size[-1], 0.5))[-1]
    outcome.bars.append(Bar(5, "SCAN at a million / the slowest list", ">=", 10_000, [scans[-1] / one for one in slowest]))
    lines = [Line(name, [(size, percentile(values, 0.5)) for size, values in zip(sizes, by, strict=True)]) for name, by in ours.items()]
    lines.append(Line("celery SCAN + MGET", list(zip(sizes, scans, strict=True))))
    outcome.plots.append(Plot("lists", "A page of 50 (ms)", "records", "ms", lines, log_y=True))
    bench.flush(OURS)
    bench.flush(RESULTS)
    return outcome


def _median(times: int, call: Callable[[], object]) -> float:
    took = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        took.append((time.perf_counter() - start) * 1000)
    return percentile(took, 0.5)


def _scan(bench: Bench, size: int) -> float:
    """ms to read all of so many results, as Celery keeps them."""
    client = bench.server().client()
    client.execute_command("SELECT", RESULTS)
    value = (
        '{"status": "SUCCESS", "result": {"at": 1795531908.123456}, "traceback": null, "children": [], "date_done": "2026-11-24T14:51:48", '
        + ('"task_id": "00000000-0000-4000-8000-000000000000"}')
    )
    have = int(client.dbsize())
    for start in range(have, size, 10_000):
        keys = {f"celery-task-meta-{number:08x}-0000-4000-8000-000000000000": value for number in range(start, min(start + 10_000, size))}
        client.mset(keys)
    began = time.perf_counter()
    cursor, seen = 0, 0
    while True:
        cursor, names = client.scan(cursor, match="celery-task-meta-*", count=1000)
        if names:
            seen += len(client.mget(names))
        if not cursor:
            break
    took = (time.perf_counter() - began) * 1000
    client.close()
    if seen < size:
        raise RuntimeError(f"{seen} of {size} results found")
    return took


FIGURE = Figure("lists", "A page of jobs", run, quick=True)
