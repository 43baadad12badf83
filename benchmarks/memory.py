"""Bytes of the server's memory for each ended job, record and indexes: `python -m benchmarks.memory`.

Jobs go through the real scripts (submit, claim, finish) on a server of their own; what the server uses before and after is divided by their
number. Only ratios to the peer's figure of the same run count; `celery result_extended` keeps 933 B for a task of this kind.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from pipeline_jobs.client import Client
from pipeline_jobs.job import NewJob
from pipeline_jobs.pipelines import NoParams, Pipeline, Registry, Stage
from pipeline_jobs.settings import load_settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import ClaimRefused, HintTemplate, Store, connect
from tests.servers import Server

JOBS = 20_000
TEMPLATE = HintTemplate("jobs", json.dumps({"id": "@ID@", "fence": "@FENCE@"}))


def fill(server: Server, jobs: int, tags: tuple[str, ...] = ()) -> float:
    """:return: bytes a job"""
    with server.client() as raw:
        raw.flushall()
    settings = load_settings({"PIPELINE_REDIS_URL": server.url, "PIPELINE_MAX_CONCURRENT_JOBS": "10", "PIPELINE_ANNOUNCE_SECONDS": "1000"})
    registry = Registry()
    registry.register(Pipeline("media", (Stage("a", lambda context: {}),), params=NoParams, qualities=("1080p",)))
    store = Store(connect(server.url), settings, template=TEMPLATE)
    client = Client(store, registry, settings)
    store.announce("jobs@host", 1, [])
    before = 0
    for number in range(-100, jobs):
        if number == 0:
            before = int(dict(store.client.info("memory"))["used_memory"])  # type: ignore[arg-type]
        new = NewJob(url="https://example.com/watch?v=xtFiJ8AVdW0", tenant_id=f"t{number % 10}", tags=tags)
        store.submit(client.prepare(new))
        hint = json.loads(str(store.client.rpop("jobs")))
        job = store.claim(hint["id"], int(hint["fence"]), worker="jobs@host", run="0123456789abcdef")
        assert not isinstance(job, ClaimRefused)
        store.finish(job.job_id, job.fence, JobStatus.COMPLETED, result={"success": True, "data": {}})
    after = int(dict(store.client.info("memory"))["used_memory"])  # type: ignore[arg-type]
    store.client.close()
    return (after - before) / jobs


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), appendonly="no", appendfsync="no").start()
        try:
            print("ended jobs | bytes each")
            print(f"without tags | {fill(server, JOBS):.0f}")
            print(f"2 tags       | {fill(server, JOBS, ('interview', 'podcast')):.0f}")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
