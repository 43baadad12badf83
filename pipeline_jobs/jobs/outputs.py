"""Outputs of the stages of a run, kept with the job's record: a retry starts where the previous run failed.

An output is the data of a stage and the files that it made or changed in the run's working folder. Small data lies in the record;
files, and data that is not small, lie under `{tenant}/_outputs/{sha256}-{bytes}`: by their content, once for all jobs of a tenant. The
store counts the records that name each (`lua/lib/outputs.lua`) and throws away what no record names any more.

Whatever cannot be kept, or is not there when it is wanted, costs time only: the stage runs again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from pipeline_jobs.exceptions import InvalidInput, PublishError, StoreUnavailable
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import Job, dumps
from pipeline_jobs.pipelines import Stage
from pipeline_jobs.store.store import Store

logger = structlog.get_logger(__name__)

#: No workspace can have this name.
FOLDER = "_outputs"
#: Longest data that lies in the record, in characters of JSON.
SMALL = 2_048
#: Stands for the run's working folder in kept data: another run has another one.
_WORKDIR = "@WORKDIR@"


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


def written(outputs: Sequence[Output]) -> tuple[str, str]:
    """As a record has them: JSON, and what is kept, comma separated; two empty strings for none."""
    if not outputs:
        return "", ""
    rows = [[one.stage, one.data, one.kept, dict(one.files)] for one in outputs]
    return dumps(rows), ",".join(dict.fromkeys(blob for one in outputs for blob in one.blobs))


def read(text: str | None) -> list[Output]:
    """What `written` wrote."""
    return [Output(stage, data, kept, files) for stage, data, kept, files in json.loads(text or "[]")]


def of_stages(text: str | None, stages: Sequence[str]) -> list[Output]:
    """Those of these stages, as far as they follow each other without a gap."""
    found = []
    for one, stage in zip(read(text), stages, strict=False):
        if one.stage != stage:
            break
        found.append(one)
    return found


class Keeper:
    """The outputs of one run: those it begins with, and those it adds."""

    def __init__(self, store: Store, artifacts: ArtifactStore, job: Job, workdir: Path, most_bytes: int) -> None:
        """:param most_bytes: of a stage's output; what is larger, and all that comes after it, is not kept. 0: nothing is."""
        self._store, self._artifacts, self._job, self._workdir, self._most = store, artifacts, job, workdir, most_bytes
        self._earlier = read(job.outputs)
        self._outputs: list[Output] = []
        self._on = most_bytes > 0
        self._noted = job.outputs or ""
        self._seen: dict[str, tuple[int, int, int]] = {}

    @property
    def written(self) -> tuple[str, str]:
        return written(self._outputs)

    def restore(self, stage: str) -> Mapping[str, Any] | None:
        """The data of a stage that need not run, its files in their places; None: it must run, and so must all that follow."""
        one = self._earlier.pop(0) if self._earlier else None
        if one is None or one.stage != stage:
            self._earlier = []
            return None
        try:
            data = one.data if one.kept is None else json.loads(self._fetch(one.kept, None))
            for name, blob in one.files.items():
                self._fetch(blob, self._workdir / name)
        except Exception as error:  # each fsspec back end has errors of its own, and none of them is the job's
            logger.info("a kept output is missing, so the stage runs again", stage=stage, error=str(error))
            self._earlier = []
            return None
        self._outputs.append(one)
        self._seen = self._look()
        restored: Mapping[str, Any] = json.loads(dumps(data).replace(_WORKDIR, _inside_json(self._workdir)))
        return restored

    def keep(self, stage: Stage, data: Mapping[str, Any]) -> None:
        """Keep what a stage gave, now: a crash or a hand-back may come in the next stage."""
        self._on = self._on and stage.reusable
        if not self._on:
            return
        kept = len(self._outputs)
        try:
            self._keep(stage, data)
        except Exception as error:  # likewise; and the names of files may be no Unicode, which no record takes
            self._on = False
            del self._outputs[kept:]
            logger.warning("the output of a stage cannot be kept", stage=stage.name, error=str(error))

    def _keep(self, stage: Stage, data: Mapping[str, Any]) -> None:
        now = self._look()
        changed = [name for name, state in now.items() if self._seen.get(name) != state]
        self._seen = now
        try:
            text = dumps(dict(data)).replace(_inside_json(self._workdir), _WORKDIR)
        except InvalidInput:
            text = ""
        if not text or sum(now[name][0] for name in changed) + len(text) > self._most:
            self._on = False
            return
        sources: dict[str, Path] = {}
        files = {name: _named(self._workdir / name, sources) for name in changed}
        if len(text) <= SMALL:
            self._outputs.append(Output(stage.name, json.loads(text), None, files))
            self.note(sources)
            return
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as large:
            large.write(text)
            large.flush()
            self._outputs.append(Output(stage.name, None, _named(Path(large.name), sources), files))
            self.note(sources)

    def note(self, sources: Mapping[str, Path] | None = None) -> None:
        """Write the outputs into the record, then store what they name: what the record names and is not there does no harm."""
        text, blobs = self.written
        if text == self._noted:
            return
        try:
            if not self._store.keep_outputs(self._job.job_id, self._job.fence, text, blobs):
                return
            self._noted = text
            for blob, source in (sources or {}).items():
                if not self._artifacts.exists(self._path(blob)):
                    self._artifacts.put(source, self._path(blob))
        except (StoreUnavailable, PublishError) as error:
            logger.warning("the output of a stage cannot be kept", error=str(error))

    def _fetch(self, blob: str, target: Path | None) -> bytes:
        with self._artifacts.open(self._path(blob)) as source:
            if target is None:
                return source.read()
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
        return b""

    def _path(self, blob: str) -> str:
        return f"{self._job.tenant_id}/{FOLDER}/{blob}"

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


def _named(path: Path, sources: dict[str, Path]) -> str:
    """`{sha256}-{bytes}` of a file, noted with where it is."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    blob = f"{digest}-{path.stat().st_size}"
    sources[blob] = path
    return blob


def _inside_json(folder: Path) -> str:
    return dumps(str(folder))[1:-1]
