"""`/pipeline/pipelines/{pipeline}/limits`: how many jobs of a pipeline run at once."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.exceptions import UnknownPipeline
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.http.openapi import answer, responses
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.http.validation import validated
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.pipelines import PipelineLimits, PipelineLimitsRequest, PipelinePath
from pipeline_jobs.web.state import web

blueprint = APIBlueprint(
    "pipeline_limits", __name__, url_prefix="/pipeline/pipelines", abp_tags=[{"name": "pipelines", "description": "What can be run."}]
)
blueprint.before_request(require_queue)


@blueprint.get(
    "/<pipeline>/limits",
    summary="See a pipeline's limits",
    description="How many of its jobs run at once, and how many may.",
    responses=responses({200: answer("The limits.", PipelineLimits)}, 400, 404, 422, 503),
)
@validated
def limits(path: PipelinePath) -> Response:
    return reply(web().parts.pipeline_limits.of(_known(path.pipeline)).to_dict())


@blueprint.put(
    "/<pipeline>/limits",
    summary="Set a pipeline's limits",
    description="They act on the backlog at once; jobs that run go on. Jobs of other pipelines go past those that wait for this one.",
    responses=responses({200: answer("The limits as they are now.", PipelineLimits)}, 400, 404, 413, 415, 422, 503),
)
@validated
def set_limits(path: PipelinePath, body: PipelineLimitsRequest) -> Response:
    here = web()
    now = here.parts.pipeline_limits.set(_known(path.pipeline), body.max_concurrent)
    here.parts.audit.record(caller().actor, "pipeline_limits.changed", path.pipeline, {"max_concurrent": body.max_concurrent})
    return reply(now.to_dict())


def _known(pipeline: str) -> str:
    try:
        return web().parts.pipelines.get(pipeline).name
    except UnknownPipeline as error:
        raise Refused(404, error.code, error.message, field="pipeline") from None
