"""`GET /metrics`: the Prometheus text."""

from __future__ import annotations

from flask import Response

from pipeline_jobs.operation import conditions
from pipeline_jobs.operation.metrics import CONTENT_TYPE, render
from pipeline_jobs.web.http.openapi import file_answer
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.state import web

routes = Routes("metrics", "", "Monitoring.", tag="operation", flag=None)


@routes.get(
    "/metrics",
    "Metrics",
    "Metrics for Prometheus. They are counted in the store, so every process returns the same values; the disk is that of the API. While "
    "the store is away there is `pipeline_condition` alone.",
    {200: file_answer("The metrics.", media_type="text/plain", binary=False)},
    errors=(503,),
)
def metrics() -> Response:
    here = web()
    cell = here.cell
    seen = conditions.look(cell.store, cell.settings, here.watch.findings())
    # A store that is away is not asked twice. Series that are not there are not taken for zero.
    text = render(cell.store, cell.settings.metrics_workspaces, cell.artifacts.disk_bytes()) if seen.now else b""
    return Response(text + conditions.exposition(seen).encode(), content_type=CONTENT_TYPE)
