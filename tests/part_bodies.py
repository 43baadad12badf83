"""A pipeline in parts (`PIPELINE_MODULES=tests.bodies,tests.part_bodies`): `cut` gives three, `hear` runs each on a worker of the pool gpu
(the second one waits for a word), `join` puts them together. Each run writes down that it began, and where.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from celery import current_app

from pipeline_jobs.context import JobContext
from pipeline_jobs.pipelines import Map, Part, Pipeline, Stage, register
from tests.bodies import HoldParams, hold

MODULES = "tests.bodies,tests.part_bodies"
#: The part that waits.
HELD = 1


def noted(context: JobContext, what: str) -> None:
    """Write down that this began, under the job's id."""
    path = context.settings.data_dir / "began" / context.job_id.partition("~")[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps({"stage": what, "worker": current_app.worker_id.partition("@")[0], "pid": os.getpid()}) + "\n")


def cut(context: JobContext) -> Iterator[Part]:
    noted(context, "cut")
    for number, word in enumerate(("one", "two", "three")):
        (context.workdir / f"{number}.txt").write_text(word)
        yield Part({"number": number}, [f"{number}.txt"])


def hear(context: JobContext, part: Part) -> Mapping[str, Any]:
    noted(context, f"part {part.number}")
    if part.number == HELD:
        hold(context)
    (context.workdir / "heard.txt").write_text((context.workdir / part.files[0]).read_text().upper())
    return {"heard": str(context.workdir / "heard.txt")}


def join(context: JobContext, results: Sequence[Any]) -> Mapping[str, Any]:
    noted(context, "join")
    return {"heard": [Path(one["heard"]).read_text() for one in results]}


def tell(context: JobContext) -> Mapping[str, Any]:
    noted(context, "tell")
    return {"told": " ".join(context.data["heard"])}


HEAR = Map("hear", cut, hear, join, pool="gpu")
PARTED = register(Pipeline("parted", (HEAR, Stage("tell", tell)), params=HoldParams, needs_url=False, description="In parts."))
