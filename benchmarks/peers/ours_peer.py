"""pipeline-jobs: the submitting side, by its client. Settings from the environment, as for every process of it."""

import itertools
import os
import secrets
import time

from talk import FIELDS, serve, timed

from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.jobs.run import Run
from pipeline_jobs.settings import load_settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.worker.app import create_celery

app = create_celery(load_settings())
client, store = app.cell.client, app.cell.store
batches = Batches(client)
numbers = itertools.count()
mine = secrets.token_hex(4)


def new(**more):
    return NewJob(pipeline="noop", **{**FIELDS, **more})


def enqueue(n, idempotency=True, limits=True, tenants=0):
    """With everything checked: a tenant with limits, an Idempotency-Key of each job. Or jobs of so many tenants in turn."""
    if limits:
        client.set_limits(
            FIELDS["tenant_id"], TenantLimits(weight=2.0, max_concurrent=100, max_queued=900_000, submit_rate=1e6, start_rate=1e6)
        )
    if idempotency:
        return timed(n, lambda: client.submit(new(), idempotency_key=f"order-{mine}-{next(numbers)}"))
    if tenants:
        return timed(n, lambda: client.submit(new(tenant_id=f"t{next(numbers) % tenants}")))
    return timed(n, lambda: client.submit(new()))


def enqueue_many(n, size):
    """Batches of `size` jobs, with everything checked as for one."""
    return timed(n // size, lambda: batches.create(NewBatch(jobs=tuple(new() for _ in range(size)), tenant_id=FIELDS["tenant_id"])))


def end(n, result, tags=(), events=0):
    """Submit jobs and end them as a worker of one slot does, with so many progress events. Gives the seconds of each step."""
    store.announce("bench", 1, [])
    took = {"submit": 0.0, "claim": 0.0, "finish": 0.0}
    clock = time.perf_counter
    for _ in range(n):
        a = clock()
        job = client.submit(new(tags=tuple(tags)))
        b = clock()
        store.client.rpop("jobs")
        b2 = clock()
        claimed = store.claim(job.job_id, job.fence, worker="jobs@host/39d14112", run="0123456789abcdef")
        for number in range(events):
            store.progress(job.job_id, job.fence, 10.0 * number + 1, "transcode", f"frame {number * 250}")
        c = clock()
        assert store.finish(claimed.job_id, claimed.fence, JobStatus.COMPLETED, result=result) is JobStatus.COMPLETED
        d = clock()
        took["submit"] += b - a
        took["claim"] += c - b2
        took["finish"] += d - c
    return took


def keep(result):
    """An ended job; its id."""
    store.announce("bench", 1, [])
    job = client.submit(new())
    store.client.rpop("jobs")
    store.claim(job.job_id, job.fence, worker="bench", run="r")
    store.finish(job.job_id, job.fence, JobStatus.COMPLETED, result=result)
    return job.job_id


def waiting(n):
    """Ids of jobs that wait for a worker."""
    return [client.submit(new()).job_id for _ in range(n)]


def progress(n):
    """Seconds for `n` coalesced calls, as a stage makes them; what the store had at the end."""
    store.announce("bench", 1, [])
    job = client.submit(new())
    store.claim(job.job_id, job.fence, worker="bench", run="r")
    fractions = [number / n * 100 for number in range(n + 1)]
    with Run(store.progress, job.job_id, job.fence) as run:
        values = iter(fractions)
        took = timed(n, lambda: run.report("transcode", next(values), "transcoding"))
        run.report("transcode", 99.5, "last")
    return [took, store.get(job.job_id).progress]


def start_of(started):
    """Milliseconds from a moment just before the submit to the job's start, `started` times one after another."""
    waits = []
    for _ in range(started):
        before = time.time()
        job = client.wait(client.submit(new()).job_id, 60)
        waits.append((job.result["data"]["at"] - before) * 1000)
    return waits


if __name__ == "__main__":
    os.environ["PYTHONUNBUFFERED"] = "1"
    serve(enqueue=enqueue, enqueue_many=enqueue_many, end=end, keep=keep, waiting=waiting, progress=progress, start_of=start_of)
