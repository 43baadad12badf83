"""`/health/live` (the process answers) and `/health/ready` (which part does not work, and why)."""

from __future__ import annotations

from flask import Response

from pipeline_jobs.cell import Cell
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.operation import health
from pipeline_jobs.web.http.openapi import answer
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.health import Live, Ready
from pipeline_jobs.web.state import web

#: Before a prober asks again, in seconds.
RETRY_SECONDS = 5

routes = Routes("health", "/health", tag="operation", flag=None)


@routes.get(
    "/live",
    "Check that the process is alive",
    "Does not check any other part. Restart the process if it does not answer.",
    {200: answer("Yes.", Live)},
)
def live() -> Response:
    return reply({"status": "ok"})


@routes.get(
    "/ready",
    "Check that every part works",
    "Checks the store, the broker, the workers, beat and the disk. 503 says which of them do not work, and why (`parts`).",
    {200: answer("Yes.", Ready)},
    errors=(503,),
)
def ready() -> Response:
    cell = web().cell
    parts = {**health.check(cell.store, cell.settings, cell.broker), "access": _access(cell)}
    # A store that is away is not asked twice: that takes as long again.
    parts["disk"] = health.disk(cell.store if parts["store"]["ok"] else None, cell.settings, cell.artifacts)
    failing = [f"{name}: {part.get('reason') or 'not ok'}" for name, part in parts.items() if not part.get("ok")]
    if failing:
        raise Refused(503, "not_ready", "; ".join(failing), headers={"Retry-After": str(RETRY_SECONDS)}, parts=parts)
    return reply({"status": "ready", "parts": parts})


def _access(cell: Cell) -> dict[str, object]:
    """Who is served; never a reason to be not ready."""
    try:
        asked = cell.settings.require_keys or cell.keys.required()
    except StoreUnavailable:
        return {"ok": True, "reason": None}
    return {"ok": True, "reason": None if asked else "no API key has been created: only this machine is served", "keys_required": asked}
