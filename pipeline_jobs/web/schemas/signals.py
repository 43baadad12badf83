"""`/pipeline/jobs/{id}/signals/{name}`."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from pipeline_jobs.jobs.signals import MAX_PAYLOAD
from pipeline_jobs.web.schemas.fields import Body
from pipeline_jobs.web.schemas.jobs import JobPath, SignalWord


class SignalPath(JobPath):
    """Which signal of which job."""

    signal: str = Field(description="The name of the stage that waits for it.", examples=["approval"])


class SignalRequest(Body):
    """A signal."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"payload": {"approved": True, "note": "go"}}]})

    payload: Any = Field(
        None, description=f"Any JSON value, at most {MAX_PAYLOAD:,} characters; the later stages find it in `context.data`."
    )


class Signal(SignalWord):
    """The first signal of this name."""

    job_id: str = Field(description="The job.")
    signal: str = Field(description="Its name.")
