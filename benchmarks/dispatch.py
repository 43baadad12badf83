"""Server time of the script that dispatches, from 1 to 10,000 tenants with jobs: `python -m benchmarks.dispatch`.

Each call of `finish` frees one slot and dispatches the next fair job, alone on a server of its own (`appendfsync everysec`, as in the other
figures). Times are the server's own (`LATENCY HISTOGRAM`): what the script takes, without network and disk.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from examples.demo_pipelines import SLEEP
from pipeline_jobs.client import Client
from pipeline_jobs.job import NewJob
from pipeline_jobs.pipelines import Registry
from pipeline_jobs.settings import load_settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import ClaimRefused, HintTemplate, Store, connect
from tests.servers import Server

TENANTS = (1, 10, 100, 1000, 10_000)
CALLS = 1000
TEMPLATE = HintTemplate("jobs", json.dumps({"body": "x" * 900, "id": "@ID@", "fence": "@FENCE@"}))


def percentile(histogram: dict[Any, int], share: float) -> int:
    """The upper bound (µs) of the bucket in which so many of the calls lie; buckets are powers of two."""
    total = max(histogram.values())
    return next(int(bound) for bound, count in sorted((int(b), c) for b, c in histogram.items()) if count >= share * total)


def measure(server: Server, tenants: int) -> tuple[float, int, float]:
    """:return: mean and p99 (upper bound) of the script in µs, and finish + dispatch a second as one client sees them."""
    with server.client() as raw:
        raw.flushall()
    settings = load_settings({"PIPELINE_REDIS_URL": server.url, "PIPELINE_MAX_CONCURRENT_JOBS": "100", "PIPELINE_ANNOUNCE_SECONDS": "1000"})
    registry = Registry()
    registry.register(SLEEP)
    store = Store(connect(server.url), settings, template=TEMPLATE)
    client = Client(store, registry, settings)
    for number in range(max(tenants, CALLS + 10)):
        # Past the client, which would wait for the disk at each: here it is about the dispatch.
        store.submit(client.prepare(NewJob(pipeline="sleep", tenant_id=f"t{number % tenants}")))
    store.announce("w", 1, [])
    raw = store.client
    took: list[float] = []
    raw.execute_command("CONFIG", "RESETSTAT")
    raw.execute_command("LATENCY", "RESET")
    for _ in range(CALLS):
        hint = json.loads(str(raw.rpop("jobs")))
        job = store.claim(hint["id"], int(hint["fence"]), worker="w", run="r")
        assert not isinstance(job, ClaimRefused)
        start = time.perf_counter()
        assert store.finish(job.job_id, job.fence, JobStatus.COMPLETED, result={"success": True, "data": {}}) is JobStatus.COMPLETED
        took.append(time.perf_counter() - start)
    # claim and finish share the command: the histogram holds both, finish (with the dispatch) is the dearer half.
    stats = raw.info("commandstats")["cmdstat_evalsha"]
    flat = raw.execute_command("LATENCY", "HISTOGRAM", "evalsha")
    inner = flat[1] if isinstance(flat, list) else flat["evalsha"]
    pairs = dict(zip(inner[::2], inner[1::2], strict=True)) if isinstance(inner, list) else inner
    buckets = pairs["histogram_usec"]
    histogram = dict(zip(buckets[::2], buckets[1::2], strict=True)) if isinstance(buckets, list) else buckets
    store.client.close()
    return float(stats["usec_per_call"]), percentile(histogram, 0.98), 1 / statistics.median(took)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), appendfsync="everysec").start()
        try:
            print("tenants | claim/finish mean µs | p98 of both (~p96 of finish) <= µs | finish + dispatch a second, one client")
            for tenants in TENANTS:
                mean, p98, rate = measure(server, tenants)
                print(f"{tenants:7} | {mean:20.0f} | {p98:34} | {rate:9.0f}")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
