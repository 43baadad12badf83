"""A pipeline in parts for tests that kill its runs (`PIPELINE_MODULES=tests.bodies,tests.torn_parts`): each run of a split, a part or a
join writes down that it began, and what a part gives names the run that made it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.pipelines import Map, NoParams, Part, Pipeline, Stage, register

MODULES = "tests.bodies,tests.torn_parts"
#: Of each job.
PARTS = 3


@dataclass(frozen=True)
class Began:
    """A run of a job (`what` is "split" or "join") or of a part (its number), by a name that no other has."""

    of: str
    what: str
    run: str


def begun(data_dir: Path, job_id: str) -> list[Began]:
    path = data_dir / "torn" / job_id
    return [Began(*json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def _noted(context: JobContext, what: str) -> str:
    path, run = context.settings.data_dir / "torn" / context.job_id.partition("~")[0], secrets.token_hex(8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps([context.job_id, what, run]) + "\n")
    return run


def split(context: JobContext) -> Iterator[Part]:
    run = _noted(context, "split")
    for number in range(PARTS):
        (context.workdir / f"{number}.txt").write_text(f"{run} {number}")
        yield Part({"number": number}, [f"{number}.txt"])


def part(context: JobContext, part: Part) -> Mapping[str, Any]:
    assert Path(part.files[0]).read_text().split()[1] == str(part.data["number"]) == str(part.number)
    (context.workdir / "run.txt").write_text(_noted(context, str(part.number)))
    return {"number": part.number, "run": str(context.workdir / "run.txt")}


def join(context: JobContext, results: Sequence[Any]) -> Mapping[str, Any]:
    _noted(context, "join")
    return {"joined": [[one["number"], Path(one["run"]).read_text()] for one in results]}


def tell(context: JobContext) -> Mapping[str, Any]:
    return {"told": len(context.data["joined"])}


TORN = register(Pipeline("torn", (Map("hear", split, part, join, window=2), Stage("tell", tell)), NoParams, needs_url=False))
