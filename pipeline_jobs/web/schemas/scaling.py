"""`/pipeline/scaling`."""

from __future__ import annotations

from pydantic import BaseModel, Field

from pipeline_jobs.web.schemas.fields import Parameters


class PoolRequest(Parameters):
    """Which workers."""

    pool: str = Field(
        "default",
        pattern=r"^[a-z][a-z0-9-]{0,19}$",
        description="Those that serve this pool: `default` (`-Q jobs`), or X (`-Q jobs.X`). One that there never was has nothing.",
    )


class Pool(BaseModel):
    """What a pool of workers has, and should have."""

    pool: str = Field(description="The name of the pool.")
    ready: int = Field(ge=0, description="Jobs that could start and wait for a slot.")
    running: int = Field(ge=0, description="Running jobs.")
    slots: int = Field(ge=0, description="Jobs that can run at once: the slots of the live workers, within the pool's cap.")
    oldest_seconds: float = Field(ge=0, description="How long the first of the jobs that could start has been waiting; 0: none does.")
    wanted: int = Field(
        ge=0,
        description="Slots that there should be: one for each job that runs or is ready, within the cap, and never fewer than the busy "
        "workers have. Divided by the slots of a worker, and rounded up, it is the number of workers.",
    )
