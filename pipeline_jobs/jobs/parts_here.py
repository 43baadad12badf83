"""Parts in one process, one after the other: where there is no record and no worker (`pipeline_jobs.testing`, a run in process)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline_jobs.context import JobContext, no_links
from pipeline_jobs.exceptions import StageError
from pipeline_jobs.job import dumps
from pipeline_jobs.jobs.part_runs import FOLDER, checked, files_of, map_of, refuse_to_publish
from pipeline_jobs.jobs.stage_runs import named
from pipeline_jobs.pipelines import Pipeline
from pipeline_jobs.stage import MAX_PARTS, Map, Part, PartError, TooManyParts


class FanOutHere:
    """`context.fan_out` of a run whose stages all run in this process."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def __call__(self, context: JobContext) -> Mapping[str, Any] | None:
        stage, here = map_of(self._pipeline, context.stage), _Here(context)
        parts = list(islice(stage.split(context), MAX_PARTS + 1))
        if len(parts) > MAX_PARTS:
            raise TooManyParts(f"the stage has more than {MAX_PARTS} parts")
        try:
            results = [_result(stage, _own(context, number, len(parts)), context, part, number) for number, part in enumerate(parts)]
            if parts:
                here.forget_split()
            return stage.join(context, results)
        finally:
            shutil.rmtree(context.workdir / FOLDER, ignore_errors=True)


class _Here:
    """What a run has before it splits its job. Where there are workers the join is another run, which finds that and no more."""

    def __init__(self, context: JobContext) -> None:
        self._context, self._data = context, deepcopy(context.data)
        self._files = self._look()

    def _look(self) -> set[Path]:
        folder = self._context.workdir
        return {path for path in folder.rglob("*") if not path.is_dir() and not path.is_relative_to(folder / FOLDER)}

    def forget_split(self) -> None:
        """What the split left in the folder and among the data goes."""
        self._context.data = self._data
        for path in self._look() - self._files:
            path.unlink()


def _own(context: JobContext, number: int, count: int) -> JobContext:
    """The context of a part: a folder of its own, no data of the stages before, and no links for signals."""
    folder = context.workdir / FOLDER / str(number)
    folder.mkdir(parents=True)
    start, end = context.span
    step = (end - start) / count
    span = (start + step * number, start + step * (number + 1))
    return replace(context, workdir=folder, data={}, span=span, publish=refuse_to_publish, signal_url=no_links)


def _result(stage: Map, own: JobContext, context: JobContext, part: Part, number: int) -> Any:
    data, files = checked(number, part), files_of(number, part, context.workdir)
    given = [_copy(path, own.workdir / name) for name, path in files.items()]
    before = {path: _state(path) for path in given}
    try:
        result: Mapping[str, Any] = _tried(stage, own, Part(data, given, number))
    except Exception as error:
        if stage.on_part_error == "fail":
            raise
        shutil.rmtree(own.workdir)
        what = named(error)
        return PartError(what.code, what.message)
    for path, state in before.items():
        # The join is given what the part has left, and not what it was given.
        if path.exists() and _state(path) == state:
            path.unlink()
    return json.loads(dumps(dict(result)))


def _state(path: Path) -> tuple[int, int, int]:
    """What changes when it is written."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


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
