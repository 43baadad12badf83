"""Bars 16-18: the CPU that a job takes, of everything that works for it, with `appendfsync always`, on which ours runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from benchmarks import noop
from benchmarks.kit.bench import ALWAYS, Bench
from benchmarks.kit.figure import Bar, Figure, Outcome, Row, alternate, ratios
from benchmarks.kit.spent import spent

UNIT = "us of CPU a job"
BULK = 100


def run(bench: Bench) -> Outcome:
    outcome = Outcome(
        notes=[
            "User and system time of all processes (submitter, server, worker with its children, Flower), idle ones too, by the number of "
            "jobs. Less is better. No-op jobs as in their own figure, from the first submit to the last end; the rows without Flower have "
            "task events on all the same. dramatiq, huey, taskiq and procrastinate have no events and no such record to write.",
        ]
    )
    created = alternate(bench.rounds, _creates(bench))
    outcome.rows += [Row(f"create: {name}", UNIT, values) for name, values in created.items()]
    outcome.bars += [
        Bar(18, "CPU of a create, ours / celery", "<=", 0.4, ratios(created["ours"], created["celery"])),
        Bar(
            18,
            f"CPU of a job in a batch of {BULK}, ours / celery apply_async",
            "<=",
            1 / 30,
            ratios(created["ours, batch"], created["celery"]),
        ),
    ]
    for flower, limit in ((False, 0.40), (True, 0.55)):
        ran = alternate_ran(bench, flower)
        beside = "with Flower" if flower else "no Flower"
        outcome.rows += [Row(f"no-op job end to end: {name}, {beside}", UNIT, values) for name, values in ran.items()]
        outcome.bars += [Bar(16, f"CPU of a no-op job, {beside}, ours / celery", "<=", limit, ratios(ran["ours"], ran["celery"]))]
        if not flower:
            many, one = ran["ours, 1,000 tenants"], ran["ours"]
            outcome.bars += [Bar(17, "CPU of a no-op job, 1,000 tenants / one", "<=", 1.05, ratios(many, one))]
    return outcome


def _creates(bench: Bench) -> Mapping[str, Callable[[], float]]:
    n = bench.size(2000, BULK)

    def create(who: str, command: str = "enqueue", **arguments: int) -> Callable[[], float]:
        peer = bench.ours(ALWAYS) if who == "ours" else bench.peer(who, ALWAYS)

        def measure() -> float:
            bench.forget(who, ALWAYS)
            return spent(lambda: peer.call(command, n=n, **arguments), n)

        return measure

    peers = ("celery", "dramatiq", "rq", "huey", "taskiq", "procrastinate")
    return {
        "ours": create("ours"),
        "ours, batch": create("ours", "enqueue_many", size=BULK),
        **{who: create(who) for who in bench.peers(*peers)},
    }


def alternate_ran(bench: Bench, flower: bool) -> dict[str, list[float]]:
    """CPU of no-op jobs, by contender; the peers that have no Flower only beside those without."""
    with ExitStack() as stack:
        found = {
            "ours": stack.enter_context(noop.ours(bench, ALWAYS, flower=flower)),
            "celery": stack.enter_context(noop.celery(bench, ALWAYS, flower=flower)),
        }
        if not flower:
            names = bench.peers("dramatiq", "huey", "taskiq", "procrastinate")
            found |= {name: stack.enter_context(noop.peer(bench, name, ALWAYS)) for name in names}
        measures = {name: _both(contender) for name, contender in found.items()}
        if not flower:
            measures["ours, 1,000 tenants"] = _both(
                found["ours"], lambda n: bench.ours(ALWAYS).call("enqueue", n=n, idempotency=False, limits=False, tenants=1000)
            )
        for warm_up in measures.values():
            warm_up()
        return alternate(bench.rounds, measures)


def _both(contender: noop.Contender, submit: Callable[[int], object] | None = None) -> Callable[[], float]:
    def measure() -> float:
        usual, contender.submit = contender.submit, submit or contender.submit
        try:
            # The last events reach Flower a moment after the last job.
            return spent(lambda: (contender.both(), time.sleep(0.3)), contender.jobs)
        finally:
            contender.submit = usual

    return measure


FIGURE = Figure("cpu", "CPU of a job", run)
