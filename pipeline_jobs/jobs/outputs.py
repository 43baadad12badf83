"""Outputs of the stages of a run, kept with the job's record: a retry starts where the previous run failed.

An output is the data of a stage and the files that it made or changed in the run's working folder. Small data lies in the record;
files, and data that is not small, lie under `{tenant}/_outputs/{sha256}-{bytes}`: by their content, once for all jobs of a tenant. The
store counts the records that name each (`lua/lib/outputs.lua`) and throws away what no record names any more.

A stage that has a version may be given what another job of the workspace was given by it (`jobs/reuse.py`): the same outputs, by the same
files; the record of each job names its own, so that none is missing anything when another goes.

Whatever cannot be kept, or is not there when it is wanted, costs time only: the stage runs again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import structlog

from pipeline_jobs.exceptions import InvalidInput, MachineFault, PublishError, StageError, StoreUnavailable
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import Job, dumps
from pipeline_jobs.jobs.faults import OF_THE_DISK, Judge
from pipeline_jobs.jobs.folder_marks import with_folder, without_folder
from pipeline_jobs.jobs.reuse import Reuse
from pipeline_jobs.pipelines import DEGRADED, Pipeline, Stage
from pipeline_jobs.stage import HopFailed
from pipeline_jobs.store.store import Store

logger = structlog.get_logger(__name__)

#: No workspace can have this name.
FOLDER = "_outputs"
#: Longest data that lies in the record, in characters of JSON.
SMALL = 2_048


@dataclass(frozen=True, slots=True)
class Output:
    """Of one stage."""

    stage: str
    #: The data, if it is small.
    data: Mapping[str, Any] | None
    #: Else where it is kept.
    kept: str | None = None
    #: File in the working folder -> where it is kept.
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def blobs(self) -> list[str]:
        return [*self.files.values(), *([self.kept] if self.kept else [])]

    @property
    def row(self) -> list[Any]:
        return [self.stage, self.data, self.kept, dict(self.files)]

    @property
    def digest(self) -> str:
        """Of all that the stage gave, whenever it did."""
        return hashlib.sha256(dumps([*self.row[:3], sorted(self.files.items())]).encode()).hexdigest()


def blob_path(tenant_id: str, blob: str) -> str:
    """Where a kept file lies in the artifact store."""
    return f"{tenant_id}/{FOLDER}/{blob}"


def written(outputs: Sequence[Output]) -> tuple[str, str]:
    """As a record has them: JSON, and what is kept, comma separated; two empty strings for none."""
    if not outputs:
        return "", ""
    return dumps([one.row for one in outputs]), ",".join(dict.fromkeys(blob for one in outputs for blob in one.blobs))


def read(text: str | None) -> list[Output]:
    """What `written` wrote."""
    return [Output(stage, data, kept, files) for stage, data, kept, files in json.loads(text or "[]")]


def of_stages(text: str | None, stages: Sequence[str]) -> list[Output]:
    """Those of these stages, as far as they follow each other without a gap. One that failed, though its job went on, runs again."""
    found = []
    for one, stage in zip(read(text), stages, strict=False):
        if one.stage != stage or stage in ((one.data or {}).get(DEGRADED) or ()):
            break
        found.append(one)
    return found


class Keeper:
    """The outputs of one run: those it begins with, those it takes from other jobs, and those it adds."""

    #: Longest data that lies in the record, in characters of JSON.
    small = SMALL

    def __init__(
        self,
        store: Store,
        artifacts: ArtifactStore,
        job: Job,
        workdir: Path,
        most_bytes: int,
        pipeline: Pipeline,
        reuse: Reuse | None = None,
        hop_bytes: int = 0,
        judge: Judge | None = None,
    ) -> None:
        """
        :param most_bytes: of a stage's output; what is larger, and all that comes after it, is not kept. 0: nothing is.
        :param hop_bytes: the same of a stage behind which one of another pool comes; without it the job cannot go on there.
        :param reuse: says which outputs are shared with other jobs; None: none.
        :param judge: says of an error whether an output that cannot be brought back is lost; None: it is.
        """
        self._store, self._artifacts, self._job, self._workdir, self._most = store, artifacts, job, workdir, most_bytes
        self._last, self._reuse, self._judge = pipeline.stages[-1].name, reuse, judge
        self._names, self._border, self._hop_bytes = [stage.name for stage in pipeline.stages], pipeline.border, hop_bytes
        self._lack: StageError | MachineFault | None = None
        self._earlier = read(job.outputs)
        self._outputs: list[Output] = []
        self._on = most_bytes > 0 or self._border > 0
        self._noted = job.outputs or ""
        self._seen: dict[str, tuple[int, int, int]] = {}
        self._taken = {*(job.cached or "").split(",")}
        #: The stages that did not run because another job had given their output.
        self.cached: list[str] = []

    @property
    def written(self) -> tuple[str, str]:
        return written(self._outputs)

    def restore(self, stage: Stage) -> Mapping[str, Any] | None:
        """The data of a stage that need not run, its files in their places; None: it must run, and so must all that follow and that no
        other job has given.

        :raises MachineFault: the output is there, and this machine cannot have it now.
        """
        one = self._earlier.pop(0) if self._earlier else None
        data = self.bring(one) if one is not None and one.stage == stage.name else None
        if data is None:
            self._earlier = []
            self._taken.discard(stage.name)
            data = self._take(stage)
        if stage.name in self._taken:
            self.cached.append(stage.name)
        return data

    def _take(self, stage: Stage) -> Mapping[str, Any] | None:
        key = self._key(stage)
        if key is None or not self._on or self._reuse is None or not self._reuse.may_take(stage):
            return None
        text, blobs = self.written
        try:
            row = self._store.take_output(self._job.job_id, self._job.fence, stage.name, key, text, blobs)
        except StoreUnavailable as error:
            logger.warning("no output of another job can be looked for", seldom=True, stage=stage.name, error=str(error))
            return None
        if not row or (data := self.bring(Output(*json.loads(row)))) is None:
            return None
        self._noted = self.written[0]
        self._taken.add(stage.name)
        return data

    def bring(self, one: Output) -> Mapping[str, Any] | None:
        """Put the files of an output in their places. :return: its data; None: some of it is lost. :raises MachineFault:"""
        try:
            data = one.data if one.kept is None else json.loads(self._read(one.kept))
            self._fetch(one.files)
        except Exception as error:  # each fsspec back end has errors of its own, and none of them is the job's
            if self._judge:
                self._judge.judge_reading(error)
            logger.info("a kept output is missing, so the stage runs again", stage=one.stage, error=str(error))
            return None
        self._outputs.append(one)
        self._seen = self._look()
        restored: Mapping[str, Any] = with_folder(dumps(data), self._workdir)
        return restored

    def keep(self, stage: Stage, data: Mapping[str, Any], *, shared: bool = True, published: bool = False) -> None:
        """Keep what a stage gave, now: a crash or a hand-back may come in the next stage.

        :param shared: other jobs may be given it: it is all that the stage does.
        :param published: it published files, which another run would lack: it runs again, and so do those behind it.
        """
        key = self._key(stage) if shared else None
        must = self._must(stage)
        if must and published:
            where = "publish behind the last change of pools, or stage in parts"
            self._lack = HopFailed(f"{stage.name} published files, which another run would lack: {where}")
        self._on = self._on and stage.reusable and not published and (must or self._most > 0)
        if not self._on or (stage.name == self._last and key is None):
            return
        kept = len(self._outputs)
        try:
            self._keep(stage, data, key)
        except Exception as error:  # likewise; and the names of files may be no Unicode, which no record takes
            self._on = False
            del self._outputs[kept:]
            text = f"what {stage.name} gave cannot be kept: {error}"
            of_the_disk = isinstance(error, OSError) and error.errno in OF_THE_DISK
            self._lack = MachineFault(text) if of_the_disk else HopFailed(text)
            logger.warning("the output of a stage cannot be kept", stage=stage.name, error=str(error))

    def _must(self, stage: Stage) -> bool:
        return self._names.index(stage.name) < self._border

    def lacks(self, stage: str) -> StageError | MachineFault | None:
        """Why another run could not go on with this stage: what an earlier one gave is too much or is lost with this run, or the stores
        are away. None: it could."""
        self.note()
        if self._lack is None and len(self._outputs) < self._names.index(stage):
            return HopFailed("what an earlier stage gave was not kept")
        return self._lack

    def lacks_any(self) -> StageError | MachineFault | None:
        """The same of whoever goes on behind the last stage."""
        self.note()
        return self._lack

    def _key(self, stage: Stage) -> str | None:
        return self._reuse.key(stage, [one.digest for one in self._outputs]) if self._reuse and stage.version else None

    def _keep(self, stage: Stage, data: Mapping[str, Any], key: str | None) -> None:
        now = self._look()
        changed = [name for name, state in now.items() if self._seen.get(name) != state]
        gone = self._seen.keys() - now.keys()
        self._seen = now
        try:
            text = without_folder(data, self._workdir)
        except InvalidInput:
            text = ""
        if lack := self._refused(stage, text, {name: now[name][0] for name in changed}):
            self._on, self._lack = False, lack
            return
        sources: dict[str, Path] = {}
        files = {name: named(self._workdir / name, sources) for name in changed}
        # An output has no word for a file that the stage removed.
        key = None if gone else key
        if len(text) <= self.small:
            self._outputs.append(Output(stage.name, json.loads(text), None, files))
            self.note(sources, key)
            return
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as large:
            large.write(text)
            large.flush()
            self._outputs.append(Output(stage.name, None, named(Path(large.name), sources), files))
            self.note(sources, key)

    def _refused(self, stage: Stage, text: str, sizes: Mapping[str, int]) -> StageError | None:
        """Why what a stage gave is not kept: this text of its data ('': it is no JSON), and files of these sizes."""
        size, most = sum(sizes.values()) + len(text), self._hop_bytes if self._must(stage) else self._most
        if text and size <= most:
            return None
        return HopFailed(f"what {stage.name} gave has {size} bytes, {most} may go to another pool" if text else "it is no JSON")

    def note(self, sources: Mapping[str, Path] | None = None, key: str | None = None) -> None:
        """Write the outputs into the record, then store what they name: what the record names and is not there does no harm.

        :param key: under which other jobs find the last one; when its files are there, so that they find them.
        """
        text, blobs = self.written
        if text == self._noted:
            return
        try:
            if not self._store.keep_outputs(self._job.job_id, self._job.fence, text, blobs):
                return
            self._noted = text
            if sources or key:
                self._store_files(sources or {}, key)
        except (StoreUnavailable, PublishError) as error:
            self._lack = MachineFault(f"the output of a stage cannot be kept: {error}")
            logger.warning("the output of a stage cannot be kept", seldom=True, error=str(error))

    def _store_files(self, sources: Mapping[str, Path], key: str | None) -> None:
        shared = None
        try:
            # Those that are there already, too: how long it takes tells nobody what other workspaces of the tenant have.
            for blob, source in sources.items():
                self._artifacts.put(source, self._path(blob))
            shared = key
        finally:
            # Also by a run that is stopped right here: if its job is gone, nobody else knows of the files.
            self._tell_stored(shared)

    def _tell_stored(self, key: str | None) -> None:
        job, one = self._job, self._outputs[-1]
        most = self._reuse.most if self._reuse else 0
        self._store.output_stored(job.job_id, job.fence, job.tenant_id, dict.fromkeys(one.blobs), key or "", dumps(one.row), most)

    def _fetch(self, files: Mapping[str, str]) -> None:
        """All of them or none: a stage that runs after all finds nothing of what it is about to make."""
        if not files:
            return
        self._workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._workdir, prefix=".") as folder:
            brought = {name: Path(folder, str(number)) for number, name in enumerate(files)}
            for name, path in brought.items():
                with path.open("wb") as copy:
                    self._copy(files[name], copy)
            for name, path in brought.items():
                (self._workdir / name).parent.mkdir(parents=True, exist_ok=True)
                path.replace(self._workdir / name)

    def _read(self, blob: str) -> bytes:
        text = BytesIO()
        self._copy(blob, text)
        return text.getvalue()

    def _copy(self, blob: str, target: IO[bytes]) -> None:
        """:raises ValueError: it is not what its name says."""
        digest = hashlib.sha256()
        with self._artifacts.open(self._path(blob)) as source:
            while piece := source.read(1 << 20):
                digest.update(piece)
                target.write(piece)
        if digest.hexdigest() != blob.partition("-")[0]:
            raise ValueError(f"{blob} is damaged")

    def _path(self, blob: str) -> str:
        return blob_path(self._job.tenant_id, blob)

    def _look(self) -> dict[str, tuple[int, int, int]]:
        """Every file in the working folder, and what changes when it is written."""
        found = {}
        for path in _files(self._workdir):
            stat = path.stat()
            found[str(path.relative_to(self._workdir))] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
        return found


def _files(folder: Path) -> Iterable[Path]:
    for base, _, names in os.walk(folder):
        for name in names:
            path = Path(base, name)
            if path.is_file() and not path.is_symlink():
                yield path


def named(path: Path, sources: dict[str, Path]) -> str:
    """`{sha256}-{bytes}` of a file, noted with where it is."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    blob = f"{digest}-{path.stat().st_size}"
    sources[blob] = path
    return blob
