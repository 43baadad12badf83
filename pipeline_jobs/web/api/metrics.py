"""`GET /metrics`: the Prometheus text."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.operation.metrics import CONTENT_TYPE, render
from pipeline_jobs.web.http.openapi import file_answer, responses
from pipeline_jobs.web.state import web

blueprint = APIBlueprint("metrics", __name__, abp_tags=[{"name": "operation", "description": "Monitoring."}])


@blueprint.get(
    "/metrics",
    summary="Metrics",
    description="Metrics for Prometheus. They are counted in the store, so every process returns the same values.",
    responses=responses({200: file_answer("The metrics.", media_type="text/plain", binary=False)}, 503),
)
def metrics() -> Response:
    cell = web().cell
    return Response(render(cell.store, cell.settings.metrics_workspaces), content_type=CONTENT_TYPE)
