"""`/metrics`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline_jobs.web.schemas.fields import Parameters


class MetricsRequest(Parameters):
    """Which metrics."""

    scope: Literal["process", "store", "all"] | None = Field(
        None,
        description="`process`: those of this API. `store`: those of the installation, the same at each API. `all`: both. Default: "
        "PIPELINE_API_METRICS.",
    )
