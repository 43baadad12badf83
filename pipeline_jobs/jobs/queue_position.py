"""The position of a queued job, why it waits and for about how long: found when a client asks, because limits are reached and left with
every event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline_jobs.job import Job
from pipeline_jobs.pools.pool_names import shown
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import Whose


def queue_position(store: Store, job_id: str) -> dict[str, Any] | None:
    """`{position, reason, limit, current, eta_seconds}` of a queued job, `pool` if it waits in another one than `default`, `parts` if it
    waits for those; None: the job does not wait."""
    return told(store.run("queue_position", id=job_id))


def queue_positions(store: Store, job_ids: Sequence[str]) -> list[dict[str, Any] | None]:
    """The positions of several, in one round trip."""
    return [told(found) for found in store.run_each("queue_position", [{"id": job_id} for job_id in job_ids])]


def with_queue_position(store: Store, job_id: str, whose: Whose) -> tuple[Job, dict[str, Any] | None]:
    """The job and its position, in one round trip. :raises UnknownJob:"""
    job, found = store.get_and_ask(job_id, whose, "queue_position")
    return job, told(found)


def told(found: Any) -> dict[str, Any] | None:
    """What the script replies, as `queue_position` gives it."""
    if found is None:
        return None
    return {
        "position": int(found.position) or None,
        "reason": found.reason,
        "limit": float(found.limit) if "." in found.limit else int(found.limit) if found.limit else None,
        "current": int(found.current) if found.current else None,
        "eta_seconds": float(found.eta) if found.eta else None,
        **({"pool": found.pool} if found.pool else {}),
        **({"parts": _parts(found)} if found.parts and found.limit and found.current else {}),
    }


def _parts(found: Any) -> dict[str, Any]:
    running, queued, reason, pool = found.parts
    counts = {"total": int(found.limit), "done": int(found.current), "running": int(running), "queued": int(queued)}
    return {**counts, "reason": reason or None, "pool": shown(pool)}
