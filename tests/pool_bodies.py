"""A pipeline of two pools (`PIPELINE_MODULES=tests.bodies,tests.pool_bodies`): `cut`, then `hear`, which waits for a word on a worker of
the pool `gpu`, and then `join`. Each stage writes down that it began, and where.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from celery import current_app

from pipeline_jobs.context import JobContext
from pipeline_jobs.pipelines import Pipeline, Stage, register
from tests.bodies import HoldParams, hold

MODULES = "tests.bodies,tests.pool_bodies"


def began(data_dir: Path, job_id: str) -> list[dict[str, Any]]:
    """Each beginning of a stage of a job: its name, the worker's, the process."""
    path = data_dir / "began" / job_id
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def noted(name: str, then: Callable[[JobContext], object] = lambda _: None) -> Callable[[JobContext], Mapping[str, Any]]:
    """A stage that writes its name down and adds it to a file."""

    def run(context: JobContext) -> Mapping[str, Any]:
        path = context.settings.data_dir / "began" / context.job_id
        path.parent.mkdir(parents=True, exist_ok=True)
        worker = current_app.worker_id.partition("@")[0]
        with path.open("a") as file:
            file.write(json.dumps({"stage": name, "worker": worker, "pid": os.getpid()}) + "\n")
        then(context)
        said = context.workdir / "said"
        said.write_text((said.read_text() if said.exists() else "") + name + " ")
        return {"said": said.read_text()}

    return run


TRIP = register(
    Pipeline(
        "trip", (Stage("cut", noted("cut")), Stage("hear", noted("hear", hold), pool="gpu"), Stage("join", noted("join"))),
        params=HoldParams, needs_url=False, description="Goes from pool to pool.",
    )
)  # fmt: skip
