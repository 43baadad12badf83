"""A job as a row of the history, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline_jobs.job import Job
from pipeline_jobs.pipelines import Registry

#: Of a job what is not copied: where its webhook goes (such addresses are secrets often enough), and what only its runs needed.
_LEFT_OUT = {
    "webhook": None, "outputs": None, "blobs": None, "traceparent": None, "worker": None, "max_run_seconds": None, "secret_params": (),
}  # fmt: skip


def kept_params(pipelines: Registry, job: Job) -> Mapping[str, Any]:
    """The params of a job but for those that its pipeline marks as secret; of a pipeline that this process does not know, any may be."""
    known = next((one for one in pipelines.all() if one.name == job.pipeline), None)
    return {} if known is None else known.without_secrets(job.params)


def row(cell: str, flat: Mapping[str, str], pipelines: Registry) -> dict[str, Any]:
    """The row of a record in the store.

    :raises KeyError, TypeError, ValueError: it cannot be read.
    """
    job = Job.from_mapping(flat)
    params = kept_params(pipelines, job)
    ended, started = job.completed_at or job.created_at, job.started_at
    last = 0 if job.attempt_started_at is None else max(0, ended - job.attempt_started_at)
    return {
        "cell": cell,
        "job_id": job.job_id,
        "ord": job.order,
        "tenant_id": job.tenant_id,
        "workspace_id": job.workspace_id,
        "pipeline": job.pipeline,
        "status": job.status.value,
        "error_code": _plain((job.error_detail or {}).get("code")),
        "batch_id": job.batch_id,
        "tags": tags_text(job.tags),
        "created_ms": job.created_at,
        "started_ms": started,
        "ended_ms": ended,
        # Clocks are set back now and then.
        "wait_ms": None if started is None else max(0, started - job.created_at),
        "run_ms": None if started is None else max(0, ended - started),
        # A process of the version before does not tell it: then it is the last run's.
        "slot_ms": int(flat.get("ran_ms", last)) + int(flat.get("parts_ms", 0)),
        "attempts": job.attempt,
        "crashes": job.crashes,
        "handbacks": job.handbacks,
        "record": json.dumps(job.evolve(params=params, **_LEFT_OUT).to_mapping()),
    }


def job_of(record: str) -> Job:
    """The job of a row. :raises KeyError, TypeError, ValueError: it cannot be read."""
    return Job.from_mapping(json.loads(record))


def tags_text(tags: Iterable[str]) -> str | None:
    """Tags in a text in which `tag_text` of each of them is found, and of no other."""
    found = "".join(map(tag_text, tags))
    return found or None


def tag_text(tag: str) -> str:
    # JSON has no such character in a string.
    return f"\x1f{json.dumps(tag)}\x1f"


def _plain(value: object) -> str | None:
    # PostgreSQL takes no NUL.
    return str(value).replace("\0", "") if value else None
