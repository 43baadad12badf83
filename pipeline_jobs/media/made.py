"""What `render` says that it made, held against the catalogue: its word comes from a process that a hostile file may have taken over."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import InternalError
from pipeline_jobs.media.outputs.catalogue import File, Output, wanted

#: A playlist of four hours has some 300 kB.
MAX_LINKING = 4 * 1024**2
#: How outputs name their files inside playlists: nothing that leads out of the folder.
_FILE_NAME = re.compile(r"(?<![\w-])[\w-]+\.(?:m3u8|m4s|jpg)\b")


@dataclass(frozen=True, slots=True)
class MadeOutput:
    """Files that make one artifact. The first is the one that clients open; it may name the others."""

    paths: list[Path]
    types: list[str]
    duration: float | None = None
    #: Names of files in which the names of others are to become links.
    linking: frozenset[str] = frozenset()

    def published(self, publish: Callable[[Path, str], str]) -> dict[str, Any]:
        """Publish its files and give its row of the result. Those that name others are published after them, the first one last.

        :raises PublishError:
        """
        links: dict[str, str] = {}
        size = 0
        for path in sorted(self.paths, key=lambda path: (path.name in self.linking, path == self.paths[0])):
            published = _linked(path, links) if path.name in self.linking else path
            links[path.name] = publish(published, path.name)
            size += published.stat().st_size
        first = self.paths[0].name
        row = {"link": links[first], "type": self.types[0], "bytes": size, "duration": self.duration}
        return row if len(links) == 1 else {**row, "files": {path.name: links[path.name] for path in self.paths}}


def made_outputs(context: JobContext) -> dict[str, MadeOutput]:
    """The outputs that `render` made, by name, in the catalogue's order.

    :raises InternalError: a file is not one that the output may write, or no plain file, or larger than it may be.
    """
    said = context.data.get("made") or {}
    found = {output.name: _checked(context, output, said[output.name]) for output in wanted(context.params) if output.name in said}
    if found.keys() != said.keys():
        raise InternalError("render made what nobody asked for")
    return found


def _checked(context: JobContext, output: Output, said: Any) -> MadeOutput:
    names, duration = list(said["files"]), said["duration"]
    kinds = [_kind(output, name) for name in names]
    paths = [context.workdir / str(name) for name in names]
    if not names or kinds[0] is not output.files[0] or any(path.is_symlink() or not path.is_file() for path in paths):
        raise InternalError("render named a file that is none of its own")
    if duration is not None and not (isinstance(duration, int | float) and math.isfinite(duration)):
        raise InternalError("render gave a duration that is none")
    played = float((context.data.get("output_media") or {}).get("duration") or 0)
    if sum(path.stat().st_size for path in paths) > output.limit(output.max_bytes, played):
        raise InternalError(f"the output {output.name} is larger than it may be")
    linking = frozenset(str(name) for name, kind in zip(names, kinds, strict=True) if kind.links)
    return MadeOutput(paths, [kind.type for kind in kinds], duration, linking)


def _kind(output: Output, name: object) -> File:
    """:raises InternalError: it writes no such file."""
    kind = output.type_of(name) if isinstance(name, str) else None
    if kind is None:
        raise InternalError("render named a file that is none of its own")
    return kind


def _linked(path: Path, links: dict[str, str]) -> Path:
    """A copy with each name of a file as a link relative to its own: its signature, for a player has no other way to it.

    The stage may run again, while the artifact store is away: the file itself stays as it is.

    :raises InternalError: it names another file, or an address: players follow what they are told.
    """
    text = path.read_text(encoding="utf-8", errors="replace") if path.stat().st_size <= MAX_LINKING else "//"
    if "//" in text or ".." in text or not set(_FILE_NAME.findall(text)) <= links.keys():
        raise InternalError("render made a list that names what is none of its own")
    copy = path.with_name(f"linked-{path.name}")
    copy.unlink(missing_ok=True)
    copy.write_text(_FILE_NAME.sub(lambda name: name[0] + _query(links[name[0]]), text), encoding="utf-8")
    return copy


def _query(link: str) -> str:
    """`?signature=...` of a link."""
    _, mark, query = link.partition("?")
    return mark + query
