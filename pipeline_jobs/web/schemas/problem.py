"""What every refusal answers (RFC 9457)."""

from __future__ import annotations

from pydantic import (
    BaseModel,
    Field,
)

from pipeline_jobs.web.schemas.health import PartHealth


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str = Field(examples=["params.seconds"])
    message: str
    code: str


class Problem(BaseModel):
    """An error (RFC 9457). Programs switch on `code`."""

    type: str = Field(examples=["urn:pipeline-jobs:problem:invalid_input"])
    title: str
    status: int
    detail: str
    instance: str = Field(description="The path that was asked for.")
    code: str = Field(examples=["invalid_input"])
    request_id: str = Field(description="The answer's X-Request-Id; every log line of this request has it.")
    field: str | None = Field(None, description="Dotted path of the (first) wrong field.")
    errors: list[FieldError] | None = Field(None, description="Each wrong field, at most 20; of a batch those of each job.")
    parts: dict[str, PartHealth] | None = Field(None, description="Of /health/ready only.")
