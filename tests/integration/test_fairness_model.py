"""Random histories of a cell against the promises of the rule (`docs/fairness.md`): nobody starves, no slot idles, no count drifts.

The model does not repeat the rule's arithmetic. It knows who could be served and checks what may be seen from outside after every step.
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
from tests.integration.conftest import Cell, make_cell
from tests.integration.recount import differences

TENANTS = ("a", "b", "c", "d")
#: Each may get a cap; the histories mix them in every workspace.
PIPELINES = ("sleep", "nap", "doze")
tenants = st.sampled_from(TENANTS)
pipelines = st.sampled_from(PIPELINES)
picks = st.integers(0, 2**20)
#: What runs take and what they are taken for, in ms: from nothing to an hour.
durations = st.sampled_from([0, 5, 1_000, 60_000, 3_600_000])


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


def chosen(ids: Iterable[str], pick: int) -> str:
    """One of the ids."""
    known = sorted(ids)
    return known[pick % len(known)]


class History(RuleBasedStateMachine):
    """What clients, operators and workers may do, in any order."""

    base: Settings

    def __init__(self) -> None:
        super().__init__()
        with make_cell(self.base).store.client as client:
            client.flushall()
        self.cell: Cell = make_model_cell(self.base)
        self.slots = 0
        self.limits: dict[str, dict[str, Any]] = {}
        self.caps: dict[str, int | None] = {}
        self.queued: dict[str, Place] = {}
        #: Those that wait for a time: their worker's machine was at fault.
        self.delayed: dict[str, Place] = {}
        self.hinted: dict[str, Place] = {}
        self.running: dict[str, Job] = {}
        #: How many others were dispatched since each tenant last could have been and was not.
        self.passed: Counter[str] = Counter()

    # -- what happens

    @initialize(slots=st.integers(1, 6), caps=st.lists(st.one_of(st.none(), st.integers(0, 2)), min_size=3, max_size=3))
    def begins(self, slots: int, caps: list[int | None]) -> None:
        self.workers_change(slots)
        for pipeline, cap in zip(PIPELINES, caps, strict=True):
            self.cap_changes(pipeline, cap)

    @rule(
        tenant=tenants,
        workspace=st.sampled_from("xy"),
        wanted=st.lists(pipelines, min_size=1, max_size=4),
        priority=st.integers(-50, 50),
    )
    def submit(self, tenant: str, workspace: str, wanted: list[str], priority: int) -> None:
        for pipeline in wanted:
            job = self.cell.submit(tenant_id=tenant, workspace_id=workspace, pipeline=pipeline, priority=priority)
            self.queued[job.job_id] = Place(tenant, pipeline)

    @rule(slots=st.integers(0, 6))
    def workers_change(self, slots: int) -> None:
        self.slots = slots
        self.cell.slots(slots)

    @rule(tenant=tenants, most=st.one_of(st.none(), st.integers(0, 3)), paused=st.booleans(), weight=st.sampled_from([0.5, 1, 4]))
    def limits_change(self, tenant: str, most: int | None, paused: bool, weight: float) -> None:
        self.limits[tenant] = {"max_concurrent": most, "paused": paused, "weight": weight}
        self.cell.store.set_limits(tenant, self.limits[tenant])

    @rule(pipeline=pipelines, cap=st.one_of(st.none(), st.integers(0, 2)))
    def cap_changes(self, pipeline: str, cap: int | None) -> None:
        self.caps[pipeline] = cap
        self.cell.store.set_pipeline_cap(pipeline, cap)

    @rule(tenant=tenants, pipeline=pipelines, ms=durations)
    def estimate_is_wrong(self, tenant: str, pipeline: str, ms: int) -> None:
        mistake(self.cell, tenant, pipeline, ms)

    # Whom a draw hits is looked up in what there is: a draw that depended on it would depend on real time, which moves the tenants' clocks.

    @rule(pick=picks)
    def claim(self, pick: int) -> None:
        if self.hinted:
            job_id = chosen(self.hinted, pick)
            del self.hinted[job_id]
            self.running[job_id] = self.cell.start(job_id)

    @rule(pick=picks, ms=durations)
    def worker_beats(self, pick: int, ms: int) -> None:
        """With one of its runs, which is charged for as long as it has lasted."""
        if self.running:
            run = self.running[chosen(self.running, pick)]
            pretend_it_took(self.cell, run.job_id, ms)
            self.cell.store.announce("w1", self.slots, [(run.job_id, run.fence)])

    @rule(pick=picks, ms=durations, how=st.sampled_from(["completed", "failed", "crash", "handback", "retry", "fault"]))
    def run_ends(self, pick: int, ms: int, how: str) -> None:
        if not self.running:
            return
        job_id = chosen(self.running, pick)
        run = self.running.pop(job_id)
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
        job_id = chosen(waiting, pick)
        self.queued.pop(job_id, None)
        self.delayed.pop(job_id, None)
        self.hinted.pop(job_id, None)
        self.cell.client.cancel(job_id)

    @rule()
    def hints_are_lost(self) -> None:
        for job_id in self.hinted:
            self.cell.store.client.zadd(self.cell.store.keys("hints"), {job_id: 1})
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
        for hint in map(json.loads, self.cell.hints()):
            # Real time passes too: one that was delayed may have come back by itself.
            place = (self.queued if hint["id"] in self.queued else self.delayed).pop(hint["id"])
            tenant = place.tenant
            limits = self.limits.get(tenant, {})
            assert not limits.get("paused"), f"{tenant} is paused and was started"
            self.hinted[hint["id"]] = place
            cap = self.caps.get(place.pipeline)
            assert cap is None or self.slots_of_pipeline(place.pipeline) <= cap, f"{place.pipeline} has more than {cap} slots"
            most = limits.get("max_concurrent")
            assert most is None or self.slots_of(tenant) <= most, f"{tenant} has more than {most} slots"
            for other in TENANTS:
                self.passed[other] = 0 if other == tenant or not self.could_start(other) else self.passed[other] + 1
        self.cell.store.client.delete("jobs")

    @invariant()
    def no_slot_idles_while_anybody_is_eligible(self) -> None:
        free = self.slots - len(self.hinted) - len(self.running)
        eligible = [tenant for tenant in TENANTS if self.could_start(tenant)]
        assert free <= 0 or not eligible, f"{free} slots idle while {eligible} could start"

    @invariant()
    def nobody_starves(self) -> None:
        # Weights differ by 8 at most: who could start is passed over a bounded number of times.
        assert max(self.passed.values(), default=0) <= 64, self.passed

    @invariant()
    def no_count_drifts(self) -> None:
        assert differences(self.cell.store) == []

    def slots_of(self, tenant: str) -> int:
        return sum(one.tenant == tenant for one in self.hinted.values()) + sum(job.tenant_id == tenant for job in self.running.values())

    def slots_of_pipeline(self, pipeline: str) -> int:
        return [one.pipeline for one in (*self.hinted.values(), *self.running.values())].count(pipeline)

    def could_start(self, tenant: str) -> bool:
        limits = self.limits.get(tenant, {})
        most = limits.get("max_concurrent")
        waits = {place.pipeline for place in self.queued.values() if place.tenant == tenant}
        return (
            any(self.has_room(pipeline) for pipeline in waits)
            and not limits.get("paused")
            and (most is None or self.slots_of(tenant) < most)
        )

    def has_room(self, pipeline: str) -> bool:
        cap = self.caps.get(pipeline)
        return cap is None or self.slots_of_pipeline(pipeline) < cap

    def teardown(self) -> None:
        self.cell.store.client.close()


def test_random_histories_keep_the_promises(cell: Settings) -> None:
    class Bound(History):
        base = cell.model_copy(update={"max_concurrent_jobs": 100, "announce_seconds": 1000.0, "max_crashes": 1000})

    # Thousands of steps: 80 histories of up to 50.
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=80, stateful_step_count=50, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_a_newcomer_is_behind_by_a_few_seconds_of_each_slot_however_wrong_the_estimates(cell: Settings) -> None:
    """Two equal tenants with enough to do: what the first has used more, once the second is there, is bounded."""
    base = cell.model_copy(update={"max_concurrent_jobs": 100, "announce_seconds": 1000.0})

    @settings(max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
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
