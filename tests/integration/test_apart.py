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
from tests.integration.clock import set_clock
from tests.integration.conftest import Cell
from tests.integration.lost_runs import dispatched, kill, started

#: How long the job lives that kills its worker, in ms.
LIVES = 7_000
LEASE = 60_000
MINUTE, DAY = 60_000, 86_400_000


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

    def let_start(self, jobs: int = 1) -> None:
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
            client.set(key, " ".join(str(int(at) - ms) for at in str(client.get(key)).split()), ex=3600)

    def status(self, jobs: Sequence[Job]) -> list[JobStatus]:
        return [self.cell.client.get(job.job_id).status for job in jobs]

    def find(self, most: int = 100) -> list[int]:
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
                self.let_start()
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
    deaths = jobs.find()
    assert deaths[:3] == [5, 5, {"a": 1, "m": 3, "z": 5}[killer]]
    assert len(deaths) <= 8
    assert jobs.status(jobs.killers) == [JobStatus.FAILED]
    assert cell.client.get(killer).crashes >= 4
    assert set(jobs.status(jobs.innocent)) <= {JobStatus.QUEUED, JobStatus.RUNNING}


def test_of_jobs_that_were_apart_and_died_together_none_is_to_blame(cell: Cell) -> None:
    """All slots were taken until the last might start: so they started together after all. They start apart again."""
    jobs = fleet(cell, ["m"], ["b", "c", "x"])
    for _ in range(4):
        jobs.start()
        jobs.let_start(10)
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


def test_once_a_new_job_may_have_done_it(cell: Cell) -> None:
    """The job ran apart, and was lost with a worker that a job killed which nobody suspected yet. It lives through its next time."""
    jobs = fleet(cell, [], ["b"])
    for _ in range(3):
        jobs.start()
        jobs.dies()
    assert jobs.status(jobs.innocent) == [JobStatus.QUEUED]
    assert cell.store.client.hget(cell.store.keys("job", "b"), "suspected") == "1"
    jobs.start()
    jobs.lives = 3_600_000
    jobs.dies()
    assert cell.store.client.hget(cell.store.keys("job", "b"), "suspected") is None


def test_a_job_that_may_crash_once_fails_whoever_was_there(cell: Cell) -> None:
    """Whoever allows one crash wants no second run."""
    cell = cell.with_settings(max_crashes=1)
    jobs = fleet(cell, ["b"], ["c"])
    assert jobs.find() == [2]
    assert jobs.status([*jobs.killers, *jobs.innocent]) == [JobStatus.FAILED] * 2


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
    jobs.let_start()
    cell.store.finish(jobs.runs[0].job_id, jobs.runs[0].fence, JobStatus.COMPLETED)
    assert cell.client.get("b").reason == "dispatched"


def crashed_before(cell: Cell, names: str, n: int) -> list[Job]:
    made = [cell.client.submit(NewJob(pipeline="sleep", tenant_id=f"of-{name}"), job_id=name) for name in names]
    for job in made:
        cell.store.client.hset(cell.store.keys("job", job.job_id), "crashes", n)
    return made


def delay_ms(cell: Cell, job_id: str) -> float:
    """In how many ms it may start."""
    return float(cell.store.client.zscore(cell.store.keys("delayed"), job_id) or 0) - time.time() * 1000


@pytest.mark.parametrize("name", ["a", "z"], ids=["rescued first", "rescued last"])
@pytest.mark.parametrize("apart", [True, False], ids=["given back", "of the release before"])
def test_a_job_that_was_not_apart_is_not_to_blame(cell: Cell, name: str, apart: bool) -> None:
    """A worker gave it back after it was apart, or it crashed before there was such a thing: nothing is known of it."""
    (job, *others) = crashed_before(cell, f"{name}cde", 2)
    cell.slots(100, "w0")
    if apart:
        (run,) = started(cell, "w0", [job])
        cell.store.client.hset(cell.store.keys("job", name), "apart_ms", 60_000)
        cell.store.requeue(name, run.fence, "handback")
    kill(cell, "w0", started(cell, "w0", [job, *others]), lived_ms=3_600_000)
    assert cell.client.get(name).status is JobStatus.QUEUED


def test_a_killer_that_was_cancelled_was_there_too(cell: Cell) -> None:
    """It does not go back to the queue; what was apart with it is not to blame."""
    jobs = crashed_before(cell, "ab", 3)
    cell.slots(100, "w0")
    runs = started(cell, "w0", jobs)
    for job in jobs:
        cell.store.client.hset(cell.store.keys("job", job.job_id), mapping={"apart_ms": 600_000, "suspected": 1})
    cell.client.cancel("a")
    kill(cell, "w0", runs)
    assert [cell.client.get(name).status for name in "ab"] == [JobStatus.CANCELLED, JobStatus.QUEUED]


def test_who_is_apart_on_another_worker_was_not_there(cell: Cell) -> None:
    jobs = crashed_before(cell, "ab", 3)
    for worker in ("w0", "w1"):
        cell.slots(100, worker)
    (run,), _ = started(cell, "w0", jobs[:1]), started(cell, "w1", jobs[1:])
    for job in jobs:
        cell.store.client.hset(cell.store.keys("job", job.job_id), mapping={"apart_ms": 600_000, "suspected": 1})
    kill(cell, "w0", [run])
    assert [cell.client.get(name).status for name in "ab"] == [JobStatus.FAILED, JobStatus.RUNNING]


def test_a_lease_that_ended_beside_a_live_worker_says_nothing_of_the_job(cell: Cell) -> None:
    jobs = crashed_before(cell, "ab", 3)
    cell.slots(100, "w0")
    started(cell, "w0", jobs)
    cell.store.client.hset(cell.store.keys("job", "a"), mapping={"apart_ms": 600_000, "suspected": 1})
    cell.store.rescue()
    cell.store.client.zadd(cell.store.keys("leases"), {"a": int(time.time() * 1000) - 1})
    cell.store.rescue()
    assert [cell.client.get(name).status for name in "ab"] == [JobStatus.QUEUED, JobStatus.RUNNING]


@pytest.mark.parametrize("met", [9, 20, 70])
def test_who_met_many_deaths_holds_up_nobody_for_more_than_an_hour(cell: Cell, met: int) -> None:
    first, second = crashed_before(cell, "a", met) + crashed_before(cell, "b", 3)
    cell.slots(100, "w0")
    runs = started(cell, "w0", [first, second])
    kill(cell, "w0", runs[:1], lived_ms=3_600_000)
    kill(cell, "w0", runs[1:], lived_ms=3_600_000)
    assert delay_ms(cell, "b") <= 3_600_000


def test_many_jobs_that_are_lost_again_wait_with_those_of_their_worker_only(cell: Cell) -> None:
    """A third power cut, and all 80 jobs had run for longer than their time: the last begins as the eighth of its worker's."""
    names = [f"{n:02}" for n in range(80)]
    jobs = fleet(cell, [], names).innocent
    for n in range(10):
        cell.slots(8, f"w{n}")
    runs = [started(cell, f"w{n}", jobs[8 * n : 8 * n + 8]) for n in range(10)]
    for name in names:
        cell.store.client.hset(cell.store.keys("job", name), mapping={"apart_ms": 1000, "crashes": 2})
    for n in range(10):
        kill(cell, f"w{n}", runs[n], lived_ms=3_600_000)
    assert max(delay_ms(cell, name) for name in names) <= 7 * 120_000


def test_after_the_clock_was_set_back_nobody_waits_for_a_time_of_the_old_clock(cell: Cell) -> None:
    (job,) = crashed_before(cell, "a", 3)
    cell.slots(100, "w0")
    runs = started(cell, "w0", [job])
    cell.store.rescue()
    # Written 50 minutes ago, to be over in 10; by the clock that is set 45 minutes back it is not of the future, which would tell it apart.
    set_clock(cell.store, -45 * MINUTE)
    now = int(time.time() * 1000)
    cell.store.client.set(cell.store.keys("apart", ""), f"{now + 55 * MINUTE} {now - 5 * MINUTE}")
    cell.store.rescue()
    kill(cell, "w0", runs, lived_ms=3_600_000)
    assert delay_ms(cell, "a") <= 0


@pytest.mark.parametrize("how", ["hop", "signal"])
def test_a_segment_that_ends_well_clears_its_job(cell: Cell, how: str) -> None:
    jobs = fleet(cell, [], ["b"])
    for _ in range(3):
        jobs.start()
        jobs.dies()
    jobs.start()
    (run,) = jobs.runs
    if how == "hop":
        cell.store.advance("b", run.fence, "gpu", "hears", stage="hear")
    else:
        cell.store.park("b", run.fence, "approval", 60.0, "fail", "waits for it")
    assert cell.store.client.hget(cell.store.keys("job", "b"), "suspected") is None
