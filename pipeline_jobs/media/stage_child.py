"""The child process in which the stages of one media job run: `python -m pipeline_jobs.media.stage_child`, started by `stages.py`.

It has nothing that a hostile file could want: an environment of its own, no keys, the walls of `jail.py`. It speaks over its standard
input, a socket, in lines of JSON. First it reads the job and its settings, and answers `{"lacks": what this kernel lacks}`; then of each
`{"stage": name, "data": {...}}` it says any number of `{"progress": 0.0-1.0, "message": text}` and `{"log": [level, event, {...}]}`, and
one of `{"data": {...}}` and `{"error": code, "message": text, "traceback": text}`. A cancel is the end of it: it is killed.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import resource
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pipeline_jobs.addresses import PUBLIC_PORTS
from pipeline_jobs.context import JobContext, Reporter
from pipeline_jobs.exceptions import InternalError, OutOfMemory, PipelineJobsError
from pipeline_jobs.media import jail
from pipeline_jobs.settings import Settings

Say = Callable[[Mapping[str, Any]], None]
#: Longest line that is logged, in characters.
MAX_LOGGED = 6000


class _Progress(Reporter):
    """Tells the parent. There is no cancel to look for: it comes as SIGKILL."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._told: tuple[float, str | None] | None = None

    def report(self, stage: str, percent: float, message: str | None) -> None:
        # Rounded by `JobContext.progress`: a thousand of a stage at most.
        if (percent, message) != self._told:
            self._told = (percent, message)
            self._say({"progress": percent / 100, "message": message})

    def check(self) -> None:
        """Nothing stops a stage but the end of its process."""


class _ToParent(logging.Handler):
    """What is logged by `logging` is in the log of the job, and only there."""

    def __init__(self, say: Say) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say({"log": [record.levelname.lower(), self.format(record)[:MAX_LOGGED], {"logger": record.name}]})


class _Logger:
    """`context.logger`: what is logged here is logged by the parent, where the job's id is bound."""

    def __init__(self, say: Say) -> None:
        self._say = say

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **values: self._say({"log": [level, str(event), {name: str(value) for name, value in values.items()}]})


def _no_publishing(path: Path, name: str) -> str:
    raise InternalError("nothing is published from inside the walls")


class _Stages:
    """Runs one stage after the other, behind the walls that each needs."""

    def __init__(self, order: Mapping[str, Any], say: Say) -> None:
        self.settings = Settings(**order["settings"])
        self.lacks = self._enter(order["readable"]).missing
        self._order, self._say = order, say
        self._offline = False

    def _enter(self, readable: list[str]) -> jail.Walls:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if (limit := self.settings.job_memory_bytes) and sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        return jail.enter(Path.cwd(), None if self.settings.allow_private_urls else PUBLIC_PORTS, readable)

    def run(self, stage: str, data: dict[str, Any]) -> dict[str, Any]:
        context = self._context(stage, data)
        if stage != "fetch":
            self._go_offline()
        return _function(stage)(context)

    def _go_offline(self) -> None:
        if not self._offline:
            jail.go_offline()
            self._offline = True

    def _context(self, stage: str, data: dict[str, Any]) -> JobContext:
        order = self._order
        return JobContext(
            job_id=order["job_id"], tenant_id="", workspace_id="", url=order["url"], quality=order["quality"], params=order["params"],
            workdir=Path.cwd(), settings=self.settings, reporter=_Progress(self._say), publish=_no_publishing, data=data, stage=stage,
            logger=_Logger(self._say),
        )  # fmt: skip


def _function(name: str) -> Callable[..., dict[str, Any]]:
    """`run` of a module, or `module:function`. Imported when it is needed: each has libraries of its own, and not every stage runs."""
    module, _, function = name.partition(":")
    found: Callable[..., dict[str, Any]] = getattr(importlib.import_module(f"pipeline_jobs.media.{module}"), function or "run")
    return found


def _answer(stages: _Stages, order: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"data": stages.run(order["stage"], order["data"])}
    except PipelineJobsError as error:
        return {"error": error.code, "message": error.message}
    except MemoryError:
        return {"error": OutOfMemory.code, "message": OutOfMemory().message}
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        return {"error": InternalError.code, "message": what[:500], "traceback": traceback.format_exc()[-4000:]}


def serve(orders: BinaryIO) -> None:
    """Until the parent closes its end."""

    one_at_a_time = threading.Lock()

    def say(report: Mapping[str, Any]) -> None:
        # By `write`: offline, `send` is refused.
        left = memoryview(json.dumps(report).encode() + b"\n")
        with one_at_a_time:
            while left:
                left = left[os.write(orders.fileno(), left) :]

    logging.basicConfig(level=logging.INFO, handlers=[_ToParent(say)])
    stages = _Stages(json.loads(orders.readline()), say)
    say({"lacks": stages.lacks})
    for line in orders:
        say(_answer(stages, json.loads(line)))


if __name__ == "__main__":
    # Standard input is the socket; libraries that read theirs get nothing.
    channel = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with open(channel, "rb") as orders:
        serve(orders)
