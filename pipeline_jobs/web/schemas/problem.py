"""Error answers (RFC 9457)."""

from __future__ import annotations

from pydantic import BaseModel, Field

from pipeline_jobs.web.schemas.health import PartHealth


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str = Field(examples=["params.seconds"], description="Dotted path of the field.")
    message: str = Field(description="What is wrong with it, for people.")
    code: str = Field(description="What is wrong with it, for programs.")


class Problem(BaseModel):
    """An error (RFC 9457). Programs should check `code`."""

    type: str = Field(examples=["urn:pipeline-jobs:problem:invalid_input"], description="`urn:pipeline-jobs:problem:` and the code.")
    title: str = Field(description="The name of the status.")
    status: int = Field(description="The status of the answer.")
    detail: str = Field(description="What is wrong, for people.")
    instance: str = Field(description="The path of the request.")
    code: str = Field(examples=["invalid_input"], description="What is wrong, for programs (docs/api.md lists the codes).")
    request_id: str = Field(description="The X-Request-Id of the answer; every log line of this request has it.")
    field: str | None = Field(None, description="Dotted path of the first wrong field.")
    errors: list[FieldError] | None = Field(None, description="All wrong fields, at most 20; for a batch those of each job.")
    parts: dict[str, PartHealth] | None = Field(None, description="Only in /health/ready.")
