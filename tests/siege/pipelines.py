"""What the attackers' jobs do (`PIPELINE_MODULES=tests.siege.pipelines`): `fill` gives a large result and publishes files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline_jobs.context import JobContext
from pipeline_jobs.pipelines import Pipeline, Stage, register

MODULE = "tests.siege.pipelines"


class FillParams(BaseModel):
    """The parameters of `fill`."""

    model_config = ConfigDict(extra="forbid")

    result_bytes: int = Field(0, ge=0, le=2**24, description="Size of the result.")
    files: int = Field(0, ge=0, le=1000, description="How many files are published.")
    file_bytes: int = Field(0, ge=0, le=2**30, description="Size of each.")


def fill(context: JobContext) -> Mapping[str, Any]:
    """Publish the files, give the result."""
    params = FillParams.model_validate(context.params)
    for number in range(params.files):
        path = context.workdir / f"{number}.bin"
        path.write_bytes(b"x" * params.file_bytes)
        context.publish(path, path.name)
    return {"text": "x" * params.result_bytes}


FILL = register(Pipeline("siege-fill", (Stage("fill", fill),), params=FillParams, needs_url=False, description="Makes bytes."))
