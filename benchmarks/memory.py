"""Bar 9: what an ended job takes of the server's memory."""

from __future__ import annotations

from benchmarks.kit.bench import OURS, RESULTS, Bench
from benchmarks.kit.figure import Bar, Figure, Outcome, Row, ratios

RESULT = {"at": 1795531908.123456}


def run(bench: Bench) -> Outcome:
    n = bench.size(3_000, 200)
    samples: dict[str, list[float]] = {}
    # Scripts and connections take memory once.
    bench.ours().call("end", n=50, result=RESULT, events=1)
    bench.peer("celery").call("store_results", n=50, extended=True, result=RESULT)
    _drop_logs(bench)
    bench.flush(OURS)
    for _ in range(min(3, bench.rounds)):
        for name, extended in (("celery", False), ("celery, result_extended", True)):
            before = _used(bench, RESULTS)
            bench.peer("celery").call("store_results", n=n, extended=extended, result=RESULT)
            samples.setdefault(name, []).append((_used(bench, None) - before) / n)
            bench.flush(RESULTS)
        for name, tags, events in (("ours", (), 0), ("ours, 2 tags and 10 events", ("nightly", "customer-17"), 7)):
            before = _used(bench, OURS)
            bench.ours().call("end", n=n, result={"success": True, "data": RESULT}, tags=tags, events=events)
            if not events:
                _drop_logs(bench)
            samples.setdefault(name, []).append((_used(bench, None) - before) / n)
            bench.flush(OURS)
    base = samples["celery, result_extended"]
    return Outcome(
        rows=[Row(name, "B a job", values) for name, values in samples.items()],
        bars=[
            Bar(9, "record + indexes, ours / celery result_extended", "<=", 1.3, ratios(samples["ours"], base)),
            Bar(9, "with 2 tags and a log of 10 events, ours / celery", "<=", 3.0, ratios(samples["ours, 2 tags and 10 events"], base)),
        ],
        notes=[
            f"{n:,} ended jobs of one tenant with four fields and the same small result; `used_memory` before and after. Ours has the "
            "record, all its indexes and counters (first row: without its event log); Celery's is one string without any index, found by "
            "its id only.",
        ],
    )


def _drop_logs(bench: Bench) -> None:
    """The event logs and the tenants' feeds go: what is left is records and indexes."""
    with bench.server().client() as client:
        keys = [key for kind in ("events", "feed") for key in client.scan_iter(f"pj:{kind}:*", count=1000)]
        for start in range(0, len(keys), 1000):
            client.delete(*keys[start : start + 1000])


def _used(bench: Bench, flush: int | None) -> int:
    if flush is not None:
        bench.flush(flush)
    with bench.server().client() as client:
        return int(client.info("memory")["used_memory"])


FIGURE = Figure("memory", "Memory of an ended job", run, quick=True)
