"""Random histories of a cell against the promises of the rule (`docs/fairness.md`): nobody starves, no slot idles, no count drifts.

The model does not repeat the rule's arithmetic. It knows who could be served and checks what may be seen from outside after every step.
Its long form is `tests/heavy/bar_fair_histories.py`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from examples.demo_pipelines import SLEEP
from pipeline_jobs.job import Job
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from tests.integration.clock import step_clock
from tests.integration.conftest import Cell, make_cell
from tests.integration.newcomers import Newcomers
from tests.integration.recount import differences

TENANTS = ("a", "b", "c", "d")
WORKERS = ("w1", "w2")
#: Each may get a cap; the histories mix them in every workspace.
PIPELINES = ("sleep", "nap", "doze")
tenants = st.sampled_from(TENANTS)
workers = st.sampled_from(WORKERS)
pipelines = st.sampled_from(PIPELINES)
several = st.lists(pipelines, min_size=1, max_size=6)
# Mostly there is room, or nothing would happen to whoever has to wait for others.
caps = st.sampled_from([None, None, None, 0, 1, 2])
picks = st.integers(0, 2**20)
#: What runs take and what they are taken for, in ms: from nothing to an hour.
durations = st.sampled_from([0, 5, 1_000, 60_000, 3_600_000])
HOUR = 3600
#: When a tenant had a job is known to a minute; and a history takes some real time.
ABOUT = 120
#: By how much the server's clock is set, in seconds.
steps = st.sampled_from([-13 * 3600, -3600, -90, 90, 3600, 2 * HOUR])
#: Of a tenant that has one: a start, and the next one after 1000 s.
START_RATE = 0.001


class Place(NamedTuple):
    """Whose slot a job takes."""

    tenant: str
    pipeline: str


def make_model_cell(base: Settings) -> Cell:
    """A cell that knows all the pipelines."""
    cell = make_cell(base)
    for name in PIPELINES[1:]:
        cell.client.registry.register(replace(SLEEP, name=name))
    return cell


def pretend_it_took(cell: Cell, job_id: str, ms: int) -> None:
    """A running job began so long ago."""
    cell.store.client.hset(cell.store.keys("job", job_id), "started_at", int(time.time() * 1000) - ms)


def mistake(cell: Cell, tenant: str, pipeline: str, ms: int) -> None:
    """Runs of a pipeline, a tenant's and everybody's, are taken to last so long."""
    cell.store.client.hset(cell.store.keys("share", tenant), f"ms:{pipeline}", ms)
    cell.store.client.hset(cell.store.keys("pipelines"), f"ms:{pipeline}", ms)


class History(RuleBasedStateMachine):
    """What clients, operators and workers may do, in any order."""

    base: Settings

    def __init__(self) -> None:
        super().__init__()
        with make_cell(self.base).store.client as client:
            client.flushall()
        self.cell: Cell = make_model_cell(self.base)
        #: Slots of the workers that live.
        self.slots: dict[str, int] = {}
        self.most = self.base.max_concurrent_jobs
        self.limits: dict[str, dict[str, Any]] = {}
        self.caps: dict[str, int | None] = {}
        self.queued: dict[str, Place] = {}
        #: Those that wait for a time: their worker's machine was at fault.
        self.delayed: dict[str, Place] = {}
        self.hinted: dict[str, Place] = {}
        self.running: dict[str, Job] = {}
        #: All jobs, in the order of their submits.
        self.numbers: dict[str, int] = {}
        #: Queued jobs that were lost with their worker: the next to start. Those that might not start meanwhile may have lost that claim.
        self.lost: dict[str, Place] = {}
        self.once_lost: set[str] = set()
        #: How far the clock was set in all, in seconds; of tenants with a start rate when they last started a job, and what was left then.
        self.clock = 0
        self.tokens: dict[str, tuple[int, float]] = {}
        #: When, by the clock, each tenant last had a job dispatched, and when it last may have counted as one that has a job.
        self.began: dict[str, int] = {}
        self.seen: dict[str, int] = {}
        self.newcomers = Newcomers()
        #: How many others were dispatched since each tenant last could have been and was not.
        self.passed: Counter[str] = Counter()

    # -- what happens

    @initialize(slots=st.lists(st.integers(1, 4), min_size=2, max_size=2), of_pipelines=st.lists(caps, min_size=3, max_size=3))
    def begins(self, slots: list[int], of_pipelines: list[int | None]) -> None:
        self.cell.store.rescue()  # The first one only learns which server it is.
        for worker, n in zip(WORKERS, slots, strict=True):
            self.worker_beats(worker, n)
        for pipeline, cap in zip(PIPELINES, of_pipelines, strict=True):
            self.cap_changes(pipeline, cap)

    @rule(tenant=tenants, workspace=st.sampled_from("xy"), wanted=several, priority=st.integers(-50, 50))
    def submit(self, tenant: str, workspace: str, wanted: list[str], priority: int) -> None:
        for pipeline in wanted:
            job = self.cell.submit(tenant_id=tenant, workspace_id=workspace, pipeline=pipeline, priority=priority)
            self.queued[job.job_id] = Place(tenant, pipeline)
            self.numbers[job.job_id] = len(self.numbers)

    @rule(wanted=several)
    def newcomer(self, wanted: list[str]) -> None:
        known = {*self.newcomers.served, *(place.tenant for place in self.queued.values())}
        self.submit(next(f"new{i}" for i in range(1000) if f"new{i}" not in known), "x", wanted, 0)

    @rule(worker=workers, slots=st.integers(0, 6))
    def worker_beats(self, worker: str, slots: int) -> None:
        """A new one, one that changes its slots, or one that was only slow."""
        self.slots[worker] = slots
        self.cell.slots(slots, worker)

    @rule(worker=workers, is_rescued=st.booleans())
    def worker_falls_silent(self, worker: str, is_rescued: bool) -> None:
        if self.slots.pop(worker, None) is not None:
            self.cell.store.client.zadd(self.cell.store.keys("workers"), {worker: 1})
            self.cell.store.rescue()
            # What was dispatched now was so before anything was lost.
            self.dispatched_jobs_are_seen_and_fair_in_order()
        if is_rescued:
            self.leases_of_dead_workers_end()

    @rule()
    def leases_of_dead_workers_end(self) -> None:
        dead = {job_id: run for job_id, run in self.running.items() if run.worker not in self.slots}
        for job_id, run in dead.items():
            self.cell.store.client.zadd(self.cell.store.keys("leases"), {job_id: 1})
            del self.running[job_id]
            self.queued[job_id] = self.lost[job_id] = Place(run.tenant_id, run.pipeline)
            self.once_lost.add(job_id)
            self.newcomers.refunded.add(run.tenant_id)
        self.cell.store.rescue()

    @rule(most=st.sampled_from([1, 2, 4, 100]))
    def installations_cap_changes(self, most: int) -> None:
        self.most = most
        self.cell.store.set_max_concurrent_jobs(most)

    @rule(
        tenant=tenants,
        most=st.sampled_from([None, None, 0, 1, 3]),
        paused=st.sampled_from([False, False, True]),
        weight=st.sampled_from([0.5, 1, 4]),
        rate=st.sampled_from([None, None, START_RATE]),
    )
    def limits_change(self, tenant: str, most: int | None, paused: bool, weight: float, rate: float | None) -> None:
        self.limits[tenant] = {"max_concurrent": most, "paused": paused, "weight": weight, "start_rate": rate}
        self.cell.store.set_limits(tenant, self.limits[tenant])

    @rule(pipeline=pipelines, cap=caps)
    def cap_changes(self, pipeline: str, cap: int | None) -> None:
        self.caps[pipeline] = cap
        self.cell.store.set_pipeline_cap(pipeline, cap)

    @rule(tenant=tenants, pipeline=pipelines, ms=durations)
    def estimate_is_wrong(self, tenant: str, pipeline: str, ms: int) -> None:
        mistake(self.cell, tenant, pipeline, ms)

    @rule(seconds=steps)
    def clock_is_set(self, seconds: int) -> None:
        self.clock += seconds
        # Of a time to come nothing is sure, nor when that time has come: the store remembers two tenants, and others are newer now.
        self.began = {tenant: at for tenant, at in self.began.items() if at <= self.clock}
        step_clock(self.cell.store, 1000 * seconds)
        self.cell.store.rescue()

    # Whom a draw hits is looked up in what there is: a draw that depended on it would depend on real time, which moves the tenants' clocks.

    @rule(few=st.integers(1, 6), pick=picks)
    def claims(self, few: int, pick: int) -> None:
        for n in range(min(few, len(self.hinted)) if self.slots else 0):
            job_id = self.chosen(self.hinted, pick)
            del self.hinted[job_id]
            living = sorted(self.slots)
            self.running[job_id] = self.cell.start(job_id, living[(pick + n) % len(living)])

    @rule(pick=picks, ms=durations)
    def runs_lease_is_renewed(self, pick: int, ms: int) -> None:
        """It is charged for as long as it has lasted."""
        living = [job_id for job_id, run in self.running.items() if run.worker in self.slots]
        if living:
            run = self.running[self.chosen(living, pick)]
            pretend_it_took(self.cell, run.job_id, ms)
            self.seen[run.tenant_id] = self.clock
            self.cell.store.announce(str(run.worker), self.slots[str(run.worker)], [(run.job_id, run.fence)])

    @rule(pick=picks, ms=durations, how=st.sampled_from(["completed", "failed", "crash", "handback", "retry", "fault"]))
    def run_ends(self, pick: int, ms: int, how: str) -> None:
        if not self.running:
            return
        job_id = self.chosen(self.running, pick)
        run = self.running.pop(job_id)
        self.newcomers.refunded.discard(run.tenant_id)
        pretend_it_took(self.cell, job_id, ms)
        if how in ("completed", "failed"):
            self.cell.store.finish(job_id, run.fence, JobStatus(how), result={}, error="x")
        elif self.cell.store.requeue(job_id, run.fence, how) is JobStatus.QUEUED:
            (self.delayed if how == "fault" else self.queued)[job_id] = Place(run.tenant_id, run.pipeline)

    @rule()
    def time_passes(self) -> None:
        for job_id in self.delayed:
            self.cell.store.client.zadd(self.cell.store.keys("delayed"), {job_id: 1}, xx=True)
        self.queued.update(self.delayed)
        self.delayed.clear()
        self.cell.store.rescue()

    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        waiting = {**self.queued, **self.delayed, **self.hinted}
        if not waiting:
            return
        self.is_cancelled(self.chosen(waiting, pick))

    def is_cancelled(self, job_id: str) -> None:
        for those in (self.queued, self.delayed, self.hinted, self.lost):
            those.pop(job_id, None)
        self.cell.client.cancel(job_id)

    @rule(tenant=tenants)
    def all_others_leave_and_it_floods(self, tenant: str) -> None:
        def others(of: dict[str, Place]) -> list[str]:
            return [job_id for job_id, place in of.items() if place.tenant != tenant]

        while left := others({**self.queued, **self.delayed, **self.hinted}):
            self.is_cancelled(left[0])
            self.dispatched_jobs_are_seen_and_fair_in_order()
        for run in [run for run in self.running.values() if run.tenant_id != tenant]:
            del self.running[run.job_id]
            self.newcomers.refunded.discard(run.tenant_id)
            self.cell.store.finish(run.job_id, run.fence, JobStatus.FAILED, error="x")
            self.dispatched_jobs_are_seen_and_fair_in_order()
        self.submit(tenant, "x", [*PIPELINES] * 4, 0)

    @rule()
    def hints_are_lost(self) -> None:
        for job_id in self.hinted:
            self.cell.store.client.zadd(self.cell.store.keys("hints"), {job_id: 1})
        self.newcomers.refunded |= {place.tenant for place in self.hinted.values()}
        self.queued.update(self.hinted)
        self.hinted.clear()
        self.cell.store.rescue()

    @rule()
    def lists_say_why_as_the_job_does(self) -> None:
        # Over so many places that a page has all of them.
        listed = {job.job_id: job.reason for job in self.cell.client.list(JobQuery(statuses=(JobStatus.QUEUED,), limit=1000)).items}
        assert set(listed) == {*self.queued, *self.hinted, *self.delayed}
        assert listed == {job_id: self.cell.client.describe(job_id).reason for job_id in listed}

    # -- what must hold after each

    @invariant()
    def dispatched_jobs_are_seen_and_fair_in_order(self) -> None:
        self.newcomers.look(*self.who_waits(), sum(self.slots.values()))
        for hint in map(json.loads, self.cell.hints()):
            job_id = hint["id"]
            # Real time passes too: one that was delayed may have come back by itself.
            place = (self.queued if job_id in self.queued else self.delayed).pop(job_id)
            assert (why := self.held_back(place)) is None, f"{place} was started: {why}"
            self.lost.pop(job_id, None)
            if job_id in self.once_lost:
                self.once_lost.remove(job_id)
            else:
                assert not [lost for lost in self.lost.values() if self.could_start(lost)], f"{place} went before lost jobs"
                self.count_who_was_passed(place.tenant)
            self.newcomers.was_served(place.tenant)
            self.began[place.tenant] = self.seen[place.tenant] = self.clock
            self.hinted[job_id] = place
            if self.limits.get(place.tenant, {}).get("start_rate"):
                self.tokens[place.tenant] = (self.clock, self.tokens_of(place.tenant) - 1)
        self.cell.store.client.delete("jobs")
        self.lost = {job_id: place for job_id, place in self.lost.items() if self.could_start(place)}
        self.newcomers.have_gone(*self.who_waits())

    def who_waits(self) -> tuple[set[str], set[str]]:
        """Tenants with a job that surely might start, and those that are perhaps asked for one: who has a limit of its own is not."""
        could = {place.tenant for place in self.queued.values() if self.could_start(place)}
        return could, {place.tenant for place in self.queued.values() if self.limit_of(place.tenant) is None}

    def count_who_was_passed(self, by: str) -> None:
        could = {place.tenant for place in self.queued.values() if self.could_start(place)} - {by}
        # A dispatch that is lost costs nothing: who loses all of them is the next again each time, and nobody is passed by a job that runs.
        costs = by not in self.newcomers.refunded
        self.passed = Counter({tenant: self.passed[tenant] + costs for tenant in could})
        self.newcomers.were_passed(by, could)

    @invariant()
    def no_slot_idles_while_anybody_is_eligible(self) -> None:
        free, eligible = self.free(), {place for place in self.queued.values() if self.could_start(place)}
        assert free <= 0 or not eligible, f"{free} slots idle while {eligible} could start"

    @invariant()
    def newcomers_are_among_the_next_starts(self) -> None:
        self.newcomers.were_next()

    @invariant()
    def nobody_starves(self) -> None:
        # Weights differ by 8 at most: who could start is passed over a bounded number of times.
        assert max(self.passed.values(), default=0) <= 64, self.passed

    @invariant()
    def no_count_drifts(self) -> None:
        assert differences(self.cell.store) == []

    def chosen(self, ids: Iterable[str], pick: int) -> str:
        """One of these jobs: the same whenever the history is repeated (the ids are others)."""
        known = sorted(ids, key=self.numbers.__getitem__)
        return known[pick % len(known)]

    def held_back(self, place: Place) -> str | None:
        """Why a job may not start, whoever's turn it is."""
        if why := self.limit_of(place.tenant):
            return why
        if (cap := self.caps.get(place.pipeline)) is not None and self.slots_of("pipeline", place.pipeline) >= cap:
            return f"its pipeline has {cap} slots"
        if self.is_at_the_reserve(place.tenant) and self.others_had_a_job(place.tenant, surely=True):
            return "the last slot is for others"
        return None

    def limit_of(self, tenant: str) -> str | None:
        """Which limit of its own it is at."""
        limits = self.limits.get(tenant, {})
        if limits.get("paused"):
            return "its tenant is paused"
        if (most := limits.get("max_concurrent")) is not None and self.slots_of("tenant", tenant) >= most:
            return f"its tenant has {most} slots"
        if limits.get("start_rate") and self.tokens_of(tenant) < 1:
            return "its tenant has started one"
        return None

    def could_start(self, place: Place) -> bool:
        """Surely: it is held back neither by a limit nor by another tenant's job of which nobody can say whether it was within the hour."""
        reserved = self.is_at_the_reserve(place.tenant) and self.others_had_a_job(place.tenant, surely=False)
        # After the clock was set back it may have the rest of its wait before it, though its bucket is full.
        parked = self.limits.get(place.tenant, {}).get("start_rate") and self.clock < self.tokens.get(place.tenant, (self.clock, 0))[0]
        return self.held_back(place) is None and not reserved and not parked

    def free(self) -> int:
        alive = sum(run.worker in self.slots for run in self.running.values())
        return min(sum(self.slots.values()), self.most) - alive - len(self.hinted)

    def is_at_the_reserve(self, tenant: str) -> bool:
        slots = min(sum(self.slots.values()), self.most)
        return slots >= 4 and self.free() <= 1 and self.slots_of("tenant", tenant) >= slots - 1

    def others_had_a_job(self, tenant: str, *, surely: bool) -> bool:
        """In the last hour. Before the clock was set back is not surely, and not surely not."""
        if surely:
            return any(0 <= self.clock - at <= HOUR - ABOUT for other, at in self.began.items() if other != tenant)
        return any(self.clock - at <= HOUR + ABOUT for other, at in self.seen.items() if other != tenant)

    def slots_of(self, what: str, name: str) -> int:
        busy = [*self.hinted.values(), *(Place(run.tenant_id, run.pipeline) for run in self.running.values())]
        return [getattr(place, what) for place in busy].count(name)

    def tokens_of(self, tenant: str) -> float:
        """Of a bucket that holds one. A clock that was set back behind its last start has it filled."""
        at, left = self.tokens.get(tenant, (0, 1.0))
        return 1.0 if self.clock < at else min(1.0, left + (self.clock - at) * START_RATE)

    def teardown(self) -> None:
        self.cell.store.client.close()


def check_histories(cell: Settings, histories: int, *, derandomize: bool) -> None:
    """So many of up to 50 steps each."""

    class Bound(History):
        base = cell.model_copy(update={"max_concurrent_jobs": 100, "announce_seconds": 1000.0, "max_crashes": 1000})

    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=histories,
            stateful_step_count=50,
            deadline=None,
            derandomize=derandomize,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_random_histories_keep_the_promises(cell: Settings) -> None:
    check_histories(cell, 40, derandomize=True)


def test_a_newcomer_is_behind_by_a_few_seconds_of_each_slot_however_wrong_the_estimates(cell: Settings) -> None:
    """Two equal tenants with enough to do: what the first has used more, once the second is there, is bounded."""
    base = cell.model_copy(update={"max_concurrent_jobs": 100, "announce_seconds": 1000.0})

    @settings(max_examples=4, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(estimate=st.sampled_from([60_000, 600_000, 3_600_000]), first=st.sampled_from([0, 60_000, 600_000]), slots=st.integers(1, 3))
    def newcomer(estimate: int, first: int, slots: int) -> None:
        one = make_model_cell(base)
        one.store.client.flushall()
        assert_the_newcomer_is_served(one, estimate, first, slots)
        one.store.client.close()

    newcomer()


#: What each run takes in truth, in ms, and how many run.
RUN_MS, RUNS = 500, 120


def assert_the_newcomer_is_served(cell: Cell, estimate: int, first_ms: int, slots: int) -> None:
    """`old` is charged by a wrong estimate, and for a long run (of `first_ms`) as it goes; then `new` comes."""
    mistake(cell, "old", "sleep", estimate)
    for _ in range(RUNS + 2 * slots):
        cell.submit(tenant_id="old")
    cell.slots(slots)
    begun = [cell.start(json.loads(hint)["id"]) for hint in cell.hints()]
    for run in begun:
        pretend_it_took(cell, run.job_id, first_ms)
    cell.store.announce("w1", slots, [(run.job_id, run.fence) for run in begun])
    for run in begun:
        cell.store.finish(run.job_id, run.fence, JobStatus.FAILED, error="x")
    for _ in range(RUNS):
        cell.submit(tenant_id="new")
    used: Counter[str] = Counter()
    hinted = [hint["id"] for hint in map(json.loads, cell.hints())][slots:]
    for _ in range(RUNS):
        run = cell.start(hinted.pop(0))
        # A failed run teaches nothing: the estimate stays as wrong as it is.
        pretend_it_took(cell, run.job_id, RUN_MS)
        used[run.tenant_id] += RUN_MS
        cell.store.client.delete("jobs")
        cell.store.finish(run.job_id, run.fence, JobStatus.FAILED, error="x")
        hinted += [hint["id"] for hint in map(json.loads, cell.hints())]
    assert used["old"] - used["new"] <= (slots + 1) * 5_000, (used, estimate, first_ms, slots)
