"""A pipeline from outside: `PIPELINE_MODULES=examples.demo_pipelines` adds `sleep`, which does nothing for as long as you say.

It fails, crashes or ignores a cancel on demand, and so serves the tests. As an example of a pipeline of your own:
a model of the parameters, a function a stage, one `register`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import StageError
from pipeline_jobs.pipelines import Pipeline, Stage, register

#: The longest nap between two looks for a cancel, in seconds.
NAP_SECONDS = 0.05


class Flaky(StageError):
    """It failed, and may not fail again."""

    code = "flaky"
    retryable = True


class SleepParams(BaseModel):
    """The parameters of `sleep`."""

    model_config = ConfigDict(extra="forbid")

    seconds: float = Field(0.0, ge=0, le=86_400, allow_inf_nan=False, description="How long the stage `sleep` takes, in seconds.")
    steps: int = Field(10, ge=1, le=10_000, description="How often it says its progress.")
    echo: JsonValue = Field(None, description="Comes back in the result as it is.")
    fail: str | None = Field(None, description="Fail with this message after the sleep.")
    fail_times: int | None = Field(None, ge=0, description="Fail only so many times: later attempts succeed.")
    retryable: bool = Field(False, description="The failure is one that another attempt may not have.")
    crash: bool = Field(False, description="Kill the process in the middle of the sleep, as the kernel does when memory is out.")
    ignore_cancel: bool = Field(False, description="Sleep on although the job was cancelled, as a stage stuck in a C library does.")


def sleep(context: JobContext) -> Mapping[str, Any]:
    """Sleep in `steps` equal parts."""
    params = SleepParams.model_validate(context.params)
    began = time.monotonic()
    for step in range(1, params.steps + 1):
        nap_until(context, began + params.seconds * step / params.steps, watchful=not params.ignore_cancel)
        if params.crash and step * 2 >= params.steps:
            os.kill(os.getpid(), signal.SIGKILL)
        if not params.ignore_cancel:
            context.progress(step / params.steps, f"step {step} of {params.steps}")
    return {"slept": round(time.monotonic() - began, 3)}


def answer(context: JobContext) -> Mapping[str, Any]:
    """Give back `echo`, or fail if told to."""
    params = SleepParams.model_validate(context.params)
    if params.fail is not None and (params.fail_times is None or _failures(context) <= params.fail_times):
        raise (Flaky if params.retryable else StageError)(params.fail)
    return {"echo": params.echo}


def nap_until(context: JobContext, moment: float, *, watchful: bool) -> None:
    """Sleep until a moment of `time.monotonic()`, looking for a cancel meanwhile if `watchful`."""
    while (left := moment - time.monotonic()) > 0:
        if watchful:
            context.check_cancelled()
        time.sleep(min(left, NAP_SECONDS))


def _failures(context: JobContext) -> int:
    """How often this was called for the job, this time included; over all processes and attempts."""
    folder = context.settings.data_dir / "demo-failures"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / context.job_id).open("ab") as file:
        file.write(b".")
        return file.tell()


SLEEP = register(
    Pipeline(
        "sleep",
        stages=(Stage("sleep", sleep, weight=9), Stage("answer", answer)),
        params=SleepParams,
        needs_url=False,
        description="Sleeps, with progress; fails or crashes on demand.",
    )
)
