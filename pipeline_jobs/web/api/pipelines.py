"""`GET /pipeline/pipelines`: what can be run."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.pipelines import Pipeline
from pipeline_jobs.tenants import is_canary_pipeline
from pipeline_jobs.web.http.openapi import answer, responses
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.schemas.pipelines import PipelineList
from pipeline_jobs.web.state import web

blueprint = APIBlueprint("pipelines", __name__, url_prefix="/pipeline", abp_tags=[{"name": "pipelines", "description": "What can be run."}])


@blueprint.get(
    "/pipelines",
    summary="List the pipelines",
    description="Each with its stages, the qualities it takes, and the JSON schema of its `params`.",
    responses=responses({200: answer("All pipelines, by name.", PipelineList)}),
)
def pipelines() -> Response:
    return reply({"pipelines": [_body(pipeline) for pipeline in web().parts.pipelines.all() if not is_canary_pipeline(pipeline.name)]})


@lru_cache(maxsize=256)
def _body(pipeline: Pipeline) -> dict[str, Any]:
    return {
        "name": pipeline.name,
        "description": pipeline.description,
        "needs_url": pipeline.needs_url,
        "qualities": list(pipeline.qualities),
        "max_attempts": pipeline.retry.max_attempts,
        "max_concurrent": pipeline.max_concurrent,
        "stages": [{"name": stage.name, "weight": stage.weight} for stage in pipeline.stages],
        "params": pipeline.params.model_json_schema(),
    }
