"""`/pipeline/run`."""

from __future__ import annotations

from pydantic import (
    Field,
)

from pipeline_jobs.web.schemas.fields import IdempotencyKey, Parameters, idempotency_key
from pipeline_jobs.web.schemas.jobs import JobRequest


class RunRequest(JobRequest):
    """A job to be made and waited for."""

    timeout: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Longest to wait, in seconds. Default and cap: PIPELINE_RUN_TIMEOUT_SECONDS (60). 0: do not wait.",
    )


class RunHeaders(Parameters):
    """Headers of a request that runs and waits."""

    idempotency_key: IdempotencyKey = idempotency_key(
        "it runs one job", "While that runs, a repetition is answered 409; afterwards with its result (`Idempotent-Replayed: true`)."
    )
