"""Runs of parts, and of the jobs that have them: a split writes the parts' inputs, a part's run gives one result, a join reads them all.

An input and a result are outputs of stages (`jobs/outputs.py`). The run of a part is one of a pipeline of two stages, of which the first
is kept already: it gives the input and its files.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline_jobs import failpoints
from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import BadParameters, InvalidInput, LeaseLost, MachineFault, PublishError, StageError
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import Job, dumps
from pipeline_jobs.jobs import patience
from pipeline_jobs.jobs.faults import Judge
from pipeline_jobs.jobs.folder_marks import without_folder
from pipeline_jobs.jobs.outputs import Keeper, Output, blob_path, named
from pipeline_jobs.pipelines import Pipeline
from pipeline_jobs.stage import MAX_INPUT, MAX_PARTS, Map, Part, PartError, PartOutside, PartsLost, PartTooLarge, Split, Stage, TooManyParts
from pipeline_jobs.store.store import Store

#: The first stage of a part's run.
INPUT = "part.input"
#: How many inputs are written, and results read, in a call.
PAGE = 100
#: Longest result of a part that lies in the table, in characters of JSON: a larger one is a file.
MAX_RESULT = 16_384
#: The most files that a part is given, or leaves.
MAX_FILES = 500
#: How long their names are together, at most, in characters.
MAX_NAMES = 32_768
#: How many files are named in a call, or those of one part.
PAGE_FILES = 1_000
#: Where the join finds the files of part 7: `parts/7`.
FOLDER = "parts"


def map_of(pipeline: Pipeline, name: str) -> Map:
    """:raises PartsLost: the pipeline has no such stage (any more)."""
    found = next((stage for stage in pipeline.stages if stage.name == name), None)
    if not isinstance(found, Map):
        raise PartsLost(f"pipeline {pipeline.name!r} has no stage {name!r} that runs in parts")
    return found


def pipeline_of(pipeline: Pipeline, job: Job) -> Pipeline:
    """What a run of this job is of; of a part: its own small pipeline."""
    if job.part is None:
        return pipeline
    try:
        stage, number = map_of(pipeline, job.part["stage"]), job.part["number"]
    except PartsLost as error:
        # This worker has another version of the pipeline than the one that split the job.
        raise MachineFault(str(error)) from error
    stages = (Stage(INPUT, _lost, weight=1e-6), Stage(stage.name, partial(_run, stage, number), timeout=stage.timeout))
    return Pipeline(pipeline.name, stages, pipeline.params, result=lambda data: {}, retry=stage.part_retry)


def _lost(context: JobContext) -> Mapping[str, Any]:
    raise PartsLost("the input of the part is not there")


def _run(stage: Map, number: int, context: JobContext) -> Mapping[str, Any] | None:
    data, files = context.data.pop("data"), context.data.pop("files")
    return stage.part(context, Part(data, [context.workdir / name for name in files], number))


def refuse_to_publish(path: Path, name: str) -> str:
    """`context.publish` of a part: nobody would see it."""
    raise BadParameters("a part publishes nothing: leave the file in the working folder, and publish it in the join")


class PartKeeper(Keeper):
    """Of a part's run: also what its last stage gives is kept, and must be."""

    small = MAX_RESULT

    def __init__(
        self,
        store: Store,
        artifacts: ArtifactStore,
        job: Job,
        workdir: Path,
        pipeline: Pipeline,
        most_bytes: int,
        judge: Judge | None = None,
    ) -> None:
        super().__init__(store, artifacts, job, workdir, most_bytes, pipeline, hop_bytes=most_bytes, judge=judge)
        self._last, self._border, self._on = "", len(pipeline.stages), True

    def _refused(self, stage: Stage, text: str, sizes: Mapping[str, int]) -> StageError | None:
        return super()._refused(stage, text, sizes) or too_many_files("the part left", sizes)


class FanOut:
    """How a run of a job does a stage in parts: `context.fan_out`."""

    def __init__(self, store: Store, artifacts: ArtifactStore, job: Job, pipeline: Pipeline, judge: Judge) -> None:
        self._store, self._artifacts, self._job, self._pipeline, self._judge = store, artifacts, job, pipeline, judge

    def __call__(self, context: JobContext) -> Mapping[str, Any] | None:
        """What the join gives. :raises Split: there are parts, which must run before."""
        stage = map_of(self._pipeline, context.stage)
        fence, _, split = (self._job.split or "").partition(" ")
        if split == stage.name:
            try:
                return stage.join(context, self._given(f"{self._job.job_id}~{fence}", context.workdir))
            finally:
                # What the join has not taken out of it is no output of the stage.
                shutil.rmtree(context.workdir / FOLDER, ignore_errors=True)
        rows = list(_rows(stage, context))
        for first, page in pages(rows):
            self._write(first, page)
        if not rows:
            return stage.join(context, [])
        failpoints.reach("split.asked")
        raise Split(context, stage, len(rows))

    def _write(self, first: int, rows: Sequence[tuple[str, Mapping[str, Path]]]) -> None:
        """The table names the files first: so none is ever there that nothing names."""
        job, sources = self._job, {blob: path for _, files in rows for blob, path in files.items()}
        blobs = ",".join(blob for _, files in rows for blob in files)
        if not patience.patiently(lambda: self._store.stage_parts(job.job_id, job.fence, first, [row for row, _ in rows], blobs)):
            raise LeaseLost
        failpoints.reach("split.named")
        try:
            for blob, path in sources.items():
                patience.patiently(partial(self._artifacts.put, path, blob_path(job.tenant_id, blob)), PublishError)
        except PublishError as error:
            raise MachineFault(f"the files of parts cannot be stored: {error}") from error
        if sources:
            self._store.output_stored(job.job_id, job.fence, job.tenant_id, sources, "", "", 0)

    def _given(self, split: str, workdir: Path) -> list[Any]:
        """:raises PartsLost: some of it is lost. Then the split is over: the next attempt splits again."""
        try:
            return list(self._results(split, workdir))
        except PartsLost:
            self._write(0, [])
            raise

    def _results(self, split: str, workdir: Path) -> Iterator[Any]:
        (count,) = self._store.fields(["n"], "parts", split)
        if count is None:
            raise PartsLost("what the parts gave is not there")
        for first in range(0, int(count), PAGE):
            numbers = range(first, min(first + PAGE, int(count)))
            rows = self._store.fields([f"r:{number}" for number in numbers], "parts", split)
            for number, row in zip(numbers, rows, strict=True):
                yield self._result(number, json.loads(row or "[]"), workdir / FOLDER / str(number))

    def _result(self, number: int, row: Any, folder: Path) -> Any:
        if isinstance(row, dict):
            return PartError(row["code"], row["message"])
        given = Output(*row[-1]) if len(row) == 2 else None
        keeper = Keeper(self._store, self._artifacts, self._job, folder, 0, self._pipeline, judge=self._judge)
        found = keeper.bring(given) if given else None
        if found is None:
            raise PartsLost(f"what part {number} gave is not there")
        return found


def _rows(stage: Map, context: JobContext) -> Iterator[tuple[str, Mapping[str, Path]]]:
    """Of each part its input as the table has it, and its files by what they are called in the artifact store."""
    parts = list(islice(stage.split(context), MAX_PARTS + 1))
    if len(parts) > MAX_PARTS:
        raise TooManyParts(f"the stage has more than {MAX_PARTS} parts")
    for number, part in enumerate(parts):
        sources: dict[str, Path] = {}
        # Marked as all that is kept: the part's run puts its own folder in the place of this one, and leaves other text as it is.
        data, paths = json.loads(without_folder(checked(number, part), context.workdir)), files_of(number, part, context.workdir)
        files = {name: named(path, sources) for name, path in paths.items()}
        yield dumps([INPUT, {"data": data, "files": list(files)}, None, files]), sources


def pages(rows: Sequence[tuple[str, Mapping[str, Path]]]) -> Iterator[tuple[int, Sequence[tuple[str, Mapping[str, Path]]]]]:
    """The rows, as many at once as one script may write, each time with the number of the first one."""
    first, files = 0, 0
    for number, (_, sources) in enumerate(rows):
        if number > first and (number == first + PAGE or files + len(sources) > PAGE_FILES):
            yield first, rows[first:number]
            first, files = number, 0
        files += len(sources)
    if rows:
        yield first, rows[first:]


def files_of(number: int, part: Part, workdir: Path) -> dict[str, Path]:
    """The files of a part by their names in the working folder.

    :raises PartOutside: one is elsewhere. :raises PartTooLarge: they are too many.
    """
    folder = workdir.resolve()
    found = {os.path.relpath(workdir / one, workdir): workdir / one for one in part.files}
    for name, path in found.items():
        if Path(name).parts[:1] == ("..",) or not path.resolve().is_relative_to(folder):
            raise PartOutside(f"part {number} is to be given {name}, which is not in the working folder")
    if lack := too_many_files(f"part {number} is to be given", found):
        raise lack
    return found


def too_many_files(who: str, names: Collection[str]) -> PartTooLarge | None:
    """Their names would lie in one row. :param who: gives or is given them."""
    length = sum(map(len, names))
    if len(names) <= MAX_FILES and length <= MAX_NAMES:
        return None
    return PartTooLarge(
        f"{who} {len(names)} files with {length} characters of names, more than {MAX_FILES} or {MAX_NAMES}: put them into one"
    )


def checked(number: int, part: Part) -> dict[str, Any]:
    """The data of a part. :raises PartTooLarge: it is too long, or no JSON."""
    try:
        text = dumps(dict(part.data))
    except InvalidInput as error:
        raise PartTooLarge(f"the data of part {number} is no JSON: {error}") from error
    if len(text) > MAX_INPUT:
        raise PartTooLarge(f"the data of part {number} has {len(text)} characters of JSON, more than {MAX_INPUT}: put it into a file")
    return dict(part.data)
