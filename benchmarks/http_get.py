"""Bar 4: to look at a job over HTTP, with an API key; the same with the ETag of the last look (304)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import requests

from benchmarks.http_post import flower_of_peer, tutorial
from benchmarks.kit.bench import EVERYSEC, OURS, Bench
from benchmarks.kit.figure import Bar, Figure, Outcome, Row, alternate, ratios
from benchmarks.kit.keys import bearer
from benchmarks.kit.load import load, request

RESULT = {"success": True, "data": {"transcript": "Welcome to pipeline jobs. " * 8, "summary": "Welcome.", "language": "en"}}


def run(bench: Bench) -> Outcome:
    with ExitStack() as stack:
        peer = stack.enter_context(tutorial(bench, EVERYSEC))
        flower = stack.enter_context(flower_of_peer(bench, EVERYSEC))
        bench.flush(OURS)
        headers = bearer(bench, EVERYSEC)
        api = stack.enter_context(bench.our_web())
        task, job = bench.peer("celery").call("keep", result=RESULT), bench.ours().call("keep", result=RESULT)
        ours = f"{api}/pipeline/jobs/{job}"
        etag = requests.get(ours, headers=headers, timeout=10).headers["ETag"]
        n = bench.size(3000, 40)

        def get(url: str, wanted: int, more: dict[str, str]) -> Callable[[], float]:
            whole = request(url, headers=more)

            def measure() -> float:
                got = load(url, [whole], n)
                if got.statuses != {wanted: n}:
                    raise RuntimeError(f"{url} answered {dict(got.statuses)}")
                return got.rate

            return measure

        contenders = {
            "ours": get(ours, 200, headers),
            "ours, 304": get(ours, 304, {**headers, "If-None-Match": etag}),
            "tutorial (AsyncResult)": get(f"{peer}/jobs/{task}", 200, {}),
            # Of a task that Flower has not seen: it asks the result backend.
            "Flower result": get(f"{flower}/api/task/result/{task}", 200, {}),
            "hello": get(f"{peer}/hello", 200, {}),
        }
        for warm_up in contenders.values():
            warm_up()
        samples = alternate(bench.rounds, contenders)
    return Outcome(
        rows=[Row(name, "req/s", values) for name, values in samples.items()],
        bars=[
            Bar(4, "GET, ours / the tutorial's AsyncResult", ">=", 1.2, ratios(samples["ours"], samples["tutorial (AsyncResult)"])),
            Bar(4, "GET with ETag (304) / GET", ">=", 1.0, ratios(samples["ours, 304"], samples["ours"])),
        ],
        notes=["An ended job with a result of 300 bytes. 16 kept-alive connections, servers as for POST. Nothing writes meanwhile."],
    )


FIGURE = Figure("http_get", "See a job over HTTP", run)
