"""`/health/live` (the process answers), `/health/accept` (it can accept a job), `/health/ready` (which part does not work, and why) and
`/health/installation` (everything that an operator should know of)."""

from __future__ import annotations

from flask import Response

from pipeline_jobs.cell import Cell
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.operation import conditions, health
from pipeline_jobs.web.http.openapi import answer
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.health import Installation, Live, Ready
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
    "/accept",
    "Check that this process can accept a job",
    "For the probe of a load balancer: 200 or 503, without a body. It asks the store, at most once a second; workers and beat may be away.",
    {200: answer("Yes.", None), 503: answer("No.", None)},
)
def accept() -> Response:
    return Response(status=200 if web().accepts() else 503)


@routes.get(
    "/installation",
    "Check the whole installation",
    "Everything that an operator should know of, with what to do about it. `status` is `error` if a condition of that severity holds, else "
    "`warning` or `ok`; the metric `pipeline_condition` has the same conditions. Always 200.",
    {200: answer("What was found.", Installation)},
)
def installation() -> Response:
    here = web()
    seen = conditions.look(here.cell.store, here.settings, here.watch.findings())
    return reply(
        {
            "status": seen.worst,
            "parts": conditions.parts(seen),
            "conditions": [found.to_dict() for found in seen.found],
        }
    )


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
