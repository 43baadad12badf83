"""`/pipeline/pipelines/{pipeline}/limits`: how many jobs of a pipeline run at once."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel, ConfigDict, Field

from pipeline_jobs.exceptions import UnknownPipeline
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.http.openapi import answer, responses
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.http.validation import validated
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.bodies import PipelineLimits
from pipeline_jobs.web.schemas.requests import Name
from pipeline_jobs.web.state import web

blueprint = APIBlueprint(
    "pipeline_limits", __name__, url_prefix="/pipeline/pipelines", abp_tags=[{"name": "pipelines", "description": "Pipelines."}]
)
blueprint.before_request(require_queue)


class PipelinePath(BaseModel):
    """Which pipeline."""

    pipeline: Name = Field(description="A name from `GET /pipeline/pipelines`.")


class PipelineLimitsRequest(BaseModel):
    """The limits of a pipeline."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [{"max_concurrent": 1}]})

    max_concurrent: int | None = Field(
        ge=0,
        le=1_000_000,
        description="Maximum number of its running jobs over all workers; 0: none. null: the number that the pipeline declares.",
    )


@blueprint.get(
    "/<pipeline>/limits",
    summary="Get a pipeline's limits",
    description="How many of its jobs are running, and the maximum.",
    responses=responses({200: answer("The limits.", PipelineLimits)}, 400, 404, 422, 503),
)
@validated
def limits(path: PipelinePath) -> Response:
    return reply(web().parts.pipeline_limits.of(_known(path.pipeline)).to_dict())


@blueprint.put(
    "/<pipeline>/limits",
    summary="Set a pipeline's limits",
    description="They apply to queued jobs immediately; running jobs continue. Jobs of other pipelines overtake those that wait for "
    "this one.",
    responses=responses({200: answer("The new limits.", PipelineLimits)}, 400, 404, 413, 415, 422, 503),
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
