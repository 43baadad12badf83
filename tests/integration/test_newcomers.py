"""Who comes is served next, whatever the others have done (`docs/fairness.md`); and nobody is a newcomer again for nothing."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples.demo_pipelines import SLEEP
from pipeline_jobs.job import Job
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from tests.integration.clock import step_clock
from tests.integration.conftest import Cell, make_cell
from tests.integration.recount import differences

HOUR = 3_600_000
OTHERS = ("a", "b", "c")
#: What happens, to which job, and how long something takes (ms).
ENDS = ("completed", "failed", "cancelled", "the clock is set back", "the clock is set forward")
picks, durations = st.integers(0, 2**20), st.sampled_from([0, 5, 50, 500, 5_000, 60_000, HOUR])
events = st.tuples(st.sampled_from([*ENDS, "estimate", "weight"]), picks, durations)
ends = st.tuples(st.sampled_from(ENDS), picks, durations)


@pytest.fixture
def cell(jobs: Cell) -> Cell:
    return jobs.with_settings(max_concurrent_jobs=1000, announce_seconds=1000.0)


class Others:
    """Tenants that always have something to do."""

    def __init__(self, cell: Cell, slots: int) -> None:
        self.cell, self.slots = cell, slots
        self.dispatched: list[Job] = []
        #: Who was served, in the order of the dispatches.
        self.served: list[str] = []
        for tenant in OTHERS:
            for _ in range(slots + 1):
                cell.submit(tenant_id=tenant)
        cell.slots(slots)
        self.look()
        # They are no newcomers themselves.
        while set(self.served) != set(OTHERS):
            self.happens("failed", 0, 5)

    def look(self) -> None:
        """Take notice of new hints; whoever was served has another job."""
        hints = [json.loads(hint)["id"] for hint in self.cell.hints()]
        self.cell.store.client.delete("jobs")
        for job in map(self.cell.client.get, hints):
            self.served.append(job.tenant_id)
            if job.tenant_id in OTHERS:
                self.dispatched.append(job)
                self.cell.submit(tenant_id=job.tenant_id)

    def happens(self, what: str, pick: int, ms: int) -> None:
        store = self.cell.store
        job = self.dispatched[pick % len(self.dispatched)]
        if what == "estimate":
            store.client.hset(store.keys("share", job.tenant_id), "ms:sleep", ms)
        elif what == "weight":
            store.set_limits(job.tenant_id, {"weight": [0.1, 1, 10][pick % 3]})
        elif what == "cancelled":
            self.dispatched.remove(job)
            self.cell.client.cancel(job.job_id)
        else:
            self.dispatched.remove(job)
            self.run(job.job_id, what, ms)
        self.look()

    def run(self, job_id: str, what: str, ms: int) -> None:
        """For so long, with a beat; then it ends. Where the clock is set, that happens in between."""
        store, run = self.cell.store, self.cell.start(job_id)
        store.client.hincrby(store.keys("job", job_id), "started_at", -ms)
        store.announce("w1", self.slots, [(job_id, run.fence)])
        if what.startswith("the clock"):
            step_clock(store, -ms if what.endswith("back") else ms)
        store.finish(job_id, run.fence, JobStatus.COMPLETED if what == "completed" else JobStatus.FAILED, result={}, error="x")


def test_a_newcomers_first_job_is_among_the_next_starts(cell: Cell) -> None:
    """One more start than there are slots would do; it is the very next, whatever was before and is meanwhile."""

    @settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(
        slots=st.integers(1, 4), before=st.lists(events, max_size=20), cancelled=st.booleans(), later=st.lists(ends, min_size=4, max_size=4)
    )
    def newcomer(slots: int, before: list[tuple[str, int, int]], cancelled: bool, later: list[tuple[str, int, int]]) -> None:
        one = fresh(cell.settings)
        others = Others(one, slots)
        for event in before:
            others.happens(*event)
        new = one.submit(tenant_id="new")
        if cancelled:
            # It was never served: it comes as a newcomer again.
            one.client.cancel(new.job_id)
            others.happens(*later[-1])
            new = one.submit(tenant_id="new")
        others.served.clear()
        for event in later[:slots]:
            others.happens(*event)
        assert "new" in others.served[:slots], others.served
        assert differences(one.store) == []
        one.close()

    newcomer()


def fresh(base: Settings) -> Cell:
    one = make_cell(base)
    one.store.client.flushall()
    return one


def test_a_newcomer_stays_one_while_its_pipeline_is_full(cell: Cell) -> None:
    others = Others(cell, 2)
    # The present goes on, and back.
    others.happens("failed", 0, HOUR)
    cell.store.set_pipeline_cap("sleep", 0)
    cell.submit(tenant_id="new")
    others.happens("cancelled", 0, 0)
    others.happens("the clock is set back", 0, HOUR)
    assert "new" not in others.served
    cell.store.set_pipeline_cap("sleep", None)
    others.look()
    assert others.served[-2] == "new", others.served
    assert differences(cell.store) == []


def test_who_submits_and_cancels_in_a_loop_is_not_always_next(cell: Cell) -> None:
    """Each dispatch that it takes back costs it as much as a run that takes no time."""
    cell.slots(1)
    for _ in range(30):
        cell.submit(tenant_id="honest")
    served: Counter[str] = Counter()
    for _ in range(40):
        cell.submit(tenant_id="loop")
        job = cell.client.get(json.loads(cell.hints()[-1])["id"])
        cell.store.client.delete("jobs")
        served[job.tenant_id] += 1
        if job.tenant_id == "loop":
            cell.client.cancel(job.job_id)
        else:
            run = cell.start(job.job_id)
            # It takes no time, however long this machine stands still.
            cell.store.client.hincrby(cell.store.keys("job", job.job_id), "started_at", HOUR)
            cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    assert served["honest"] >= 8, served


def test_a_lost_hint_costs_nothing(cell: Cell) -> None:
    cell.slots(1)
    job = cell.submit(tenant_id="a")
    first = cell.client.get(job.job_id).fence
    cell.let_leases_end()
    cell.store.rescue()
    cell.store.rescue()
    cell.slots(0)
    assert cell.client.get(job.job_id).fence == first + 1
    assert float(cell.store.client.hget(cell.store.keys("share", "a"), "w:main")) == pytest.approx(1000)


@pytest.mark.parametrize(("came_before", "slots"), [(0, 2), (99_999, 2), (99_999, 1)])
def test_newcomers_are_served_in_the_order_in_which_they_came(cell: Cell, came_before: int, slots: int) -> None:
    """Though what the first one had before it came is put right meanwhile; where it comes 100,000th, to the very number with which it came.

    If one job is all that it had, it leaves and comes back with that number, and has no place from before: whoever loses its hints again
    and again would be before the other each time.
    """
    cell.store.client.set(cell.store.keys("entries"), came_before)
    cell.slots(slots)
    cell.store.rescue()
    for tenant in (*["back"] * slots, "first"):
        cell.submit(tenant_id=tenant)
    cell.store.client.delete("jobs")
    cell.let_leases_end()
    cell.store.rescue()
    assert [json.loads(hint)["tenant"] for hint in cell.hints()] == ["first", "back"][:slots]


def test_who_comes_back_after_a_newcomer_is_next_too(cell: Cell) -> None:
    """What the newcomer was served at is no present: nobody would be behind it."""
    cell.slots(2)
    cell.submit(tenant_id="back")
    run_next(cell)
    cell.store.client.hset(cell.store.keys("share", "busy"), "ms:sleep", 5_000)
    for _ in range(9):
        cell.submit(tenant_id="busy")
    # Both took less than they were charged: the clock of `busy` goes back behind the highest.
    for _ in range(2):
        run_next(cell)
    new = cell.submit(tenant_id="new")
    run_next(cell)
    assert cell.client.get(new.job_id).reason == "dispatched"
    back = cell.submit(tenant_id="back")
    run_next(cell)
    assert cell.client.get(back.job_id).reason == "dispatched"


def test_who_had_more_than_the_others_lately_is_no_newcomer(cell: Cell) -> None:
    """The present goes back with the clocks of the others."""
    cell.slots(2)
    cell.submit(tenant_id="back")
    run_next(cell, 1_000)
    cell.store.client.hset(cell.store.keys("share", "busy"), "ms:sleep", 5_000)
    for _ in range(9):
        cell.submit(tenant_id="busy")
    cell.slots(1)
    for _ in range(2):
        run_next(cell)
    back = cell.submit(tenant_id="back")
    run_next(cell)
    assert cell.client.get(back.job_id).reason == "fair_share"


def run_next(cell: Cell, ms: int = 0) -> None:
    """Run the oldest hint's job for so long."""
    job_id = json.loads(cell.store.client.rpop("jobs"))["id"]
    run = cell.start(job_id)
    cell.store.client.hincrby(cell.store.keys("job", job_id), "started_at", -ms)
    cell.store.finish(job_id, run.fence, JobStatus.FAILED, error="x")


def test_a_clock_that_is_set_back_as_a_job_runs_gives_its_tenant_no_credit(cell: Cell) -> None:
    cell.slots(1)
    run = cell.start(cell.submit(tenant_id="a").job_id)
    cell.store.client.hincrby(cell.store.keys("job", run.job_id), "started_at", -HOUR)
    cell.store.announce("w1", 1, [(run.job_id, run.fence)])
    step_clock(cell.store, -HOUR)
    cell.store.finish(run.job_id, run.fence, JobStatus.FAILED, error="x")
    assert float(cell.store.client.hget(cell.store.keys("share", "a"), "time")) == pytest.approx(HOUR, abs=60_000)


def test_who_comes_back_before_a_newcomer_is_before_it(cell: Cell) -> None:
    """Each is behind those that came before it, however many these are and however few slots there are: they come back, and it comes."""
    cell.slots(1)
    for tenant in ("back-1", "back-2"):
        cell.submit(tenant_id=tenant)
        run_next(cell)
    for _ in range(9):
        cell.submit(tenant_id="busy")
    # The present is beyond what the others were charged.
    for _ in range(3):
        run_next(cell, 5_000)
    for tenant in ("back-1", "back-2", "new"):
        cell.submit(tenant_id=tenant)
    served = []
    for _ in range(4):
        run_next(cell)
        served.append(json.loads(cell.hints()[0])["tenant"])
    assert served == ["back-1", "back-2", "new", "busy"]


def test_a_newcomer_keeps_its_place_while_its_pipeline_is_full(cell: Cell) -> None:
    """Whoever comes later would be before it each time that the pipeline has room again: it would wait for as long as others come."""
    cell.client.registry.register(replace(SLEEP, name="nap"))
    cell.store.set_pipeline_cap("nap", 1)
    cell.slots(2)
    for _ in range(9):
        cell.submit(tenant_id="busy")
    cell.submit(tenant_id="first", pipeline="nap")
    run_next(cell)
    cell.submit(tenant_id="new", pipeline="nap")
    served = []
    for tenant in ("later-1", "later-2"):
        # A slot for another pipeline: `new` is asked, and cannot have it. Then one comes whom nobody asks until there is room.
        run_of(cell, "busy")
        cell.submit(tenant_id=tenant, pipeline="nap")
        served.append(run_of(cell, "nap"))
    assert served[0] == "new", served
    assert differences(cell.store) == []


def run_of(cell: Cell, what: str) -> str:
    """Run the job of a pipeline or tenant that has a hint. :return: the tenant that has the next hint of all."""
    client, hints = cell.store.client, cell.hints()
    [hint] = [one for one in hints if what in whose_and_what(cell, one)]
    client.lrem("jobs", 1, hint)
    run = cell.start(json.loads(hint)["id"])
    before = set(cell.hints())
    cell.store.finish(run.job_id, run.fence, JobStatus.FAILED, error="x")
    [new] = [json.loads(one)["tenant"] for one in cell.hints() if one not in before]
    return str(new)


def whose_and_what(cell: Cell, hint: str) -> tuple[str, str]:
    """Its tenant and its pipeline."""
    job = cell.client.get(json.loads(hint)["id"])
    return job.tenant_id, job.pipeline
