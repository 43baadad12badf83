"""Bar 2: a hundred jobs at once."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.kit.bench import ALWAYS, EVERYSEC, Bench
from benchmarks.kit.figure import Bar, Figure, Outcome, Row, alternate, ratios

SIZE = 100


def run(bench: Bench) -> Outcome:
    outcome = Outcome(
        notes=[
            f"Batches of {SIZE} jobs, one after another. Ours is one atomic call: records, indexes, limits and the batch's own "
            f"record; the jobs wait for "
            "slots. rq's `enqueue_many` writes its jobs in one pipeline, Celery has no such call. The limit is LPUSH in pipelines of 100."
        ]
    )
    for fsync in (EVERYSEC, ALWAYS):
        # rq is an environment to install: not in the short form.
        contenders = {name: _rate(bench, fsync, *how) for name, how in _HOW.items() if not (bench.smoke and how[0] == "rq")}
        samples = alternate(bench.rounds, contenders)
        outcome.rows += [Row(f"{name} ({fsync})", "jobs/s", values) for name, values in samples.items()]
        if fsync == ALWAYS:
            outcome.bars += [
                Bar(2, f"bulk of 100, ours / {told}", ">=", least, ratios(samples["ours"], samples[name]))
                for name, told, least in _BARS
                if name in samples
            ]
    return outcome


#: Who, command, jobs of a round.
_HOW = {
    "ours": ("ours", "enqueue_many", 10_000),
    "celery apply_async, one by one": ("celery", "enqueue", 1000),
    "rq enqueue_many": ("rq", "enqueue_many", 3000),
    "limit: LPUSH, pipelines of 100": ("limit", "enqueue_many", 20_000),
}

#: Beside whom, what the bar calls it, and how often as fast we must be.
_BARS = (("celery apply_async, one by one", "celery apply_async", 30), ("rq enqueue_many", "rq enqueue_many", 4))


def _rate(bench: Bench, fsync: str, who: str, command: str, full: int) -> Callable[[], float]:
    peer = bench.ours(fsync) if who == "ours" else bench.peer(who, fsync)
    n = bench.size(full, SIZE)
    arguments = {"size": SIZE} if command == "enqueue_many" else {}

    def measure() -> float:
        bench.forget(who, fsync)
        peer.call(command, n=SIZE, **arguments)
        return float(n / peer.call(command, n=n, **arguments))

    return measure


FIGURE = Figure("bulk", "A hundred jobs at once", run)
