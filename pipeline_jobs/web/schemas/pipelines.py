"""`/pipeline/pipelines` and a pipeline's limits."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline_jobs.web.schemas.fields import Body, Name


class PipelinePath(BaseModel):
    """Which pipeline."""

    pipeline: Name = Field(description="A name from `GET /pipeline/pipelines`.")


class PipelineLimitsRequest(Body):
    """The limits of a pipeline."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"max_concurrent": 1}]})

    max_concurrent: int | None = Field(
        ge=0,
        le=1_000_000,
        description="Maximum number of its running jobs over all workers; 0: none. null: the number that the pipeline declares.",
    )


class StageInfo(BaseModel):
    """One stage of a pipeline."""

    name: str = Field(description="Its name, as in `stage` of a job.")
    weight: float = Field(description="Its share of the progress, relative to the others.")
    on_error: Literal["fail", "warn", "skip"] = Field(description="What its error costs a job with default parameters.")
    reuse: bool = Field(description="True: it is not run where another job of the workspace was given the same.")
    max_attempts: int = Field(description="How often it is tried within one run of a job, after errors that may pass.")
    timeout_seconds: float | None = Field(description="Longest that one try may take; null: as long as the job may run.")


class PipelineInfo(BaseModel):
    "Pipelines."

    name: str = Field(description="Its name, for `pipeline` of a job.")
    description: str = Field(description="What it does.")
    needs_url: bool = Field(description="Whether its jobs must have a `url`.")
    qualities: list[str] = Field(description="Permitted values of `quality`; the first is the default.")
    max_attempts: int = Field(description="Maximum number of attempts of its jobs, if they say nothing else.")
    max_concurrent: int | None = Field(
        description="Maximum number of its running jobs over all workers, as declared; null: no limit. Its `limits` have the number "
        "that applies."
    )
    stages: list[StageInfo] = Field(description="Its stages, in the order in which they run.")
    params: dict[str, Any] = Field(description="JSON schema of `params`.")


class MissingPipeline(BaseModel):
    """A pipeline that cannot be run because a module that it requires is not installed."""

    name: str = Field(description="Its name.")
    modules: list[str] = Field(description="Python modules that are not there.")
    extra: str = Field(description="What brings them, as pip is told; empty: not known.")


class PipelineList(BaseModel):
    """All pipelines, by name."""

    pipelines: list[PipelineInfo] = Field(description="The pipelines that can be run.")
    missing: list[MissingPipeline] = Field(description="The pipelines that cannot be run.")


class PipelineLimits(BaseModel):
    """How many jobs of a pipeline run at once, over all workers."""

    max_concurrent: int | None = Field(description="Maximum number of running jobs, as set; null: the declared number applies.")
    declared: int | None = Field(description="Maximum number of running jobs, as declared by the pipeline; null: no limit.")
    current: int = Field(description="Number of jobs that are dispatched or running.")
