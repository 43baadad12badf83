"""`/pipeline/pipelines/{pipeline}/limits`: how many jobs of a pipeline run at once."""

from __future__ import annotations

from flask import Response

from pipeline_jobs.exceptions import UnknownPipeline
from pipeline_jobs.jobs import pipeline_limits
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.http.openapi import answer
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.pipelines import PipelineLimits, PipelineLimitsRequest, PipelinePath
from pipeline_jobs.web.state import web

routes = Routes("pipeline_limits", "/pipeline/pipelines", "Pipelines.", tag="pipelines")


@routes.get(
    "/<pipeline>/limits",
    "Get a pipeline's limits",
    "How many of its jobs are running, and the maximum.",
    {200: answer("The limits.", PipelineLimits)},
    errors=(400, 422),
)
def limits(path: PipelinePath) -> Response:
    return reply(pipeline_limits.of(web().cell.store, _known(path.pipeline)).to_dict())


@routes.put(
    "/<pipeline>/limits",
    "Set a pipeline's limits",
    "They apply to queued jobs immediately; running jobs continue. Jobs of other pipelines overtake those that wait for this one.",
    {200: answer("The new limits.", PipelineLimits)},
)
def set_limits(path: PipelinePath, body: PipelineLimitsRequest) -> Response:
    now = pipeline_limits.set_cap(web().cell.store, _known(path.pipeline), body.max_concurrent, actor=caller().actor)
    return reply(now.to_dict())


def _known(pipeline: str) -> str:
    try:
        return web().cell.pipelines.get(pipeline).name
    except UnknownPipeline as error:
        raise Refused(404, error.code, error.message, field="pipeline") from None
