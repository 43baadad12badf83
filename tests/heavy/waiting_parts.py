"""Work that only waits (`PIPELINE_MODULES=tests.heavy.waiting_parts`), at once or in parts: what is left is the engine's share."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline_jobs.context import JobContext
from pipeline_jobs.pipelines import Map, Part, Pipeline, Stage, register
from tests.heavy.bodies import NAP_SECONDS

MODULE = "tests.heavy.waiting_parts"


class WaitParams(BaseModel):
    """How much is waited."""

    model_config = ConfigDict(extra="forbid")

    parts: int = Field(12, ge=1, description="How many parts there are.")
    seconds: float = Field(1.0, gt=0, description="How long each waits, in seconds.")


def _wait(context: JobContext, seconds: float) -> None:
    began = time.monotonic()
    while (left := began + seconds - time.monotonic()) > 0:
        context.progress(1 - left / seconds, "waiting")
        time.sleep(min(left, NAP_SECONDS))


def whole(context: JobContext) -> Mapping[str, Any]:
    _wait(context, context.params["parts"] * context.params["seconds"])
    return {"waited": context.params["parts"]}


def cut(context: JobContext) -> Iterator[Part]:
    return (Part({"seconds": context.params["seconds"]}) for _ in range(context.params["parts"]))


def one(context: JobContext, part: Part) -> Mapping[str, Any]:
    _wait(context, part.data["seconds"])
    return {}


def join(context: JobContext, results: Sequence[Any]) -> Mapping[str, Any]:
    return {"waited": len(results)}


WHOLE = register(Pipeline("waits_whole", (Stage("wait", whole),), WaitParams, needs_url=False))
IN_PARTS = register(Pipeline("waits_in_parts", (Map("wait", cut, one, join),), WaitParams, needs_url=False))
