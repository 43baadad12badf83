"""Bars 16-18: the CPU that a job takes, of everything that works for it, with `appendfsync always`, on which ours runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, ExitStack

from benchmarks import noop
from benchmarks.kit.bench import ALWAYS, Bench
from benchmarks.kit.figure import Bar, Figure, Outcome, Row, alternate, ratios
from benchmarks.kit.spent import spent, started

UNIT = "us of CPU a job"
BULK = 100
#: Seconds between two looks whether the jobs have ended: each look is CPU, and the slower a contender the more of them it has.
LOOK = 0.05


def run(bench: Bench) -> Outcome:
    outcome = Outcome(
        notes=[
            "User and system time of the contender's processes (submitter, server, worker with its children, Flower), by the number of "
            "jobs. Less is better. No-op jobs as in their own figure, from the first submit to the last end, with two processes and two "
            "slots. `backlog`: the worker stands still while they are submitted, so that its children always find a next job; ours take it "
            "without a message (decision 0012). `as they come`: it runs meanwhile; then the share of the jobs that have a message of their "
            "own depends on whether this machine submits faster than it works. The rows without Flower have task events on all the same. "
            "dramatiq, huey, taskiq and procrastinate have no events and no such record to write.",
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
        one, plain = ran["ours, backlog"], ran["celery, backlog"]
        outcome.bars += [Bar(16, f"CPU of a no-op job, {beside}, ours / celery", "<=", limit, ratios(one, plain))]
        if not flower:
            many = ran["ours, 1,000 tenants, backlog"]
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
    # Not the first contender's.
    bench.server(ALWAYS)
    with ExitStack() as stack:
        found, own = {}, {}
        for name, context in _contexts(bench, flower).items():
            before = started()
            found[name] = stack.enter_context(context)
            found[name].look, own[name] = LOOK, started() - before
        apart = {name: set().union(*own.values()) - own[name] for name in found}
        measures = {f"{name}, backlog": _ran(contender.drain, contender, apart[name]) for name, contender in found.items()}
        measures |= {f"{name}, as they come": _ran(found[name].both, found[name], apart[name]) for name in ("ours", "celery")}
        if not flower:
            measures["ours, 1,000 tenants, backlog"] = _with_tenants(bench, measures["ours, backlog"], found["ours"])
        for warm_up in measures.values():
            warm_up()
        return alternate(bench.rounds, measures)


def _contexts(bench: Bench, flower: bool) -> dict[str, AbstractContextManager[noop.Contender]]:
    names = () if flower else bench.peers("dramatiq", "huey", "taskiq", "procrastinate")
    return {
        "ours": noop.ours(bench, ALWAYS, flower=flower, slots=2),
        "celery": noop.celery(bench, ALWAYS, flower=flower),
        **{name: noop.peer(bench, name, ALWAYS) for name in names},
    }


def _ran(run: Callable[[], float], contender: noop.Contender, apart: Collection[int]) -> Callable[[], float]:
    # The last events reach Flower a moment after the last job.
    return lambda: spent(lambda: (run(), time.sleep(0.3)), contender.jobs, apart)


def _with_tenants(bench: Bench, measure: Callable[[], float], contender: noop.Contender) -> Callable[[], float]:
    """The same with the jobs of a thousand tenants in turn."""

    def measured() -> float:
        usual = contender.submit
        contender.submit = lambda n: bench.ours(ALWAYS).call("enqueue", n=n, idempotency=False, limits=False, tenants=1000)
        try:
            return measure()
        finally:
            contender.submit = usual

    return measured


FIGURE = Figure("cpu", "CPU of a job", run)
