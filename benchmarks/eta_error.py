"""How far `queue.eta_seconds` is off: `python -m benchmarks.eta_error`.

Eight threads are the slots; each backlog is worked off in real time. Every fifth of a second a job that waits is asked when it will start.
The error is |said - true| / true, of jobs that had a second or more to wait; then the part of them within a quarter, the median seconds.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from examples.demo_pipelines import SLEEP
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.pipelines import Registry
from pipeline_jobs.settings import load_settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused, HintTemplate, Store, connect
from tests.servers import Server

SLOTS = 8
TEMPLATE = HintTemplate("jobs", '{"id":"@ID@","fence":@FENCE@}')


@dataclass
class Shape:
    """A backlog: `(second at which it is sent, tenant, jobs, least and most seconds each)`."""

    name: str
    sent: list[tuple[float, str, int, float, float]]
    limits: dict[str, dict[str, float]] = field(default_factory=dict)


SHAPES = [
    Shape("one tenant, 0.1 s each", [(0, "a", 1200, 0.1, 0.1)]),
    Shape("one tenant, 0.01-1 s at random", [(0, "a", 320, 0.01, 1.0)]),
    Shape("10 equal tenants", [(0, f"t{i}", 60, 0.05, 0.5) for i in range(10)]),
    Shape("100 equal tenants", [(0, f"t{i}", 6, 0.05, 0.5) for i in range(100)]),
    Shape(
        "weights 1:2:4",
        [(0, "a", 100, 0.2, 0.4), (0, "b", 200, 0.2, 0.4), (0, "c", 300, 0.2, 0.4)],
        {"b": {"weight": 2}, "c": {"weight": 4}},
    ),
    Shape("one has 20 times longer jobs", [(0, "long", 12, 4.0, 4.0), (0, "short", 500, 0.2, 0.2)]),
    Shape("small ones beside a large one", [(0, "large", 400, 0.3, 0.3), *((0, f"s{i}", 10, 0.3, 0.3) for i in range(5))]),
    Shape("two more come after 5 s", [(0, "a", 400, 0.3, 0.3), (5, "b", 100, 0.3, 0.3), (5, "c", 100, 0.3, 0.3)]),
    Shape("at most 2 at once", [(0, "a", 100, 0.3, 0.3), (0, "b", 200, 0.3, 0.3)], {"a": {"max_concurrent": 2}}),
]  # fmt: skip


@dataclass
class Figures:
    """What was said, and what came true, in seconds."""

    said: list[tuple[float, float]] = field(default_factory=list)

    def line(self, name: str) -> str:
        errors = [abs(said - true) / true for said, true in self.said if true >= 1.0]
        if not errors:
            return f"| {name} | 0 | - | - | - |"
        within = sum(error <= 0.25 for error in errors) / len(errors)
        off = statistics.median(abs(said - true) for said, true in self.said if true >= 1.0)
        return f"| {name} | {len(errors)} | {statistics.median(errors):.0%} | {within:.0%} | {off:.1f} s |"


def measure(server: Server, shape: Shape) -> Figures:
    with server.client() as raw:
        raw.flushall()
    settings = load_settings(
        {"PIPELINE_REDIS_URL": server.url, "PIPELINE_MAX_CONCURRENT_JOBS": str(SLOTS), "PIPELINE_ANNOUNCE_SECONDS": "1000"}
    )
    registry = Registry()
    registry.register(SLEEP)
    store = Store(connect(server.url), settings, template=TEMPLATE)
    client = Client(store, registry, settings)
    chance = random.Random(1)
    seconds: dict[str, float] = {}
    ended = threading.Event()
    for tenant, limits in shape.limits.items():
        store.set_limits(tenant, limits)

    def send(when: float) -> None:
        batch = [(tenant, least, most) for at, tenant, n, least, most in shape.sent if at == when for _ in range(n)]
        chance.shuffle(batch)
        for tenant, least, most in batch:
            job = client.prepare(NewJob(pipeline="sleep", tenant_id=tenant))
            seconds[job.job_id] = chance.uniform(least, most)
            store.submit(job)

    def slot() -> None:
        while not ended.is_set():
            popped = store.client.brpop(["jobs"], timeout=1)
            if popped is None:
                continue
            hint = json.loads(str(popped[1]))
            job = store.claim(hint["id"], hint["fence"], worker="w", run=hint["id"])
            if isinstance(job, ClaimRefused):
                continue
            ended.wait(seconds[job.job_id])
            store.finish(job.job_id, job.fence, JobStatus.COMPLETED, result={"success": True, "data": {}})

    send(0)
    threads = [threading.Thread(target=slot) for _ in range(SLOTS)]
    for thread in threads:
        thread.start()
    begin = time.monotonic()
    store.announce("w", SLOTS, [])
    asked: list[tuple[str, float, float]] = []
    later = sorted({at for at, *_ in shape.sent} - {0})
    waiting = store.keys("status", JobStatus.QUEUED)
    while ids := list(store.client.zrange(waiting, 0, -1)):
        if later and time.monotonic() - begin >= later[0]:
            send(later.pop(0))
        one = chance.choice(ids)
        queue = client.describe(one).queue
        if queue and queue["eta_seconds"] is not None:
            asked.append((one, time.time(), queue["eta_seconds"]))
        ended.wait(0.2)
    _until(lambda: not store.client.zcard(store.keys("leases")))
    ended.set()
    for thread in threads:
        thread.join()
    figures = Figures([(said, (client.get(one).started_at or 0) / 1000 - at) for one, at, said in asked])
    store.client.close()
    return figures


def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.05)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), appendfsync="everysec").start()
        try:
            print("| backlog | asked | median error | within a quarter | median seconds off |\n|---|---|---|---|---|", flush=True)
            for shape in SHAPES:
                print(measure(server, shape).line(shape.name), flush=True)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
