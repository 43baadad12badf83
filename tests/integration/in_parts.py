"""Jobs in parts in the histories of `pool_histories.py`: what is known of each pool, how runs leave their slots, and what follows from that
where it is a part's, or a split.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable

from hypothesis.stateful import RuleBasedStateMachine

from pipeline_jobs.job import Job
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.fair_histories import pretend_it_took
from tests.integration.newcomers import Newcomers
from tests.integration.shares import Place, Shares
from tests.integration.splits import Split


class PoolShares(Shares):
    """Of one of several pools."""

    def __init__(self, most: int, family: dict[str, PoolShares]) -> None:
        super().__init__(most)
        self.family = family
        self.newcomers = Newcomers()
        self.lost: dict[str, Place] = {}
        self.passed: Counter[str] = Counter()

    def busy(self, what: str, name: str) -> int:
        return sum(one.slots_of(what, name) for one in self.family.values())


class InParts(RuleBasedStateMachine):
    """Claims, and ends of runs."""

    cell: Cell

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[str, PoolShares] = {}
        #: In which order jobs and parts came.
        self.numbers: dict[str, int] = {}
        #: The last split of each live job; that of each part that is open; runs of parts whose job went on without them.
        self.splits: dict[str, Split] = {}
        self.parts: dict[str, Split] = {}
        self.stopping: set[str] = set()
        self.sights: Counter[str] = Counter()

    @abstractmethod
    def run_ends(self, pool: str, run: Job, how: str) -> None:
        """Of a job, or of a part that goes back to the queue."""

    @abstractmethod
    def look(self) -> None:
        """Called after each script: what it started is seen."""

    def saw(self, what: str, is_so: object = True) -> None:
        self.sights[what] += bool(is_so)

    def chosen(self, ids: Iterable[str], pick: int) -> str:
        known = sorted(ids, key=self.numbers.__getitem__)
        return known[pick % len(known)]

    def is_claimed(self, pool: str, job_id: str, pick: int) -> None:
        """By one of the workers of its pool that live: a part with its input, a join with all results."""
        one = self.of[pool]
        del one.hinted[job_id]
        living, fence = sorted(one.slots), self.cell.client.get(job_id).fence
        claimed = self.cell.store.claim(job_id, fence, worker=living[pick % len(living)], run="run", pool=pool)
        assert isinstance(claimed, Job), claimed
        one.running[job_id] = claimed
        if job_id in self.parts:
            self.parts[job_id].is_run(claimed)
        elif job_id in self.splits:
            self.splits[job_id].is_joined(self.cell.store)
            self.saw("a join")
        self.saw("start")

    def run_leaves(self, pool: str, job_id: str, pick: int, ms: int, how: str) -> None:
        """Its slot, in this way or, of a part, in one like it."""
        run = self.of[pool].running.pop(job_id)
        self.of[pool].newcomers.refunded.discard(run.tenant_id)
        pretend_it_took(self.cell, job_id, ms)
        self.saw(how)
        if run.part_of and how in ("hop", "split", "completed", "failed"):
            self.part_ends(run, "failed" if how == "failed" else "completed")
        elif how == "split":
            self.job_is_split(run, pick)
        else:
            self.run_ends(pool, run, how)
        self.look()

    def hinted_of(self, split: Split) -> str | None:
        """A part of it that a worker of its pool may claim."""
        one = self.of[split.pool]
        hinted = [part for part in one.hinted if self.parts.get(part) is split]
        return self.chosen(hinted, 0) if hinted and one.slots else None

    def job_is_split(self, run: Job, pick: int) -> None:
        """Its run gives the slot back, and the first parts wait for theirs."""
        split = Split.drawn(run, tuple(self.of), pick)
        assert split.is_written(self.cell.store) is JobStatus.QUEUED
        self.splits[run.job_id] = split
        self.open_parts(split, Place(run.tenant_id, run.pipeline), split.window)
        self.saw("a job is split")

    def open_parts(self, split: Split, place: Place, many: int) -> None:
        for part in split.opens(many):
            self.parts[part] = split
            self.of[split.pool].queued[part] = place
            self.numbers[part] = len(self.numbers)

    def part_ends(self, run: Job, how: str) -> None:
        """The next part is opened, or the job goes on, or it ends of it."""
        split, place = self.parts.pop(run.job_id, None), Place(run.tenant_id, run.pipeline)
        if split is None:
            self.stopping.remove(run.job_id)
            assert self.cell.store.finish(run.job_id, run.fence, JobStatus(how), result={}, error="x") is JobStatus.CANCELLED
            return
        assert split.ends(self.cell.store, run, how) is JobStatus(how)
        if how == "failed" and not split.collect:
            self.saw("a part that fails ends its job")
            self.job_is_over(split.job_id)
            return
        self.open_parts(split, place, 1)
        if split.over:
            self.of[split.following].queued[split.job_id] = place

    def job_is_over(self, job_id: str) -> None:
        """With it its parts are: those that run have their slots until their runs end."""
        if (split := self.splits.pop(job_id, None)) is None:
            return
        one = self.of[split.pool]
        for part in [part for part, of in self.parts.items() if of is split]:
            del self.parts[part]
            if part in one.running:
                self.stopping.add(part)
                self.saw("a part runs on without its job")
            for those in (one.queued, one.delayed, one.hinted, one.lost):
                those.pop(part, None)
