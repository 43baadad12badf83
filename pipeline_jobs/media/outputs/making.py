"""What the maker of an output is given, and what it gives: the frame around all makers, with their limits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.media.outputs.catalogue import Output


class CannotMake(Exception):
    """This output is left out, and the job goes on; the text is the end of its warning."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a maker gives."""

    #: Names of the files it wrote into the working folder; the one that the result links to comes first.
    files: tuple[str, ...]
    #: Seconds that it plays, where it plays.
    duration: float | None = None
    #: Fields of the result, of those that `Output.gives` names.
    fields: Mapping[str, Any] = field(default_factory=dict)


class Making:
    """One output of one job in the making."""

    def __init__(self, context: JobContext, output: Output, span: tuple[float, float]) -> None:
        """:param span: its part of the stage's progress, from and to, of 1.0."""
        self.context, self.output = context, output
        self._span, self._told = span, 0.0
        self._began = time.process_time()
        self._written: tuple[str, ...] = ()

    @property
    def film(self) -> Path:
        """What `transcode` made: H.264 and AAC in an MP4, whose clock begins at 0."""
        return self.context.workdir / str(self.context.data["output"])

    @property
    def speech(self) -> Path:
        """The sound as the speech model gets it: 16 kHz, mono, 16 bits."""
        return self.context.workdir / str(self.context.data["speech"])

    @property
    def duration(self) -> float:
        """Seconds that the media plays."""
        return float(self.context.data["output_media"]["duration"])

    @property
    def segments(self) -> list[dict[str, Any]]:
        """What was said: `start`, `end`, `text`, and `speaker` where speakers are known."""
        return list(self.context.data.get("segments") or ())

    def file(self, name: str) -> Path:
        """Where a file of this output is written. The step after it counts its bytes."""
        assert self.output.type_of(name), f"the catalogue does not know the file {name!r} of {self.output.name!r}"
        self._written = (*dict.fromkeys((*self._written, name)),)
        return self.context.workdir / name

    def step(self, fraction: float) -> None:
        """Say how far this output is (0.0-1.0). Call it often: between two calls nothing looks at its limits.

        :raises CannotMake: it has taken more time, or written more, than it may.
        """
        begin, end = self._span
        # The packets of picture and sound do not come in one order.
        self._told = max(self._told, min(fraction, 1.0))
        self.context.progress(begin + (end - begin) * self._told, f"making {self.output.name}")
        output = self.output
        if time.process_time() - self._began > output.limit(output.max_seconds, self.duration):
            raise CannotMake("it takes too long")
        if self._bytes() > output.limit(output.max_bytes, self.duration):
            raise CannotMake("it is too large")

    def done(self, made: Made) -> None:
        """The last look. :raises CannotMake: see `step`."""
        assert set(made.files) <= set(self._written)
        assert set(made.fields) <= set(self.output.gives)
        self.step(1.0)

    def remove(self) -> None:
        """What it wrote, when it cannot be made: nobody shall find half of it, and the folder has a limit."""
        for name in self._written:
            (self.context.workdir / name).unlink(missing_ok=True)

    def _bytes(self) -> int:
        paths = [self.context.workdir / name for name in self._written]
        return sum(path.stat().st_size for path in paths if path.exists())
