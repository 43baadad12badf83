"""Why a queued job waits, found when it is asked for: who is at a limit changes with every event."""

from __future__ import annotations

from typing import Any

from pipeline_jobs.store.store import Store


def why(store: Store, job_id: str) -> dict[str, Any] | None:
    """Why a queued job waits: `{position, reason, limit, current, eta_seconds}`; None: it does not wait."""
    reply = store.run("why", job_id)
    if not reply:
        return None
    reason, position, limit, current, eta = reply
    return {
        "position": int(position) or None,
        "reason": reason,
        "limit": float(limit) if "." in limit else int(limit) if limit else None,
        "current": int(current) if current else None,
        "eta_seconds": float(eta) if eta else None,
    }
