"""Why a queued job waits, found when it is asked for: who is at a limit changes with every event."""

from __future__ import annotations

from typing import Any

from pipeline_jobs.store.store import Store


def why(store: Store, job_id: str) -> dict[str, Any] | None:
    """Why a queued job waits: `{position, reason, limit, current, eta_seconds}`; None: it does not wait."""
    found = store.run("why", id=job_id)
    if found is None:
        return None
    return {
        "position": int(found.position) or None,
        "reason": found.reason,
        "limit": float(found.limit) if "." in found.limit else int(found.limit) if found.limit else None,
        "current": int(found.current) if found.current else None,
        "eta_seconds": float(found.eta) if found.eta else None,
    }
