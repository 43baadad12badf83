"""`/pipeline/scaling`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from pipeline_jobs.web.schemas.fields import Parameters


class PoolRequest(Parameters):
    """Which workers."""

    pool: Literal["default"] = Field("default", description="There is one: all job workers.")


class Pool(BaseModel):
    """What a pool of workers has, and should have."""

    pool: Literal["default"] = Field(description="The name of the pool.")
    ready: int = Field(ge=0, description="Jobs that could start and wait for a slot.")
    running: int = Field(ge=0, description="Running jobs.")
    slots: int = Field(ge=0, description="Jobs that can run at once: the slots of the live workers, within the installation's cap.")
    oldest_seconds: float = Field(ge=0, description="How long the first of the jobs that could start has been waiting; 0: none does.")
    wanted: int = Field(
        ge=0,
        description="Slots that there should be: one for each job that runs or is ready, within the cap, and never fewer than the busy "
        "workers have. Divided by the slots of a worker, and rounded up, it is the number of workers.",
    )
