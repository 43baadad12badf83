"""A cell with a pipeline whose middle stage runs in parts, and who pretends to be its workers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.executor import Executor, Outcome
from pipeline_jobs.pipelines import Map, NoParams, Part, Pipeline, Stage
from tests.integration.conftest import Cell
from tests.integration.recount import parts_left

#: The worker of each pool, and its queue.
WORKERS = {"": "c1", "gpu": "g1"}
WORDS = ("one", "two", "three", "four", "five")


class Parted:
    """`film`: `fetch`, `hear` in parts (a word of a file each), `tell`. What a stage does is changed by `meanwhile`."""

    def __init__(self, cell: Cell, folder: Path, *, words: Sequence[str] = WORDS, **options: Any) -> None:
        self.cell, self.folder, self.words = cell, folder, words
        self.artifacts = ArtifactStore(folder.as_uri(), "http://x", lambda: "k")
        self.ran: list[str] = []
        #: What happens while a stage of this name runs, or a part (`part 3`).
        self.meanwhile: dict[str, Callable[[JobContext], object]] = {}
        hear = Map("hear", self.split, self.part, self.join, **{"window": 2, **options})
        stages = (Stage("fetch", self.fetch), hear, Stage("tell", self.tell))
        cell.client.registry.register(Pipeline("film", stages, NoParams, needs_url=False))
        self.executors = {pool: self.executor(pool) for pool in WORKERS}

    def executor(self, pool: str) -> Executor:
        made = Executor(self.cell.store, self.cell.client.registry, self.cell.settings, self.artifacts)
        made.pool = pool
        return made

    def _say(self, name: str, context: JobContext) -> None:
        self.ran.append(name)
        if meanwhile := self.meanwhile.get(name):
            meanwhile(context)

    def fetch(self, context: JobContext) -> Mapping[str, Any]:
        self._say("fetch", context)
        (context.workdir / "words").write_text(" ".join(self.words))
        return {"fetched": len(self.words)}

    def split(self, context: JobContext) -> Iterator[Part]:
        self._say("split", context)
        for number, word in enumerate((context.workdir / "words").read_text().split()):
            path = context.workdir / f"word{number}"
            path.write_text(word)
            yield Part({"word": word}, [path])

    def part(self, context: JobContext, part: Part) -> Mapping[str, Any]:
        self._say(f"part {part.number}", context)
        print("this is said in a part")
        text = (context.workdir / part.files[0]).read_text()
        assert [path.name for path in context.workdir.iterdir()] == [f"word{part.number}"]
        assert text == part.data["word"]
        (context.workdir / "heard").write_text(text.upper())
        return {"heard": str(context.workdir / "heard")}

    def join(self, context: JobContext, results: Sequence[Any]) -> Mapping[str, Any]:
        self._say("join", context)
        return {"all": [Path(one["heard"]).read_text() if isinstance(one, dict) else one.code for one in results]}

    def tell(self, context: JobContext) -> Mapping[str, Any]:
        self._say("tell", context)
        return {"told": " ".join(context.data["all"])}

    def slots(self, n: int, pool: str = "", runs: tuple[Job, ...] = ()) -> list[str]:
        return self.cell.store.announce(WORKERS[pool], n, [(job.job_id, job.fence) for job in runs], pool=pool)

    def submit(self, **fields: Any) -> Job:
        return self.cell.client.submit(NewJob(**{"pipeline": "film", "tenant_id": "acme", **fields}))

    def hints(self, pool: str = "") -> list[tuple[str, int]]:
        """The hints that lie in the queue of this pool, oldest first: id and fence."""
        queue = f"jobs.{pool}" if pool else "jobs"
        return [(hint["id"], hint["fence"]) for hint in map(json.loads, reversed(self.cell.store.client.lrange(queue, 0, -1)))]

    def run_next(self, pool: str = "") -> Outcome | None:
        """Run what the oldest hint asks for; None: there is none."""
        text = self.cell.store.client.rpop(f"jobs.{pool}" if pool else "jobs")
        if text is None:
            return None
        hint = json.loads(text)
        return self.executors[pool].run(hint["id"], hint["fence"], WORKERS[pool])

    def run_all(self) -> None:
        """Run whatever there is to be run, in all pools."""
        while any(self.run_next(pool) for pool in WORKERS):
            pass

    def start_next(self, pool: str = "") -> Job:
        """Claim what the oldest hint asks for, and no more."""
        hint = json.loads(self.cell.store.client.rpop(f"jobs.{pool}" if pool else "jobs"))
        claimed = self.cell.store.claim(hint["id"], hint["fence"], worker=WORKERS[pool], run=hint["id"], pool=pool)
        assert isinstance(claimed, Job)
        return claimed

    def seen(self, job: Job) -> Job:
        return self.cell.client.get(job.job_id)

    def left(self) -> list[str]:
        """Keys of parts that are in the store."""
        return parts_left(self.cell.store)
