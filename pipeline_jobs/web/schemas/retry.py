"""`/pipeline/jobs/{id}/retry`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
)


class RetryRequest(BaseModel):
    """How to run it again. The body may be left out."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [{"from_stage": "transcribe"}]})
    #: Looked at by `validated` and `openapi`.
    optional_body: ClassVar[bool] = True

    from_stage: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Run this stage and those after it; of those before it the outputs are used again. Absent: every stage that has "
        "succeeded is left out, but for the last.",
    )
