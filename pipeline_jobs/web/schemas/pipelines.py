"""`/pipeline/pipelines` and a pipeline's limits."""

from __future__ import annotations

from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
)

from pipeline_jobs.web.schemas.fields import Name


class PipelinePath(BaseModel):
    """Which pipeline."""

    pipeline: Name = Field(description="A name from `GET /pipeline/pipelines`.")


class PipelineLimitsRequest(BaseModel):
    """The limits of a pipeline."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [{"max_concurrent": 1}]})

    max_concurrent: int | None = Field(
        ge=0, le=1_000_000, description="Most of its jobs at once, over all workers; 0: none. null: what the pipeline declares."
    )


class StageInfo(BaseModel):
    """One stage of a pipeline."""

    name: str
    weight: float = Field(description="Its share of the progress, relative to the others.")


class PipelineInfo(BaseModel):
    """What can be run."""

    name: str
    description: str
    needs_url: bool = Field(description="A job of it must have a `url`.")
    qualities: list[str] = Field(description="The values of `quality` it takes; the first is the default.")
    max_attempts: int
    max_concurrent: int | None = Field(
        description="Most of its jobs at once, over all workers, as it declares; null: any number. Its `limits` say what holds."
    )
    stages: list[StageInfo]
    params: dict[str, Any] = Field(description="JSON schema of `params`.")


class PipelineList(BaseModel):
    """All pipelines, by name."""

    pipelines: list[PipelineInfo]


class PipelineLimits(BaseModel):
    """How many jobs of a pipeline run at once, over all workers."""

    max_concurrent: int | None = Field(description="Most, as set here; null: what the pipeline declares holds.")
    declared: int | None = Field(description="Most, as the pipeline declares; null: any number.")
    current: int = Field(description="How many are dispatched or run.")
