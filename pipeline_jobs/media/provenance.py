"""By what each part of a media job's result was made: our release, the libraries, the speech models with their hashes, the parameters.

It is written by the worker's own process as the stage ends, and kept with what the stage gave: of a stage that another job ran, or an
earlier attempt, it still tells by what that one was run. It is a note and no proof: nobody signs it (C2PA would), and it names no file.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.media import languages, whisper_model

#: What a stage's note is called among its data, before the stage's name.
NOTE = "made_by_"
#: The packages that bring each engine of speech.
ENGINES = {"moonshine": ("moonshine-voice",), "whisper": ("faster-whisper", "ctranslate2")}

Gives = Mapping[str, Any]
#: A file's path, its size and when it was changed: what a hash of it is remembered by.
_Seen = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Noted:
    """A stage that leaves a note of what it was made by; one that gave nothing leaves none."""

    name: str
    run: Callable[[JobContext], Gives]
    release: str
    #: Packages whose versions matter to what it gives.
    packages: tuple[str, ...]
    #: Parameters that matter to it, and the job's quality, if that does.
    params: tuple[str, ...] = ()
    quality: bool = False

    def __call__(self, context: JobContext) -> Gives:
        given = self.run(context)
        # What comes from the job's child may have been said by a hostile file: it writes no notes.
        data = {name: value for name, value in given.items() if not name.startswith(NOTE)}
        return {**data, NOTE + self.name: self._note(context, data)} if data else data

    def _note(self, context: JobContext, data: Gives) -> dict[str, Any]:
        models = dict(_models(context, data))
        packages = [*self.packages, *(package for name in models for package in ENGINES.get(_engine(name), ()))]
        params = {name: context.params[name] for name in self.params}
        return {
            "release": f"pipeline-jobs {self.release}",
            "packages": versions(packages),
            "models": models,
            "params": {**params, "quality": context.quality} if self.quality else params,
        }


def whole(data: Mapping[str, Any]) -> dict[str, Any]:
    """The notes of all stages, by stage."""
    return {name.removeprefix(NOTE): note for name, note in data.items() if name.startswith(NOTE)}


def versions(packages: list[str]) -> dict[str, str]:
    """The versions of those of these packages that are installed."""
    return {name: found for name in packages if (found := _version(name)) is not None}


@lru_cache(maxsize=64)
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _models(context: JobContext, data: Gives) -> Iterator[tuple[str, str | None]]:
    """The models that a stage used, by what it gave, each with its hash; None: it has none that we could know."""
    for name in filter(None, (data.get("speech_model"), data.get("listened_by"), data.get("summary_by"))):
        yield str(name), digest(_folder(context, _engine(name)))


def _engine(model: object) -> str:
    """The engine of a model by its name; empty: it is none of speech."""
    return next((name for name in languages.MODULES if str(model).startswith(name)), "")


def _folder(context: JobContext, engine: str) -> Path | None:
    """Where the files of its model lie."""
    if engine == "whisper":
        return whisper_model.folder(context.settings.whisper_model)
    spec = importlib.util.find_spec("moonshine_voice") if engine == "moonshine" else None
    return Path(spec.origin).parent / "assets" / "tiny-en" if spec is not None and spec.origin else None


def digest(folder: Path | None) -> str | None:
    """What `LC_ALL=C; cd FOLDER && sha256sum * | sha256sum` says of a model; None: it is not there."""
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")) if folder else []
        return _digest(tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files)) if files else None
    except OSError:
        return None


@lru_cache(maxsize=8)
def _digest(files: tuple[_Seen, ...]) -> str:
    """Once for each model and process: a large one has three gigabytes."""
    lines = hashlib.sha256()
    for path, _, _ in files:
        with open(path, "rb") as file:
            lines.update(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {Path(path).name}\n".encode())
    return lines.hexdigest()
