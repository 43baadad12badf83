"""CPU that a job takes, of everything that works for it: what is left of a comparison on a machine that is busy with other things."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

import psutil

from benchmarks import noop
from benchmarks.kit.bench import EVERYSEC, OURS, PEER_DBS, Bench
from benchmarks.kit.figure import Figure, Outcome, Row, alternate, ratios


def run(bench: Bench) -> Outcome:
    n, creates = bench.size(700, 20), bench.size(2000, 50)

    def create(who: str) -> Callable[[], float]:
        peer = bench.ours() if who == "ours" else bench.peer(who)

        def measure() -> float:
            bench.flush(OURS if who == "ours" else PEER_DBS[who])
            return _spent(lambda: peer.call("enqueue", n=creates), creates)

        return measure

    created = alternate(bench.rounds, {who: create(who) for who in ("ours", "celery", "dramatiq", "rq", "huey")})
    with ExitStack() as stack:
        found = {"ours": stack.enter_context(noop.ours(bench, EVERYSEC)), "celery": stack.enter_context(noop.celery(bench, EVERYSEC))}
        for contender in found.values():
            contender.jobs = n
            contender.both()

        def ended(name: str) -> Callable[[], float]:
            # The last events reach Flower a moment after the last job.
            return lambda: _spent(lambda: (found[name].both(), time.sleep(0.3)), n)

        ran = alternate(bench.rounds, {name: ended(name) for name in found})
    return Outcome(
        rows=[
            *(Row(f"create: {name}", "µs of CPU a job", values) for name, values in created.items()),
            *(Row(f"no-op job end to end: {name}", "µs of CPU a job", values) for name, values in ran.items()),
        ],
        notes=[
            "User and system time of all processes (submitter, server, worker with its children, Flower), idle ones too, by the number "
            "of jobs. Here less is better: a create of Celery's takes "
            f"{ratios(created['celery'], created['ours'])[0]:.1f} times the CPU of ours (first round), a no-op job "
            f"{ratios(ran['celery'], ran['ours'])[0]:.1f} times.",
        ],
    )


def _spent(work: Callable[[], object], jobs: int) -> float:
    """µs of CPU that all processes started from here take for `work`, by job."""
    before = _all()
    work()
    return (_all() - before) / jobs * 1e6


def _all() -> float:
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


FIGURE = Figure("cpu", "CPU of a job", run)
