"""Tried as a worker starts: a second of film goes through a job's child. A path that the walls lack shows then, not in a tenant's job."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from pipeline_jobs.context import JobContext, Reporter
from pipeline_jobs.exceptions import ConfigurationError, WorkerLost
from pipeline_jobs.media.stages import Child
from pipeline_jobs.settings import Settings

#: Longest time of the test, in seconds: the worker takes no job before. Some seconds are usual on a busy machine.
LONGEST = 120.0


class _Patience(Reporter):
    """Nobody follows, and nobody cancels but the clock."""

    def __init__(self) -> None:
        self._deadline = time.monotonic() + LONGEST

    def report(self, stage: str, percent: float, message: str | None) -> None:
        """Between two of these the child is looked after by `check`."""

    def check(self) -> None:
        """:raises WorkerLost: it takes too long."""
        if time.monotonic() >= self._deadline:
            raise WorkerLost(f"the media child was killed, which did not answer within {LONGEST:g} s")


def self_test(settings: Settings) -> str:
    """:return: what this kernel lacks to wall media in, for people; empty: nothing.

    :raises StageError: the stages do not work inside the walls; `WorkerLost`: this machine was too slow, or killed them.
    :raises ConfigurationError: the walls do not hold.
    """
    work, data = settings.work_dir, settings.data_dir
    for folder in (work, data):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".self-test-", dir=work) as own, tempfile.NamedTemporaryFile(dir=data) as outside:
        context = _context(Path(own), settings, outside.name)
        with Child(context) as child:
            found, lacks = child.run("walls:knock"), child.lacks
    if found["reads"] and "Landlock" not in lacks:
        raise ConfigurationError(f"what decodes media can read {data}: keep the data out of the folders of libraries")
    if found["connects"] and "seccomp" not in lacks:
        raise ConfigurationError("what decodes media can open sockets")
    return f"this kernel has no {lacks}: what decodes media is a process of its own, but not walled in" if lacks else ""


def _context(folder: Path, settings: Settings, outside: str) -> JobContext:
    params = {"outside": outside, "preset": "film"}
    return JobContext(
        job_id="self-test", tenant_id="", workspace_id="", url=None, quality="144p", params=params, workdir=folder,
        settings=settings, reporter=_Patience(), publish=lambda path, name: name, stage="self_test",
    )  # fmt: skip
