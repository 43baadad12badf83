"""Why a queued job waits, found when it is asked for: who is at a limit changes with every event."""

from __future__ import annotations

from typing import Any

from pipeline_jobs.exceptions import UnknownJob
from pipeline_jobs.job import Job
from pipeline_jobs.store.reader import mapping
from pipeline_jobs.store.store import Store


def described(store: Store, job_id: str) -> Job:
    """The record; of a queued job with its reason of now and `queue`. One call. :raises UnknownJob:"""
    found = store.run("describe", id=job_id)
    if found is None:
        raise UnknownJob
    job = Job.from_mapping(mapping(found.record))
    return job.evolve(queue=_queue(found), reason=found.reason) if found.became == "queued" else job


def _queue(found: Any) -> dict[str, Any]:
    """`{position, reason, limit, current, eta_seconds}` of a reply."""
    return {
        "position": int(found.position) or None,
        "reason": found.reason,
        "limit": float(found.limit) if "." in found.limit else int(found.limit) if found.limit else None,
        "current": int(found.current) if found.current else None,
        "eta_seconds": float(found.eta) if found.eta else None,
    }
