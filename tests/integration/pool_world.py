"""Two pools without workers: a cell whose pipeline goes from one to the other and back, and who pretends to be their workers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.executor import Executor, Outcome
from pipeline_jobs.jobs.signals import SignalLinks
from pipeline_jobs.pipelines import NoParams, Pipeline, RetryPolicy, Stage, Wait
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell

#: The worker of each pool.
WORKERS = {"": "c1", "gpu": "g1"}


class Pools:
    """`film` (`fetch`, `cut`, `hear` on the gpu, `join`), `heard` (`hear`, `tell`: on the gpu), `asked` (`fetch`, a wait, `hear`)."""

    def __init__(self, cell: Cell, folder: Path) -> None:
        self.cell = cell
        self.artifacts = ArtifactStore(folder.as_uri(), "http://x", lambda: "k")
        self.ran: list[str] = []
        #: What happens while a stage of this name runs.
        self.meanwhile: dict[str, Callable[[JobContext], object]] = {}
        fetch, cut, join = (Stage(name, self.stage(name)) for name in ("fetch", "cut", "join"))
        hear, tell = (Stage(name, self.stage(name), pool="gpu") for name in ("hear", "tell"))
        for name, stages in {"film": (fetch, cut, hear, join), "heard": (hear, tell), "asked": (fetch, Wait("ok"), hear)}.items():
            cell.client.registry.register(Pipeline(name, stages, NoParams, needs_url=False, retry=RetryPolicy(2, 0)))
        self.executors = {pool: self.executor(pool) for pool in WORKERS}

    def executor(self, pool: str) -> Executor:
        made = Executor(
            self.cell.store, self.cell.client.registry, self.cell.settings, self.artifacts, links=SignalLinks("http://x", lambda: "k")
        )
        made.pool = pool
        return made

    def stage(self, name: str) -> Callable[[JobContext], Mapping[str, Any]]:
        """One that adds its name to a file and to what it gives."""

        def run(context: JobContext) -> Mapping[str, Any]:
            self.ran.append(name)
            if meanwhile := self.meanwhile.get(name):
                meanwhile(context)
            path = context.workdir / "names"
            path.write_text((path.read_text() if path.exists() else "") + name + " ")
            context.progress(1.0)
            return {name: path.read_text()}

        return run

    def slots(self, pool: str, n: int, *, worker: str = "", runs: tuple[Job, ...] = ()) -> list[str]:
        return self.cell.store.announce(worker or WORKERS[pool], n, [(job.job_id, job.fence) for job in runs], pool=pool)

    def submit(self, pipeline: str = "film", **fields: Any) -> Job:
        return self.cell.client.submit(NewJob(**{"pipeline": pipeline, "tenant_id": "acme", **fields}))

    def run(self, job: Job, pool: str) -> Outcome:
        """One run, as a worker of this pool makes it of its hint."""
        return self.executors[pool].run(job.job_id, self.seen(job).fence, WORKERS[pool])

    def start(self, job: Job, pool: str) -> Any:
        """Claim it, and no more."""
        return self.cell.store.claim(job.job_id, self.seen(job).fence, worker=WORKERS[pool], run="r", pool=pool)

    def end_first(self, jobs: Sequence[Job]) -> None:
        """The dispatched one of these jobs completes."""
        job = next(seen for seen in map(self.seen, jobs) if seen.reason == "dispatched")
        run = self.start(job, job.pool or "")
        self.cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})

    def seen(self, job: Job) -> Job:
        return self.cell.client.get(job.job_id)

    def why(self, job: Job) -> str | None:
        return self.cell.client.describe(job.job_id).reason

    def hints(self, queue: str) -> list[str]:
        """The jobs whose hints lie in this queue, oldest first."""
        return [json.loads(hint)["id"] for hint in reversed(self.cell.store.client.lrange(queue, 0, -1))]
