"""The position of a queued job, why it waits and for about how long: found when a client asks, because limits are reached and left with
every event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline_jobs.job import Job
from pipeline_jobs.states import Reason
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import Whose

#: Parts of a job that are asked why they wait.
LOOKED_AT = 10


def queue_position(store: Store, job_id: str) -> dict[str, Any] | None:
    """`{position, reason, limit, current, eta_seconds}` of a queued job, and `pool` if it waits in another one than `default`; None: the
    job does not wait."""
    return _shown(store.run("queue_position", id=job_id))


def queue_positions(store: Store, job_ids: Sequence[str]) -> list[dict[str, Any] | None]:
    """The positions of several, in one round trip."""
    return [_shown(found) for found in store.run_each("queue_position", [{"id": job_id} for job_id in job_ids])]


def place_of_parts(store: Store, job_id: str) -> dict[str, Any] | None:
    """Of a job that waits for its parts the place of one that waits for a slot, of the newest ones; None: none of them does."""
    (split,) = store.fields(["split"], "job", job_id)
    name = f"{job_id}~{(split or '').partition(' ')[0]}"
    (opened,) = store.fields(["opened"], "parts", name)
    last = int(opened or 0)
    found = queue_positions(store, [f"{name}.{number}" for number in range(max(0, last - LOOKED_AT), last)])
    return next((one for one in found if one and one["reason"] != Reason.DISPATCHED), None)


def with_queue_position(store: Store, job_id: str, whose: Whose) -> tuple[Job, dict[str, Any] | None]:
    """The job and its position, in one round trip. :raises UnknownJob:"""
    job, found = store.get_and_ask(job_id, whose, "queue_position")
    return job, _shown(found)


def _shown(found: Any) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "position": int(found.position) or None,
        "reason": found.reason,
        "limit": float(found.limit) if "." in found.limit else int(found.limit) if found.limit else None,
        "current": int(found.current) if found.current else None,
        "eta_seconds": float(found.eta) if found.eta else None,
        **({"pool": found.pool} if found.pool else {}),
    }
