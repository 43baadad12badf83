"""Jobs that run in parts, for the random histories: what becomes of the parts, and what their job is given. It knows no store's keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline_jobs.job import Job
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.runs import Parts, Taker
from pipeline_jobs.store.store import Store

STAGE = "hear"


@dataclass(slots=True, eq=False)
class Split:
    """Of a job by one of its runs."""

    job_id: str
    fence: int
    #: How many parts there are, and how many of them are open at once.
    count: int
    window: int
    #: One that fails does not fail the job.
    collect: bool
    #: Where the parts run, and where the job goes on.
    pool: str
    following: str
    opened: int = 0
    #: The row of each part that has ended.
    gave: dict[int, str] = field(default_factory=dict)

    @classmethod
    def drawn(cls, run: Job, pools: Sequence[str], pick: int) -> Split:
        """One of all there may be."""
        pick, count = divmod(pick, 5)
        pick, window = divmod(pick, 3)
        pick, pool = divmod(pick, len(pools))
        pick, following = divmod(pick, len(pools))
        return cls(run.job_id, run.fence, count + 1, window + 1, pick % 3 > 0, pools[pool], pools[following])

    @property
    def name(self) -> str:
        return f"{self.job_id}~{self.fence}"

    @property
    def over(self) -> bool:
        """All parts have ended."""
        return len(self.gave) == self.count

    def is_written(self, store: Store) -> JobStatus | None:
        """Its run writes the inputs, in pages of two, and is over. :return: what the store answers."""
        for first in range(0, self.count, 2):
            inputs = [input_of(number) for number in range(first, min(first + 2, self.count))]
            assert store.stage_parts(self.job_id, self.fence, first, inputs, "")
        parts = Parts(STAGE, self.count, self.window, 9, self.pool, self.collect, (10, 90))
        return store.split(self.job_id, self.fence, parts, "parts", self.following)

    def opens(self, many: int) -> list[str]:
        """The parts that come next."""
        first, self.opened = self.opened, min(self.opened + many, self.count)
        return [f"{self.name}.{number}" for number in range(first, self.opened)]

    def ends(self, store: Store, run: Job, how: str, taker: Taker | None = None) -> JobStatus | None:
        """A run of a part says so. :return: what the store answers."""
        row = f'[["{STAGE}",{{"by":"{run.job_id} {run.fence}"}},null,{{}}]]'
        if how == "completed":
            self.gave[number_of(run.job_id)] = row
            return store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}, outputs=(row, ""), taker=taker)
        if self.collect:
            self.gave[number_of(run.job_id)] = '{"code":"x","message":"broken"}'
        detail = {"code": "x", "message": "broken", "stage": STAGE, "retryable": False}
        return store.finish(run.job_id, run.fence, JobStatus.FAILED, error="broken", error_detail=detail, taker=taker)

    def is_joined(self, store: Store) -> None:
        """What the join reads is there, whole, in order: of each part one result, of the run that ended it."""
        assert self.over, f"{self.job_id} goes on after {self.gave}"
        rows = store.fields([f"r:{number}" for number in range(self.count)], "parts", self.name)
        assert [sorted(row or "") for row in rows] == [sorted(self.gave[number]) for number in range(self.count)]

    def is_run(self, run: Job) -> None:
        """A run of a part is given its input."""
        assert run.part == {"stage": STAGE, "number": number_of(run.job_id), "of": self.count}
        assert run.outputs == f"[{input_of(number_of(run.job_id))}]"


def input_of(number: int) -> str:
    return f'["part.input",{{"number":{number}}},null,{{}}]'


def number_of(part: str) -> int:
    return int(part.rpartition(".")[2])
