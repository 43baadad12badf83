"""`/pipeline/run`."""

from __future__ import annotations

from pydantic import Field

from pipeline_jobs.web.schemas.fields import IdempotencyKey, Parameters, idempotency_key
from pipeline_jobs.web.schemas.jobs import JobRequest


class RunRequest(JobRequest):
    """A job to create and wait for."""

    timeout: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Maximum time to wait, in seconds. Default and maximum: PIPELINE_RUN_TIMEOUT_SECONDS (60). 0: do not wait.",
    )


class RunHeaders(Parameters):
    """Headers of a request that runs and waits."""

    idempotency_key: IdempotencyKey = idempotency_key(
        "run one job", "Until it has ended, a repeated request gets 409; afterwards it gets the result (`Idempotent-Replayed: true`)."
    )
