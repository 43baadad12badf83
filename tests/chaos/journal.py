"""The two journals outside the system: what a client was promised, and what bodies of jobs did.

Times are Unix seconds of this machine's clock; all processes of a run are on one machine.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline_jobs.context import JobContext

#: Environment variable that every process of a run carries: `{token}:{role}:{incarnation}`.
MARK = "CHAOS_RUN"
BODIES = "bodies.log"
#: What a run says last before its job goes to another pool, and before it kills its worker; and how the begin of a named stage is told.
HOP, KILLS, AT = "hop", "kills", "at:"


class ClientJournal:
    """What the clients of a run were told. A line is on the disk before its writer goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._lock = threading.Lock()

    def write(self, what: str, **fields: Any) -> None:
        line = json.dumps({"what": what, "at": time.time(), **fields}) + "\n"
        with self._lock:
            os.write(self._file, line.encode())
            os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)

    def read(self) -> list[Mapping[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


@dataclass(frozen=True, slots=True)
class BodyJournal:
    """Lines that bodies write from whatever process they run in: one `write` each with O_APPEND, so that none is torn."""

    path: Path
    #: `{job}.{fence}`, as the run's working folder.
    run: str

    @classmethod
    def of(cls, context: JobContext) -> BodyJournal:
        return cls(context.settings.data_dir / BODIES, context.workdir.name)

    def write(self, what: str) -> None:
        line = f"{what} {self.run} {os.getpid()} {os.environ.get(MARK, '-')} {time.time():.6f}\n"
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)


@dataclass(slots=True)
class Body:
    """One execution of a job's body."""

    job_id: str
    fence: int
    pid: int
    #: Mark of the process it ran in.
    mark: str
    started: float
    #: How it was over: `end`, `hop` (the job goes on in another pool), `kills` (with its worker, by itself), or the name of what it
    #: raised. None: it was killed.
    over: str | None = None
    over_at: float | None = None
    #: Of a job that goes from pool to pool: the stages that it began.
    stages: list[str] = field(default_factory=list)

    def alive_at(self, moment: float) -> bool:
        """Whether it had begun and was not over then (a killed one counts as alive for ever)."""
        return self.started <= moment and (self.over_at is None or self.over_at > moment)


def read_bodies(path: Path) -> tuple[list[Body], list[str]]:
    """All executions, in the order of their starts; and what cannot be: a run of one fence that started twice, an end without a start."""
    bodies: dict[str, Body] = {}
    odd: list[str] = []
    for line in path.read_text().splitlines() if path.exists() else ():
        what, run, pid, mark, at = line.split()
        if what == "start":
            if run in bodies:
                odd.append(f"{run} started twice")
            job_id, _, fence = run.rpartition(".")
            bodies[run] = Body(job_id, int(fence), int(pid), mark, float(at))
        elif run not in bodies:
            odd.append(f"{run} is over ({what}) and never started")
        elif what.startswith(AT):
            bodies[run].stages.append(what.removeprefix(AT))
        else:
            bodies[run].over, bodies[run].over_at = what, float(at)
    return list(bodies.values()), odd
