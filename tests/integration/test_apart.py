"""A job that kills its whole worker fails, and no job that was beside it does (`lua/lib/apart.lua`)."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence

import pytest

from pipeline_jobs.events.log import read_all
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.lost_runs import dispatched, kill, started

#: How long the job lives that kills its worker, in ms.
LIVES = 7_000
LEASE = 60_000


@pytest.fixture
def cell(jobs: Cell) -> Cell:
    return jobs.with_settings(max_concurrent_jobs=100, lease_seconds=60.0, announce_seconds=1000.0)


class Fleet:
    """One worker after the other, each with all that is dispatched. Nothing ends but by a worker's death."""

    def __init__(self, cell: Cell, killers: Sequence[Job], innocent: Sequence[Job]) -> None:
        self.cell, self.killers, self.innocent = cell, killers, innocent
        self.deaths, self.lives = 0, LIVES
        self.runs: list[Job] = []
        cell.slots(100, self.worker)

    @property
    def worker(self) -> str:
        return f"w{self.deaths}"

    def start(self) -> None:
        self.runs += started(self.cell, self.worker, dispatched(self.cell, [*self.killers, *self.innocent]))

    def dies(self) -> None:
        # Its leases ended a moment ago: it is a lease since anybody renewed them.
        self._go_on(self.lives + LEASE)
        kill(self.cell, self.worker, self.runs, lived_ms=None)
        self.deaths, self.runs = self.deaths + 1, []
        self.cell.slots(100, self.worker)

    def wait(self, jobs: int = 1) -> None:
        """Until so many more of the jobs that start apart may start."""
        due = self.cell.store.client.zrange(self.cell.store.keys("delayed"), 0, jobs - 1, withscores=True)
        if due:
            self._go_on(max(0, int(due[-1][1]) - int(time.time() * 1000)) + 1)
        self.cell.store.rescue()

    def _go_on(self, ms: int) -> None:
        """As if so much time had passed."""
        client, keys = self.cell.store.client, self.cell.store.keys
        for run in self.runs:
            client.hincrby(keys("job", run.job_id), "started_at", -ms)
        for job_id in client.zrange(keys("delayed"), 0, -1):
            client.zincrby(keys("delayed"), -ms, job_id)
        for key in client.scan_iter(keys("apart", "*")):
            client.set(key, int(client.get(key) or 0) - ms)

    def status(self, jobs: Sequence[Job]) -> list[JobStatus]:
        return [self.cell.client.get(job.job_id).status for job in jobs]

    def find(self, most: int = 30) -> list[int]:
        """Each worker that has a killer dies.

        :return: how many jobs each had that died.
        """
        found = []
        for _ in range(most):
            self.start()
            if any(run.job_id == killer.job_id for run in self.runs for killer in self.killers):
                found.append(len(self.runs))
                self.dies()
            elif JobStatus.QUEUED not in self.status(self.killers):
                break
            else:
                self.wait()
        return found


def fleet(cell: Cell, killers: Sequence[str], innocent: Sequence[str]) -> Fleet:
    jobs = {
        job_id: cell.client.submit(NewJob(pipeline="sleep", tenant_id=f"of-{job_id}"), job_id=job_id) for job_id in [*killers, *innocent]
    }
    return Fleet(cell, [jobs[job_id] for job_id in killers], [jobs[job_id] for job_id in innocent])


@pytest.mark.parametrize("killer", ["a", "m", "z"], ids=["rescued first", "between", "rescued last"])
def test_a_job_that_kills_its_worker_fails_alone(cell: Cell, killer: str) -> None:
    """Rescued first, it starts before the others do; rescued last, when they have long shown that they do no harm."""
    jobs = fleet(cell, [killer], ["b", "c", "x", "y"])
    assert jobs.find() == [5, 5, {"a": 1, "m": 3, "z": 5}[killer]]
    assert jobs.status(jobs.killers) == [JobStatus.FAILED]
    assert cell.client.get(killer).crashes == 3
    assert set(jobs.status(jobs.innocent)) <= {JobStatus.QUEUED, JobStatus.RUNNING}


def test_of_jobs_that_were_apart_and_died_together_none_is_to_blame(cell: Cell) -> None:
    """All slots were taken until the last might start: so they started together after all. They start apart again."""
    jobs = fleet(cell, ["m"], ["b", "c", "x"])
    for _ in range(4):
        jobs.start()
        jobs.wait(10)
        jobs.start()
        jobs.dies()
    assert set(jobs.status([*jobs.killers, *jobs.innocent])) == {JobStatus.QUEUED}
    jobs.find()
    assert jobs.status(jobs.killers) == [JobStatus.FAILED]
    assert JobStatus.FAILED not in jobs.status(jobs.innocent)


def test_random_killers_are_found_and_nobody_else(cell: Cell) -> None:
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    for n in range(10):
        names = [f"{n}-{letter}" for letter in draw.sample("abcdefghij", 8)]
        jobs = fleet(cell, names[: draw.randint(1, 3)], names[3:])
        jobs.find()
        assert set(jobs.status(jobs.killers)) == {JobStatus.FAILED}, seed
        assert JobStatus.FAILED not in jobs.status(jobs.innocent), seed
        for job in jobs.innocent:
            cell.client.cancel(job.job_id)


def test_a_job_that_kills_late_is_found(cell: Cell) -> None:
    """Nobody is apart for so long at first: each lives on with the others, and dies with them."""
    jobs = fleet(cell, ["m"], ["b", "x"])
    jobs.lives = 600_000
    deaths = jobs.find()
    assert jobs.status(jobs.killers) == [JobStatus.FAILED]
    assert JobStatus.FAILED not in jobs.status(jobs.innocent)
    assert len(deaths) > 3


def test_a_job_that_was_alone_with_its_worker_needs_no_second_proof(cell: Cell) -> None:
    cell = cell.with_settings(max_crashes=1)
    alone = fleet(cell, ["a"], [])
    assert alone.find() == [1]
    assert alone.status(alone.killers) == [JobStatus.FAILED]
    beside = fleet(cell, ["b"], ["c"])
    assert beside.find() == [2, 1]
    assert beside.status(beside.killers) == [JobStatus.FAILED]


def test_who_starts_apart_says_so_in_the_log(cell: Cell) -> None:
    jobs = fleet(cell, ["a"], ["b", "c"])
    for _ in range(2):
        jobs.start()
        jobs.dies()
    told = [str(read_all(cell.store, job_id)[-1].data["message"]) for job_id in "bc"]
    after = [re.fullmatch(r"starts apart from the jobs that were lost with it, in (\d+) s", message) for message in told]
    first, second = (int(found[1]) for found in after if found)
    assert 2 * LIVES / 1000 <= first <= second - 2 * LIVES / 1000
    assert {cell.client.get(job_id).reason for job_id in "bc"} == {"retry"}


def test_a_run_that_was_given_back_is_apart_no_more(cell: Cell) -> None:
    jobs = fleet(cell, ["a"], ["b"])
    for _ in range(2):
        jobs.start()
        jobs.dies()
    jobs.start()
    (run,) = jobs.runs
    record = cell.store.keys("job", run.job_id)
    assert cell.store.client.hget(record, "apart_ms")
    cell.store.requeue(run.job_id, run.fence, "handback")
    assert cell.store.client.hget(record, "apart_ms") is None


def test_who_starts_apart_goes_first_when_its_time_has_come(cell: Cell) -> None:
    """Its slot is the only one that becomes free, and a crowd waits for it."""
    jobs = fleet(cell, ["a"], ["b"])
    for _ in range(2):
        jobs.start()
        jobs.dies()
    jobs.start()
    cell.slots(1, jobs.worker)
    for _ in range(10):
        cell.submit(tenant_id="crowd")
    jobs.wait()
    cell.store.finish(jobs.runs[0].job_id, jobs.runs[0].fence, JobStatus.COMPLETED)
    assert cell.client.get("b").reason == "dispatched"
