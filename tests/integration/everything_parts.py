"""What `test_everything_model.py` does with jobs that run in parts: splits, what parts give, and what becomes of them with their job."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline_jobs.job import Job
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.runs import Taker
from tests.integration.everything import Place
from tests.integration.everything_flows import Flows
from tests.integration.splits import Split


def is_part(job_id: str) -> bool:
    return "~" in job_id


class InParts(Flows):
    """Of a history whose scripts do all that there is to do: else parts of a job that has ended may be started before a duty ends them."""

    #: How many splits were joined.
    joins = 0

    def is_split(self, job_id: str, pick: int) -> None:
        """A run of a job is over with that, and its first parts wait for slots."""
        run = self.running[job_id]
        split = Split.drawn(run, ("",), pick)
        stops = job_id in self.stopping
        assert split.is_written(self.cell.store) is (JobStatus.CANCELLED if stops else JobStatus.QUEUED)
        del self.running[job_id]
        self.newcomers.refunded.discard(run.tenant_id)
        if stops:
            self.end(job_id, "cancelled")
        else:
            self.splits[job_id] = split
            self.open_parts(split, self.places[job_id], split.window)
        self.look()

    def open_parts(self, split: Split, place: Place, many: int) -> None:
        for part in split.opens(many):
            self.came(part, place, [], "run")
            self.parts[part] = split
            # It is no job that anybody could ask for, or wait for.
            self.removed.add(part)

    def is_given_what_it_needs(self, run: Job) -> None:
        """A part its input, a join all results."""
        if run.job_id in self.parts:
            self.parts[run.job_id].is_run(run)
        elif run.job_id in self.splits:
            self.splits[run.job_id].is_joined(self.cell.store)
            type(self).joins += 1

    def part_says(self, run: Job, how: str, taker: Taker | None) -> JobStatus | None:
        """It has come to its end."""
        return self.parts[run.job_id].ends(self.cell.store, run, how, taker)

    def part_has_ended(self, job_id: str, how: str) -> None:
        """The next one is opened, or its job goes on, or ends of it."""
        split, place = self.parts.pop(job_id), self.places[job_id]
        self.forget(job_id)
        if how == "failed" and not split.collect:
            self.end(split.job_id, "failed")
            return
        self.open_parts(split, place, 1)
        if split.over:
            self.queued.add(split.job_id)

    def whose(self, job_id: str) -> str:
        """Whoever means a part means its job."""
        return self.parts[job_id].job_id if job_id in self.parts else job_id

    def end_together(self, ids: Iterable[str], how: str) -> None:
        """With jobs end their parts: those that run are asked to stop."""
        ended = list(ids)
        for job_id in filter(is_part, ended):
            self.forget(job_id)
        for job_id in ended:
            self.parts_are_over(job_id)
        super().end_together([job_id for job_id in ended if not is_part(job_id)], how)

    def parts_are_over(self, job_id: str) -> None:
        split = self.splits.pop(job_id, None)
        for part in [part for part, of in self.parts.items() if of is split]:
            del self.parts[part]
            self.forget(part)
            if part in self.running:
                self.stopping.add(part)

    def forget(self, part: str) -> None:
        for those in (self.queued, self.delayed, self.lost, self.stopping):
            those.discard(part)
        self.hinted.pop(part, None)
