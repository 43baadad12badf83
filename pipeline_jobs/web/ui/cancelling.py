"""Who asked for a job's end, as the audit log has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline_jobs.access import audit
from pipeline_jobs.access.audit import Row
from pipeline_jobs.events.event_types import EventType
from pipeline_jobs.events.log import Event
from pipeline_jobs.job import Job
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.state import web

#: The row is written after the cancel, and one of many jobs after the last of them: so much later, at most, in milliseconds.
WITHIN_MS = 10_000
_CANCELS = (EventType.CANCEL_REQUESTED, EventType.CANCELLED)
#: Filters of a row of many jobs that say whether this job was among them, besides its tags; with any other one nothing is said.
_PLAIN = ("tenant_id", "workspace_id", "pipeline", "batch_id")
_KNOWN = {*_PLAIN, "tag", "status", "matched"}


def who_cancelled(job: Job, events: Iterable[Event]) -> str | None:
    """Who asked for the job's end, in words; None: nobody did, or it cannot be told (any more)."""
    asked_at = next((event.created_at for event in events if event.type in _CANCELS), None)
    if asked_at is None:
        return None
    rows = audit.work_between(web().cell.store, (job.tenant_id, audit.INSTALLATION), asked_at, asked_at + WITHIN_MS)
    # Whoever named the job goes before whoever cancelled many.
    found = [*(row for row in rows if _names(row, job)), *(row for row in rows if _is_among(row, job))]
    return _called(found[0].actor, job) if found else None


def _names(row: Row, job: Job) -> bool:
    return (row.action, row.target) in (("job.cancelled", job.job_id), ("batch.cancelled", job.batch_id))


def _is_among(row: Row, job: Job) -> bool:
    """It is of many jobs, by filters that this job meets."""
    if row.action != "jobs.cancelled" or not row.detail.keys() <= _KNOWN:
        return False
    asked: Mapping[str, Any] = row.detail
    return all(asked.get(name) in (None, getattr(job, name)) for name in _PLAIN) and asked.get("tag") in (None, *job.tags)


def _called(actor: str, job: Job) -> str:
    """By what name this reader may know who it was: a tenant learns the names of its own keys only."""
    kind, _, key_id = actor.partition(":")
    key = web().cell.keys.get(key_id) if kind == "key" else None
    if key is not None and (key.tenant_id == job.tenant_id or caller().sees_all):
        return f"the key \u201c{key.name}\u201d" if key.name else f"the key {key.key_id}"
    return actor if caller().sees_all else "an operator"
