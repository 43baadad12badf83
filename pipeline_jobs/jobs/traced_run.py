"""A run as logs and traces see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline_jobs.job import Job
from pipeline_jobs.tracing import correlation, spans
from pipeline_jobs.tracing.correlation import Correlation


def log_fields(job: Job) -> dict[str, Any]:
    """What every line of a run says besides its text; the stage comes with each stage."""
    whose = {"job_id": job.job_id, "tenant": job.tenant_id, "workspace": job.workspace_id, "attempt": job.attempt}
    return whose if job.request_id is None else {**whose, "request_id": job.request_id}


@contextmanager
def traced_run(job: Job) -> Iterator[spans.Span]:
    """The block is a run of this job: what it makes is of the same request, and its span has that of the queue before it."""
    parent = job.traceparent
    if spans.on():
        parent = _waited(job) or parent
    with (
        correlation.bound(Correlation(job.request_id, parent)),
        spans.span(
            f"run {job.pipeline}", "consumer", job__id=job.job_id, job__tenant=job.tenant_id, job__workspace=job.workspace_id,
            job__pipeline=job.pipeline, job__attempt=job.attempt, job__fence=job.fence, request_id=job.request_id,
        ) as span,
    ):  # fmt: skip
        yield span


def _waited(job: Job) -> str | None:
    """The span of the time from its acceptance (or its `run_at`) to its first start. :return: the parent of the run's: it may have no
    other. How long a later run has waited the record does not say."""
    begun = job.attempt_started_at
    if begun is None or job.started_at != begun:
        return None
    span = spans.start("queue", "internal", job.traceparent, max(job.created_at, min(job.run_at or 0, begun)))
    span.set(job__id=job.job_id)
    span.end(begun)
    return job.traceparent or span.traceparent
