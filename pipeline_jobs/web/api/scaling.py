"""`GET /pipeline/scaling`: what starts and ends workers asks how many there should be."""

from __future__ import annotations

from dataclasses import asdict

from flask import Response

from pipeline_jobs.operation import scaling as figures
from pipeline_jobs.pools.pool_names import DEFAULT_NAME
from pipeline_jobs.web.http.openapi import answer
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.schemas.scaling import Pool, PoolRequest
from pipeline_jobs.web.state import web

routes = Routes("scaling", "/pipeline", tag="operation")


@routes.get(
    "/scaling",
    "How many slots the workers should have",
    "For an autoscaler such as KEDA: what waits and runs, the slots that the workers have, and those that they should have (`wanted`).",
    {200: answer("The figures of this moment.", Pool)},
)
def scaling(query: PoolRequest) -> Response:
    here = web()
    return reply(
        {"pool": query.pool, **asdict(figures.scaling(here.cell.store, here.settings, "" if query.pool == DEFAULT_NAME else query.pool))}
    )
