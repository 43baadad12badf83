"""A body that waits for a word (`PIPELINE_MODULES=tests.bodies`): a test says when a job ends, however fast or slow the machine is.

A body that takes so many seconds races with whatever the test does meanwhile. This one ends when `Stack.tell` has told it to.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import StageError
from pipeline_jobs.pipelines import Pipeline, Stage, register

MODULE = "tests.bodies"
#: The longest nap between two looks for a word or a cancel, in seconds.
NAP_SECONDS = 0.02


class HoldParams(BaseModel):
    """The parameters of `hold`."""

    model_config = ConfigDict(extra="forbid")

    words: int = Field(1, ge=1, le=1000, description="After how many words it ends. Each is a step of its progress.")
    echo: JsonValue = Field(None, description="Comes back in the result as it is.")


def words_of(data_dir: Path, job_id: str) -> Path:
    """The file of a job's words: a byte each. They hold for later runs of the job, too."""
    return data_dir / "words" / job_id


def tell(data_dir: Path, job_id: str, words: int = 1) -> None:
    """Tell a job so many words more."""
    path = words_of(data_dir, job_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"." * words)


def hold(context: JobContext) -> None:
    """Wait for the words. It has progress from its start on, so that a test can see that it runs."""
    params = HoldParams.model_validate(context.params)
    path = words_of(context.settings.data_dir, context.job_id)
    heard = -1
    while heard < params.words:
        told = path.stat().st_size if path.exists() else 0
        if told > heard:
            heard = told
            context.progress(min(1.0, (1 + heard) / (1 + params.words)), f"{heard} of {params.words} words")
        context.check_cancelled()
        time.sleep(NAP_SECONDS)


def answer(context: JobContext) -> Mapping[str, Any]:
    """Give back `echo`."""
    return {"echo": HoldParams.model_validate(context.params).echo}


HOLD = register(
    Pipeline(
        "hold", (Stage("hold", hold, weight=9), Stage("answer", answer)), params=HoldParams, needs_url=False, description="Waits for words."
    )
)


def break_down(context: JobContext) -> None:
    """An error that no pipeline means to raise."""
    print("about to break")
    context.log.debug("and how")
    raise LookupError("broken")


BROKEN = register(Pipeline("broken", (Stage("break", break_down),), needs_url=False, description="Has a bug."))


class AddsParams(BaseModel):
    """The parameters of `adds`."""

    model_config = ConfigDict(extra="forbid")

    fails: bool = Field(False, description="Fail instead.")


def add(context: JobContext) -> Mapping[str, Any]:
    """One more than all of its parents together, of which those that did not complete count for nothing."""
    if AddsParams.model_validate(context.params).fails:
        raise StageError("it was told to")
    return {"n": 1 + sum(parent.result["n"] for parent in context.parents.values() if parent.result is not None)}


ADDS = register(
    Pipeline("adds", (Stage("add", add),), params=AddsParams, needs_url=False, description="Counts what is before it in its workflow.")
)


def threads(context: JobContext) -> Mapping[str, Any]:
    """How many threads libraries are told to use in a job."""
    return {"threads": os.environ.get("OMP_NUM_THREADS")}


THREADS = register(Pipeline("threads", (Stage("threads", threads),), needs_url=False, description="Tells how many threads a job may use."))
