"""A worker on a small disk (`PIPELINE_MODULES=tests.small_disk`): what lies in the working folder is all that it has room for.

Only in a process that is told so by its environment, not in that of the tests, which loads the pipeline, too.
"""

from __future__ import annotations

import os
from pathlib import Path

from pipeline_jobs import disk
from pipeline_jobs.context import JobContext
from pipeline_jobs.jobs.faults import size
from pipeline_jobs.pipelines import NoParams, Pipeline, Stage, register
from pipeline_jobs.settings import load_settings

#: How large it is, in bytes.
ROOM = 32 << 20


def free(path: Path) -> int:
    """In the place of `disk.free`."""
    return ROOM - size(load_settings().work_dir)


if "tests.small_disk" in os.environ.get("PIPELINE_MODULES", ""):
    disk.free = free


def fill(context: JobContext) -> None:
    """Write until it is stopped; a second time over what is written, when the disk is full."""
    with (context.workdir / "greed").open("wb") as file:
        while True:
            if file.tell() > ROOM:
                file.seek(0)
                file.truncate()
            file.write(bytes(1 << 20))
            file.flush()
            context.check_cancelled()


GREEDY = register(Pipeline("greedy", (Stage("fill", fill),), params=NoParams, needs_url=False, description="Fills the disk."))
