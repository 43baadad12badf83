"""Pipelines of the benchmarks: `PIPELINE_MODULES=benchmarks.pipelines`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline_jobs.context import JobContext
from pipeline_jobs.pipelines import Pipeline, Stage, register

QUALITIES = ("720p", "1080p")


class NapParams(BaseModel):
    """The parameters of `nap`."""

    model_config = ConfigDict(extra="forbid")

    seconds: float = 0.0


def noop(context: JobContext) -> Mapping[str, Any]:
    """No work. Gives the moment of its start."""
    return {"at": time.time()}


def nap(context: JobContext) -> Mapping[str, Any]:
    """Sleep, and give both ends and the process."""
    start = time.time()
    time.sleep(float(context.params["seconds"]))
    return {"start": start, "end": time.time(), "process": os.getpid()}


NOOP = register(Pipeline("noop", stages=(Stage("noop", noop),), qualities=QUALITIES))
NAP = register(Pipeline("nap", stages=(Stage("nap", nap),), params=NapParams, needs_url=False))
