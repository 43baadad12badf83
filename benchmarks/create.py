"""Bar 1: to make a job from Python. Ours writes the record, its indexes and the message, and checks limits and the Idempotency-Key."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.kit.bench import ALWAYS, EVERYSEC, Bench
from benchmarks.kit.figure import Bar, Figure, Outcome, Row, alternate, ratios


def run(bench: Bench) -> Outcome:
    outcome = Outcome(
        notes=[
            "One thread, one job after another, each with the same four fields (about 1,150 bytes of message). No peer keeps a "
            "record, has limits "
            "or makes a repeated request one job; `ours` does, `ours, plain` is the same without key and limits.",
            "procrastinate works on PostgreSQL (`synchronous_commit` off beside `everysec`, on beside `always`).",
            "With `everysec` no contender waits for the disk (ours: `PIPELINE_ALLOW_UNSAFE_STORE=1`); with `always` each write is on "
            "the disk "
            "before it is answered.",
        ]
    )
    for fsync in (EVERYSEC, ALWAYS):
        # Each of the others is an environment to install: not in the short form.
        names = _NAMES if bench.smoke else (*_NAMES, "rq", "dramatiq", "huey", *bench.peers("taskiq", "procrastinate"))
        samples = alternate(bench.rounds, {name: _rate(bench, fsync, name) for name in names})
        outcome.rows += [Row(f"{name} ({fsync})", "jobs/s", values) for name, values in samples.items()]
        if fsync == ALWAYS:
            outcome.bars += [
                Bar(1, f"ours / {name}", ">=", least, ratios(samples["ours"], samples[name]))
                for name, least in (("celery apply_async", 3.2), ("dramatiq", 1.0))
                if name in samples
            ]
    return outcome


_NAMES = ("ours", "ours, plain", "celery apply_async", "celery apply_async, ignore_result", "kombu publish", "limit: LPUSH")


def _rate(bench: Bench, fsync: str, name: str) -> Callable[[], float]:
    who = {"limit: LPUSH": "limit", "kombu publish": "celery"}.get(name, name.split(" ")[0].rstrip(","))
    peer = bench.ours(fsync) if who == "ours" else bench.peer(who, fsync)
    command, arguments = {
        "ours, plain": ("enqueue", {"idempotency": False, "limits": False}),
        "celery apply_async, ignore_result": ("enqueue", {"ignore_result": True}),
        "kombu publish": ("publish", {}),
    }.get(name, ("enqueue", {}))

    def measure() -> float:
        bench.forget(who, fsync)
        peer.call(command, n=bench.size(200, 10), **arguments)
        n = bench.size(1500, 50)
        return float(n / peer.call(command, n=n, **arguments))

    return measure


FIGURE = Figure("create", "Create a job in process", run, quick=True)
