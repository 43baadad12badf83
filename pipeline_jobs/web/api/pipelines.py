"""`GET /pipeline/pipelines`: the pipelines."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from typing import Any

from flask import Response

from pipeline_jobs.pipelines import Pipeline, Stage
from pipeline_jobs.tenants import is_canary_pipeline
from pipeline_jobs.web.http.openapi import answer
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.schemas.pipelines import PipelineList
from pipeline_jobs.web.state import web

routes = Routes("pipelines", "/pipeline", "Pipelines.", flag=None)


@routes.get(
    "/pipelines",
    "List the pipelines",
    "Each with its stages, its qualities and the JSON schema of its `params`. `missing` has those that this process "
    "would know if what they need were installed.",
    {200: answer("All pipelines, by name.", PipelineList)},
)
def pipelines() -> Response:
    registry = web().cell.pipelines
    known = [_body(pipeline) for pipeline in registry.all() if not is_canary_pipeline(pipeline.name)]
    return reply({"pipelines": known, "missing": [asdict(missing) for missing in registry.missing.values()]})


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "weight": stage.weight,
        "on_error": stage.on_error_of({}),
        "reuse": bool(stage.version),
        "max_attempts": stage.retry.max_attempts if stage.retry else 1,
        "timeout_seconds": stage.timeout,
    }


@lru_cache(maxsize=256)
def _body(pipeline: Pipeline) -> dict[str, Any]:
    return {
        "name": pipeline.name,
        "description": pipeline.description,
        "needs_url": pipeline.needs_url,
        "qualities": list(pipeline.qualities),
        "max_attempts": pipeline.retry.max_attempts,
        "max_concurrent": pipeline.max_concurrent,
        "stages": [_stage(stage) for stage in pipeline.stages],
        "params": pipeline.params.model_json_schema(),
    }
