"""`jobs explain`: why a job is where it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from pipeline_jobs.cell import Cell
from pipeline_jobs.cli.console import json_option, print_json, with_cell
from pipeline_jobs.job import Job, rfc3339
from pipeline_jobs.operation.waits import frees, reason
from pipeline_jobs.runlog.lines import harmless
from pipeline_jobs.states import JobStatus, Reason

#: What an operator does about it, where that is not the limit or the time itself.
_TO_DO = {
    Reason.FAIR_SHARE: "More slots: start a worker, or autoscale.",
    Reason.NO_WORKER: "jobs doctor says more.",
    Reason.NO_WORKER_FOR_POOL: "Start a worker of its pool (-Q jobs.POOL).",
    Reason.NO_WORKER_FOR_PIPELINE: "Install what the pipeline needs on a worker (its log names it).",
    Reason.TENANT_CONCURRENCY: "jobs limits TENANT --max-concurrent changes that.",
    Reason.TENANT_RATE: "jobs limits TENANT --start-rate changes that.",
    Reason.TENANT_PAUSED: "jobs limits TENANT --resumed changes that.",
    Reason.PIPELINE_CONCURRENCY: "jobs pipeline NAME --max-concurrent changes that.",
    Reason.SIGNAL: "jobs signal JOB NAME JSON sends it.",
}


@click.command()
@click.argument("job_id")
@json_option("Print what is known as JSON.")
@with_cell
def explain(cell: Cell, job_id: str, as_json: bool) -> None:
    """Say why a job is where it is: what a queued one waits for and what would free it, where a running one runs, why one has failed."""
    job = cell.client.describe(job_id)
    text = " ".join((_told(job), *_parts(job)))
    if as_json:
        freed_by = frees(job.reason) if job.status is JobStatus.QUEUED else ""
        known = {"job_id": job.job_id, "status": job.status.value, "reason": job.reason, "queue": job.queue}
        print_json({**known, "explanation": text, "freed_by": freed_by or None})
    else:
        # Errors and messages are the words of pipelines, and of whatever they were given.
        click.echo(harmless(f"{job.job_id} is {job.status.value}. {text}"))


def _told(job: Job) -> str:
    if job.status is JobStatus.QUEUED:
        return " ".join(filter(None, (reason(job.reason), *_place(job), _freed(job))))
    if job.status is JobStatus.RUNNING:
        stopping = " It was asked to stop." if job.cancel_requested else ""
        return f"{job.worker or 'A worker'} runs it since {rfc3339(job.attempt_started_at)}: {job.stage or 'no stage yet'}.{stopping}"
    code = (job.error_detail or {}).get("code")
    ended = "Somebody cancelled it." if job.status is JobStatus.CANCELLED else "It ended as it should."
    return f"{job.error or ended}{f' (code {code})' if code else ''}"


def _freed(job: Job) -> str:
    by = frees(job.reason)
    return " ".join(filter(None, (f"It is freed by {by}." if by else "", _TO_DO.get(Reason(job.reason)) if by and job.reason else "")))


def _parts(job: Job) -> tuple[str, ...]:
    """How many parts run of a job that waits for them, and why others do not start."""
    parts = (job.queue or {}).get("parts")
    if not parts:
        return ()
    counted = f"Running now: {parts['running']}, waiting for a slot: {parts['queued']}."
    if parts["reason"] in (None, Reason.DISPATCHED):
        return (counted,)
    why = f"Parts of it wait in the pool {parts['pool']}: {reason(parts['reason'])}"
    return tuple(filter(None, (counted, why, _TO_DO.get(parts["reason"]))))


def _place(job: Job) -> tuple[str, ...]:
    """Where it stands in the queue, and what else it waits for."""
    queue = job.queue or {}
    return (
        f"It waits in the pool {queue['pool']}." if queue.get("pool") else "",
        f"Position {queue['position']}." if queue.get("position") else "",
        _limit(queue),
        f"It may start in about {queue['eta_seconds']:.0f} s." if queue.get("eta_seconds") is not None else "",
        f"It waits for {', '.join(job.depends_on)}." if job.reason == Reason.DEPENDENCY else "",
        f"It waits for {job.awaits}: {job.message}" if job.awaits else "",
        f"From {rfc3339(job.run_at)} on." if job.reason in (Reason.SCHEDULED, Reason.RETRY) and job.run_at else "",
        f"The last try: {job.error}" if job.error else "",
    )


def _limit(queue: Mapping[str, Any]) -> str:
    if queue.get("limit") is None:
        return ""
    return f"{queue['current']} of {queue['limit']} have ended." if queue["reason"] == Reason.PARTS else f"The limit is {queue['limit']}."
