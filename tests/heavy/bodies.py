"""The pipeline of the bars (`PIPELINE_MODULES=tests.heavy.bodies`): works for a while, says when it is about to end, dies or goes deaf."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline_jobs.context import JobContext
from pipeline_jobs.pipelines import Pipeline, Stage, register
from tests.deaths import DEATHS, deaf

MODULE = "tests.heavy.bodies,tests.bodies"
#: The longest nap between two words of progress, in seconds.
NAP_SECONDS = 0.05


class BarParams(BaseModel):
    """What one job does."""

    model_config = ConfigDict(extra="forbid")

    seconds: float = Field(0.0, ge=0, le=3600, description="How long it works, in seconds.")
    tell: int = Field(0, ge=0, le=65535, description="UDP port on loopback that is sent the job's id when the work is done.")
    deaf: bool = Field(False, description="Hear no cancel and no signal but SIGKILL, as code stuck in a C library.")
    poison: Literal["", "kill", "segfault", "memory"] = Field("", description="Then kill its own process.")


def work(context: JobContext) -> Mapping[str, Any]:
    """The body."""
    params = BarParams.model_validate(context.params)
    if params.deaf:
        deaf(params.seconds)
    else:
        began = time.monotonic()
        while (left := began + params.seconds - time.monotonic()) > 0:
            context.progress(1 - left / params.seconds, "working")
            time.sleep(min(left, NAP_SECONDS))
    if params.poison:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        DEATHS[params.poison]()
    if params.tell:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.sendto(context.job_id.encode(), ("127.0.0.1", params.tell))
    return {"pid": os.getpid()}


BAR = register(Pipeline("bar", (Stage("work", work),), params=BarParams, needs_url=False, description="Bodies of the reliability bars."))
