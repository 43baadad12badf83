"""`GET /metrics`: the Prometheus text."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Response

from pipeline_jobs.operation import conditions
from pipeline_jobs.operation.metrics import CONTENT_TYPE, Gauge, exposition
from pipeline_jobs.operation.process_metrics import artifact_disk, build_info, clock
from pipeline_jobs.web.http.openapi import file_answer
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.schemas.metrics import MetricsRequest
from pipeline_jobs.web.state import web

#: For whoever looks for the metrics of jobs here.
_ELSEWHERE = b"# Metrics of jobs are in the store: the metrics exporter shows them, and /metrics?scope=all of one API.\n"

routes = Routes("metrics", "", "Monitoring.", tag="operation", flag=None)


@routes.get(
    "/metrics",
    "Metrics",
    "Metrics for Prometheus. By default those of this API: its HTTP requests (of all its processes), its disk, its version. What the store "
    "knows is the same at each API: the metrics exporter shows it once, and `scope` asks for it here.",
    {200: file_answer("The metrics.", media_type="text/plain", binary=False)},
    errors=(503,),
)
def metrics(query: MetricsRequest) -> Response:
    here = web()
    scope = query.scope or here.settings.api_metrics
    own = b"" if scope == "store" else exposition(here.requests.families(), _own(ours=scope == "process"))
    store = _ELSEWHERE if scope == "process" else here.store_metrics.text() + _conditions()
    return Response(store + own, content_type=CONTENT_TYPE)


def _conditions() -> bytes:
    here = web()
    return conditions.exposition(conditions.look(here.cell.store, here.settings, here.watch.findings())).encode()


def _own(*, ours: bool) -> Iterator[Gauge]:
    """:param ours: the clock is not among the store's metrics already."""
    cell = web().cell
    yield build_info()
    yield from artifact_disk(cell.artifacts)
    if ours:
        yield from clock(cell.store)
