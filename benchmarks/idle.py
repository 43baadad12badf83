"""Bar 7: on an idle system, from just before the POST (or the call) to the start of the job's body."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import requests

from benchmarks import noop
from benchmarks.http_post import BODY, tutorial
from benchmarks.kit.bench import EVERYSEC, Bench, percentile
from benchmarks.kit.figure import Bar, Figure, Outcome, Row, alternate, ratios
from benchmarks.kit.keys import bearer
from benchmarks.peers.talk import FIELDS


def run(bench: Bench) -> Outcome:
    with ExitStack() as stack:
        stack.enter_context(noop.ours(bench, EVERYSEC))
        stack.enter_context(noop.celery(bench, EVERYSEC))
        peer = stack.enter_context(tutorial(bench, EVERYSEC))
        headers = {**bearer(bench, EVERYSEC), "Content-Type": "application/json"}
        api = stack.enter_context(bench.our_web(PIPELINE_ANNOUNCE_SECONDS="5", PIPELINE_MAX_CONCURRENT_JOBS="4"))
        session = stack.enter_context(requests.Session())
        n = bench.size(60, 5)
        celery, ours = bench.peer("celery"), bench.ours()

        def ours_posted() -> float:
            before = time.time()
            job = session.post(f"{api}/pipeline/jobs", BODY, headers=headers, timeout=60).json()["job_id"]
            done = _ended(lambda: session.get(f"{api}/pipeline/jobs/{job}", headers=headers, timeout=60).json(), "completed_at")
            return (float(done["result"]["data"]["at"]) - before) * 1000

        def theirs_posted() -> float:
            before = time.time()
            task = session.post(f"{peer}/jobs", json.dumps(FIELDS), headers={"Content-Type": "application/json"}, timeout=60).json()[
                "result_id"
            ]
            done = _ended(lambda: session.get(f"{peer}/jobs/{task}", timeout=60).json(), "ready")
            return (float(done["value"]["at"]) - before) * 1000

        def median(measure: Callable[[], float]) -> Callable[[], float]:
            return lambda: percentile([measure() for _ in range(n)], 0.5)

        contenders: dict[str, Callable[[], float]] = {
            "ours, POST": median(ours_posted),
            "celery, POST": median(theirs_posted),
            "ours, call": lambda: percentile(ours.call("start_of", started=n), 0.5),
            "celery, call": lambda: percentile(celery.call("start_of", started=n), 0.5),
        }
        for warm_up in contenders.values():
            warm_up()
        samples = alternate(bench.rounds, contenders)
    return Outcome(
        rows=[Row(f"{name}, p50", "ms", values) for name, values in samples.items()],
        bars=[
            Bar(7, "POST to start, ours / celery", "<=", 0.7, ratios(samples["ours, POST"], samples["celery, POST"])),
            Bar(7, "call to start, ours / celery", "<=", 0.7, ratios(samples["ours, call"], samples["celery, call"])),
        ],
        notes=[f"One job at a time, {n} a round, workers as for the no-op jobs. The body gives the moment of its start."],
    )


def _ended(look: Callable[[], dict[str, Any]], field: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while not (found := look()).get(field):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the job did not end: {found}")
        time.sleep(0.005)
    return found


FIGURE = Figure("idle", "Idle: from POST to start", run)
