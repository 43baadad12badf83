"""Bar 13: 500 open event streams on one process of the API (`benchmarks.streams` measures)."""

from __future__ import annotations

from benchmarks import streams
from benchmarks.kit.bench import Bench
from benchmarks.kit.figure import Bar, Figure, Outcome, Row


def run(bench: Bench) -> Outcome:
    number = bench.size(500, 10)
    found = [streams.measure(number, float(number), bench.size(20, 2)) for _ in range(min(3, bench.rounds))]
    lag, health = ([float(one[f"{what}_p99_ms"]) for one in found] for what in ("lag", "health"))
    return Outcome(
        rows=[
            Row("event lag p50", "ms", [one["lag_p50_ms"] for one in found]),
            Row("event lag p99", "ms", lag),
            Row("/health/live p50", "ms", [one["health_p50_ms"] for one in found]),
            Row("/health/live p99", "ms", health),
        ],
        bars=[
            Bar(13, f"event lag p99, {number} streams, one event a second each", "<=", 100, lag, "ms"),
            Bar(13, "/health/live p99 meanwhile", "<=", 20, health, "ms"),
        ],
        notes=[
            "Each stream follows a job of its own; writer, readers, API (one process) and server share the machine. "
            "No peer has such streams."
        ],
    )


FIGURE = Figure("sse", "Open event streams", run)
