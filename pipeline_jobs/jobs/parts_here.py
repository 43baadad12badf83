"""Parts in one process, one after the other: where there is no record and no worker (`pipeline_jobs.testing`, a run in process)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import StageError
from pipeline_jobs.job import dumps
from pipeline_jobs.jobs.part_runs import FOLDER, checked, files_of, map_of, refuse_to_publish
from pipeline_jobs.pipelines import Pipeline
from pipeline_jobs.stage import MAX_PARTS, Map, Part, PartError, TooManyParts


class FanOutHere:
    """`context.fan_out` of a run whose stages all run in this process."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def __call__(self, context: JobContext) -> Mapping[str, Any] | None:
        stage = map_of(self._pipeline, context.stage)
        parts = list(islice(stage.split(context), MAX_PARTS + 1))
        if len(parts) > MAX_PARTS:
            raise TooManyParts(f"the stage has more than {MAX_PARTS} parts")
        try:
            results = [_result(stage, _own(context, number, len(parts)), context, part, number) for number, part in enumerate(parts)]
            return stage.join(context, results)
        finally:
            shutil.rmtree(context.workdir / FOLDER, ignore_errors=True)


def _own(context: JobContext, number: int, count: int) -> JobContext:
    """The context of a part: a folder of its own, and no data of the stages before."""
    folder = context.workdir / FOLDER / str(number)
    folder.mkdir(parents=True)
    start, end = context.span
    step = (end - start) / count
    span = (start + step * number, start + step * (number + 1))
    return replace(context, workdir=folder, data={}, span=span, publish=refuse_to_publish)


def _result(stage: Map, own: JobContext, context: JobContext, part: Part, number: int) -> Any:
    data, files = checked(number, part), files_of(number, part, context.workdir)
    given = [_copy(path, own.workdir / name) for name, path in files.items()]
    try:
        result: Mapping[str, Any] = _tried(stage, own, Part(data, given, number))
    except StageError as error:
        if stage.on_part_error == "fail":
            raise
        return PartError(error.code, error.message)
    return json.loads(dumps(dict(result)))


def _copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
    return target


def _tried(stage: Map, own: JobContext, part: Part) -> Mapping[str, Any]:
    """Tried again at once, as often as the stage says: no time passes here."""
    policy = stage.part_retry
    while True:
        try:
            return stage.part(own, part) or {}
        except StageError as error:
            if own.attempt >= policy.max_attempts or not error.retryable or error.code in policy.permanent:
                raise
            own.attempt += 1
