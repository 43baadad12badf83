"""Bar 19: the CPU that a request takes, of the load generator, the API and the store, beside Celery's and Flask's tutorials."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from benchmarks.http_get import RESULT
from benchmarks.http_post import BODY, tutorial
from benchmarks.kit.bench import ALWAYS, CELERY, OURS, Bench
from benchmarks.kit.figure import Bar, Figure, Outcome, Row, alternate, ratios
from benchmarks.kit.keys import bearer
from benchmarks.kit.load import load, request
from benchmarks.kit.spent import spent
from benchmarks.peers.talk import FIELDS


def run(bench: Bench) -> Outcome:
    with ExitStack() as stack:
        peer = stack.enter_context(tutorial(bench, ALWAYS))
        bench.flush(OURS, ALWAYS)
        headers = bearer(bench, ALWAYS)
        api = stack.enter_context(bench.our_web(ALWAYS))
        jobs, n = f"{api}/pipeline/jobs", bench.size(2000, 40)
        task, job = (one.call("keep", result=RESULT) for one in (bench.peer("celery", ALWAYS), bench.ours(ALWAYS)))

        def asks(wanted: int, requests: Callable[[], Sequence[bytes]], url: str) -> Callable[[], float]:
            def measure() -> float:
                ready = requests()
                return spent(lambda: _checked(url, ready, n, wanted), n)

            return measure

        def waiting() -> list[bytes]:
            return [request(f"{jobs}/{one}", headers=headers) for one in _submit(bench, 50)]

        def pending() -> list[bytes]:
            return [request(f"{peer}/jobs/{number:08x}-0000-4000-8000-000000000000") for number in range(50)]

        def post_theirs() -> list[bytes]:
            bench.flush(CELERY, ALWAYS)
            return [request(f"{peer}/jobs", "POST", json.dumps(FIELDS).encode())]

        samples = alternate(bench.rounds, {
            "POST, ours": asks(201, lambda: [request(jobs, "POST", BODY, headers)], api),
            "POST, tutorial": asks(200, post_theirs, peer),
            "GET of a waiting job, ours": asks(200, waiting, api),
            "GET of a waiting job, tutorial": asks(200, pending, peer),
            "GET of an ended job, ours": asks(200, lambda: [request(f"{jobs}/{job}", headers=headers)], api),
            "GET of an ended job, tutorial": asks(200, lambda: [request(f"{peer}/jobs/{task}")], peer),
            "DELETE of a queued job, ours": asks(
                200, lambda: [request(f"{jobs}/{one}", "DELETE", headers=headers) for one in _submit(bench, n)], api
            ),
        })  # fmt: skip
    return Outcome(
        rows=[Row(name, "us of CPU a request", values) for name, values in samples.items()],
        bars=[
            *(
                Bar(
                    19,
                    f"CPU of a {what}, ours / the tutorial's",
                    "<=",
                    limit,
                    ratios(samples[f"{what}, ours"], samples[f"{what}, tutorial"]),
                )
                for what, limit in (("POST", 0.5), ("GET of a waiting job", 0.85), ("GET of an ended job", 0.77))
            ),
            Bar(19, "CPU of a DELETE of a queued job", "<=", 350, samples["DELETE of a queued job, ours"], "us"),
        ],
        notes=[
            "User and system time of the load generator, both API processes and the server (`appendfsync always`), by the number of "
            "requests; 16 kept-alive connections, API keys on. No worker runs.",
        ],
    )


def _submit(bench: Bench, n: int) -> list[str]:
    """Ids of jobs that wait."""
    found: list[str] = bench.ours(ALWAYS).call("waiting", n=n)
    return found


def _checked(url: str, requests: Sequence[bytes], n: int, wanted: int) -> None:
    got = load(url, requests, n)
    if got.statuses != {wanted: n}:
        raise RuntimeError(f"{url} answered {dict(got.statuses)}")


FIGURE = Figure("cpu_http", "CPU of a request", run)
