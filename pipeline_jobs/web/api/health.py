"""`/health/live` (the process answers) and `/health/ready` (which part does not work, and why)."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.web.http.openapi import answer, responses
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.health import Live, Ready
from pipeline_jobs.web.state import web

#: Before a prober asks again, in seconds.
RETRY_SECONDS = 5

blueprint = APIBlueprint("health", __name__, url_prefix="/health", abp_tags=[{"name": "operation"}])


@blueprint.get(
    "/live",
    summary="Is the process alive?",
    description="Asks nothing of anyone. Restart the process when it does not answer.",
    responses=responses({200: answer("Yes.", Live)}),
)
def live() -> Response:
    return reply({"status": "ok"})


@blueprint.get(
    "/ready",
    summary="Does every part work?",
    description="The store, the broker, the workers and beat. 503 names those that do not and says why (`parts`).",
    responses=responses({200: answer("Yes.", Ready)}, 503),
)
def ready() -> Response:
    parts = {name: dict(part) for name, part in web().parts.readiness().items()}
    failing = [f"{name}: {part.get('reason') or 'not ok'}" for name, part in parts.items() if not part.get("ok")]
    if failing:
        raise Refused(503, "not_ready", "; ".join(failing), headers={"Retry-After": str(RETRY_SECONDS)}, parts=parts)
    return reply({"status": "ready", "parts": parts})
