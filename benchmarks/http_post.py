"""Bar 3: to make a job over HTTP, with an API key and validation, beside the tutorial's Flask app, Flower's API and a hello endpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

from benchmarks.kit.bench import ALWAYS, CELERY, EVERYSEC, OURS, Bench, answers, free_port
from benchmarks.kit.figure import Bar, Figure, Outcome, Row, alternate, ratios
from benchmarks.kit.keys import bearer
from benchmarks.kit.load import load, request
from benchmarks.kit.peer import python_of
from benchmarks.peers.talk import FIELDS

BODY = json.dumps({**FIELDS, "pipeline": "noop"}).encode()


def run(bench: Bench) -> Outcome:
    outcome = Outcome(
        notes=[
            "16 kept-alive connections, gunicorn gthread with 2 processes for all but Flower (which is one process); load, servers "
            "and store share "
            "the machine. Ours: Bearer key looked up, body validated, 201 with the job's representation, Location and ETag.",
            "`hello` is Flask answering a constant: the limit of this stack. No worker runs.",
        ]
    )
    for fsync in (EVERYSEC, ALWAYS):
        with _contenders(bench, fsync) as contenders:
            for warm_up in contenders.values():
                warm_up(bench.size(300, 20))
            n = bench.size(2000, 40)
            samples = alternate(bench.rounds, {name: partial(post, n) for name, post in contenders.items()})
        outcome.rows += [Row(f"{name} ({fsync})", "req/s", values) for name, values in samples.items()]
        if fsync == EVERYSEC:
            outcome.bars += [
                Bar(3, "POST, ours / the tutorial's", ">=", 3.0, ratios(samples["ours"], samples["tutorial"])),
                Bar(3, "POST, ours / hello", ">=", 0.6, ratios(samples["ours"], samples["hello"])),
            ]
    return outcome


@contextmanager
def _contenders(bench: Bench, fsync: str) -> Iterator[dict[str, Callable[[int], float]]]:
    with ExitStack() as stack:
        peer = stack.enter_context(tutorial(bench, fsync))
        flower = stack.enter_context(flower_of_peer(bench, fsync))
        bench.flush(OURS, fsync)
        headers = bearer(bench, fsync)
        api = stack.enter_context(bench.our_web(fsync))

        def post(url: str, wanted: int, headers: dict[str, str], body: bytes, method: str = "POST") -> Callable[[int], float]:
            whole = request(url, method, body, headers)

            def measure(n: int) -> float:
                bench.flush(CELERY, fsync)
                got = load(url, [whole], n)
                if got.statuses != {wanted: n}:
                    raise RuntimeError(f"{url} answered {dict(got.statuses)}")
                return got.rate

            return measure

        yield {
            "ours": post(f"{api}/pipeline/jobs", 201, headers, BODY),
            "tutorial": post(f"{peer}/jobs", 200, {}, json.dumps(FIELDS).encode()),
            "Flower async-apply": post(f"{flower}/api/task/async-apply/celery_peer.run", 200, {}, json.dumps({"kwargs": FIELDS}).encode()),
            "hello": post(f"{peer}/hello", 200, {}, b"", "GET"),
        }


def tutorial(bench: Bench, fsync: str) -> AbstractContextManager[str]:
    """The tutorial's Flask app (with the hello endpoint), served as ours is."""
    return bench.web(f"tutorial-{fsync}", python_of("celery"), "celery_peer:tutorial()", bench.peer_environ("celery", fsync), "/hello")


@contextmanager
def flower_of_peer(bench: Bench, fsync: str) -> Iterator[str]:
    """Flower over plain Celery."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [python_of("celery"), "-m", "celery", "-A", "celery_peer", "flower", "--address=127.0.0.1", f"--port={port}"]
    environ = {**bench.peer_environ("celery", fsync), "FLOWER_UNAUTHENTICATED_API": "true"}
    with bench.process(f"flower-{fsync}", command, environ, lambda: answers(f"{address}/healthcheck")):
        yield address


FIGURE = Figure("http_post", "Create a job over HTTP", run)
