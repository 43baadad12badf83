"""`/pipeline/jobs/{id}/retry`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict, Field

from pipeline_jobs.web.schemas.fields import Body


class RetryRequest(Body):
    """How to retry a job. The body is optional."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"from_stage": "transcribe"}]})
    #: Looked at by `validated` and `openapi`.
    optional_body: ClassVar[bool] = True

    from_stage: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Run this stage and all later ones, with the outputs of the earlier ones. Absent: stages that succeeded are "
        "skipped, except the last.",
    )
