"""`/pipeline/artifacts`."""

from __future__ import annotations

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
)

from pipeline_jobs.web.schemas.fields import Parameters


class ArtifactPath(BaseModel):
    """Which file."""

    path: str = Field(description="`{tenant}/{workspace}/{job}/{fence}/{name}`, as in the link of the job's result.")


class RangeHeaders(Parameters):
    """Headers of a request for a file."""

    range: str | None = Field(None, alias="Range", description="One range of bytes.", examples=["bytes=0-1023"])


class SignatureQuery(BaseModel):
    """What makes a link ours."""

    model_config = ConfigDict(extra="forbid")

    signature: str = Field("", max_length=1024, description="As in the link.")
