"""A cancel and a change ask for free slots only where that may make a difference: an admission behind them finds nothing left."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from pipeline_jobs.job import Job
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell, make_cell
from tests.integration.recount import differences

TENANTS = ("acme", "beta", "gamma")
FAR = 2_900_000_000_000


class Walk:
    """Random steps of clients, workers and operators."""

    def __init__(self, cell: Cell, draw: random.Random) -> None:
        self.cell, self.draw = cell, draw
        self.ids: list[str] = []
        #: What the cancels and changes came upon.
        self.met: Counter[str] = Counter()

    def jobs(self, status: JobStatus) -> list[Job]:
        return [job for one in self.ids if (job := self.cell.client.get(one)).status is status]

    def submit(self) -> None:
        needs = (self.draw.choice(self.ids),) if self.ids and self.draw.random() < 0.2 else ()
        tenant = self.cell.client.get(needs[0]).tenant_id if needs else self.draw.choice(TENANTS)
        job = self.cell.submit(
            tenant_id=tenant, workspace_id=self.draw.choice(("main", "side")), priority=self.draw.randint(-2, 2), depends_on=needs,
            on_dependency_failure="run", run_at=FAR if self.draw.random() < 0.3 else None,
        )  # fmt: skip
        self.ids.append(job.job_id)

    def start(self) -> None:
        hinted = [job for job in self.jobs(JobStatus.QUEUED) if job.reason == "dispatched"]
        if hinted:
            self.cell.start(self.draw.choice(hinted).job_id, worker=self.draw.choice(("w1", "w2")))

    def end(self) -> None:
        if not (running := self.jobs(JobStatus.RUNNING)):
            return
        job, how = self.draw.choice(running), self.draw.choice(("completed", "failed", "crash", "handback", "fault", "retry"))
        if how in ("completed", "failed"):
            self.cell.store.finish(job.job_id, job.fence, JobStatus(how), result={}, error="x")
        else:
            self.cell.store.requeue(job.job_id, job.fence, how)

    def lose(self) -> None:
        """A worker dies, and comes again; or hints are lost."""
        worker = self.draw.choice(("w1", "w2"))
        self.cell.let_worker_die(worker)
        self.cell.store.rescue()
        self.cell.slots(self.draw.randint(1, 3), worker)

    def limit(self) -> None:
        most, paused = self.draw.choice((None, None, 1, 2)), self.draw.choice((None, None, None, True))
        self.cell.store.set_limits(self.draw.choice((*TENANTS, "*")), {"max_concurrent": most, "paused": paused})

    def cap(self) -> None:
        self.cell.store.set_pipeline_cap("sleep", self.draw.choice((None, None, 2)))

    def waiting(self) -> Job | None:
        queued = self.jobs(JobStatus.QUEUED)
        return self.draw.choice(queued) if queued else None

    def cancel(self) -> None:
        if job := self.waiting():
            self.met[f"cancel {job.reason}"] += 1
            self.cell.store.cancel(job.job_id, whole=False)

    def change(self) -> None:
        if job := self.waiting():
            self.met[f"change {job.reason}"] += 1
            self.cell.store.change(job.job_id, priority=self.draw.randint(-2, 2), run_at=self.draw.choice((None, None, 0, FAR)))

    def hints(self) -> set[str]:
        return set(self.cell.store.members("hints"))

    def go(self, steps: int, busy: bool) -> None:
        """:param busy: more jobs come than there are slots for."""
        common: tuple[Callable[[], None], ...] = (self.submit, self.submit if busy else self.end, self.start, self.cancel, self.change)
        rare = (self.end, self.lose, self.limit, self.cap)
        for _ in range(steps):
            looked_at = self.draw.choice(rare if self.draw.random() < 0.15 else common)
            looked_at()
            if looked_at in (self.cancel, self.change):
                before = self.hints()
                self.cell.store.settle()
                assert self.hints() == before, looked_at


@pytest.mark.parametrize("reserved", [0, None])
@pytest.mark.parametrize("busy", [True, False])
def test_after_a_cancel_or_a_change_no_free_slot_is_left_for_the_next_admission(cell: Settings, busy: bool, reserved: int | None) -> None:
    made = make_cell(cell.model_copy(update={"max_concurrent_jobs": 5, "reserved_slots": reserved, "max_crashes": 1000}))
    for worker in ("w1", "w2"):
        made.slots(3, worker)
    walk = Walk(made, random.Random(1))
    walk.go(150, busy)
    assert {"cancel fair_share", "cancel dispatched", "change scheduled", "change fair_share"} <= walk.met.keys()
    assert differences(made.store) == []
