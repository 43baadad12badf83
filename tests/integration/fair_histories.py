"""The histories of `test_fairness_model.py`: what may happen to a cell, and what must hold after each event.

The model does not repeat the rule's arithmetic. It knows who could be served (`shares.py`) and checks what may be seen from outside after
every step; and that the histories came to what they are to try (`sights.py`).
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from examples.demo_pipelines import SLEEP
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from tests.integration.clock import step_clock
from tests.integration.conftest import Cell, make_cell
from tests.integration.newcomers import Newcomers
from tests.integration.recount import differences
from tests.integration.shares import HOUR, LAST_SLOT, START_RATE, Place, Shares
from tests.integration.sights import Event, Events

TENANTS = ("a", "b", "c", "d")
WORKERS = ("w1", "w2")
#: Each may get a cap; the histories mix them in every workspace.
PIPELINES = ("sleep", "nap", "doze")
tenants = st.sampled_from(TENANTS)
workers = st.sampled_from(WORKERS)
pipelines = st.sampled_from(PIPELINES)
several = st.lists(pipelines, min_size=1, max_size=6)
# Mostly there is room, or nothing would happen to whoever has to wait for others.
caps = st.sampled_from([None, None, None, None, 0, 1, 2])
picks = st.integers(0, 2**20)
#: What runs take and what they are taken for, in ms: from nothing to an hour.
durations = st.sampled_from([0, 5, 1_000, 60_000, 3_600_000])
#: By how much the server's clock is set, in seconds.
steps = st.sampled_from([-13 * HOUR, -HOUR, -90, 90, HOUR, 2 * HOUR])
#: How a run leaves its slot.
ends = st.sampled_from(["completed", "completed", "failed", "crash", "handback", "retry", "fault"])


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


class History(Shares, RuleBasedStateMachine):
    """What clients, operators and workers may do, in any order."""

    base: Settings
    #: What each history came to.
    seen_of: ClassVar[list[Counter[str]]]
    events = Events()

    def __init__(self) -> None:
        Shares.__init__(self, self.base.max_concurrent_jobs)
        RuleBasedStateMachine.__init__(self)
        with make_cell(self.base).store.client as client:
            client.flushall()
        self.cell: Cell = make_model_cell(self.base)
        #: All jobs, in the order of their submits.
        self.numbers: dict[str, int] = {}
        #: Queued jobs that were lost with their worker: the next to start. Those that might not start meanwhile may have lost that claim.
        self.lost: dict[str, Place] = {}
        self.once_lost: set[str] = set()
        #: What runs of a tenant and a pipeline are taken to last, in ms.
        self.estimates: dict[Place, int] = {}
        self.newcomers = Newcomers()
        #: How many others were dispatched since each tenant last could have been and was not.
        self.passed: Counter[str] = Counter()
        self.sights: Counter[str] = Counter()

    # -- what happens

    @initialize(
        slots=st.lists(st.sampled_from([1, 2, 3, 4]), min_size=2, max_size=2),
        of_pipelines=st.lists(caps, min_size=3, max_size=3),
        few=st.integers(1, 4),
        wanted=several,
    )
    def begins(self, slots: list[int], of_pipelines: list[int | None], few: int, wanted: list[str]) -> None:
        """With something to do for whatever comes."""
        self.cell.store.rescue()  # The first one only learns which server it is.
        for worker, n in zip(WORKERS, slots, strict=True):
            self.worker_beats(worker, n)
        for pipeline, cap in zip(PIPELINES, of_pipelines, strict=True):
            self.cap_changes(pipeline, cap)
        for tenant in TENANTS[:few]:
            self.submit(tenant, "x", wanted, 0)
        self.claims(few, 0)

    @rule(event=events.any())
    def something_happens(self, event: Event) -> None:
        getattr(self, event.name)(**event.given)

    def look(self) -> None:
        """Where an event is several scripts: what each one started is seen before the next one."""
        self.dispatched_jobs_are_seen_and_fair_in_order()

    def saw(self, what: str, is_so: object = True) -> None:
        self.sights[what] += bool(is_so)

    @events.add(4, tenant=tenants, workspace=st.sampled_from("xy"), wanted=several, priority=st.integers(-50, 50))
    def submit(self, tenant: str, workspace: str, wanted: list[str], priority: int) -> None:
        for pipeline in wanted:
            job = self.cell.submit(tenant_id=tenant, workspace_id=workspace, pipeline=pipeline, priority=priority)
            self.queued[job.job_id] = Place(tenant, pipeline)
            self.numbers[job.job_id] = len(self.numbers)
            self.look()

    @events.add(2, wanted=several)
    def newcomer(self, wanted: list[str]) -> None:
        known = {*self.newcomers.served, *(place.tenant for place in self.queued.values())}
        self.saw("a newcomer, and no slot is free", self.free() <= 0 < sum(self.slots.values()))
        self.submit(next(f"new{i}" for i in range(1000) if f"new{i}" not in known), "x", wanted, 0)

    @events.add(2, worker=workers, slots=st.integers(0, 4))
    def worker_beats(self, worker: str, slots: int) -> None:
        """A new one, one that changes its slots, or one that was only slow."""
        self.saw("more slots, and jobs wait", self.queued and slots > self.slots.get(worker, 0))
        self.slots[worker] = slots
        self.cell.slots(slots, worker)
        self.look()

    @events.add(2, worker=workers, is_rescued=st.booleans())
    def worker_falls_silent(self, worker: str, is_rescued: bool) -> None:
        if self.slots.pop(worker, None) is not None:
            self.cell.store.client.zadd(self.cell.store.keys("workers"), {worker: 1})
            self.cell.store.rescue()
            # What was dispatched now was so before anything was lost.
            self.look()
        if is_rescued:
            self.leases_of_dead_workers_end()

    @events.add(2)
    def leases_of_dead_workers_end(self) -> None:
        dead = {job_id: run for job_id, run in self.running.items() if run.worker not in self.slots}
        self.saw("runs are lost with their worker", dead)
        for job_id, run in dead.items():
            self.cell.store.client.zadd(self.cell.store.keys("leases"), {job_id: 1})
            del self.running[job_id]
            self.queued[job_id] = self.lost[job_id] = Place(run.tenant_id, run.pipeline)
            self.once_lost.add(job_id)
            self.newcomers.refunded.add(run.tenant_id)
        self.cell.store.rescue()

    @events.add(1, most=st.sampled_from([100, 100, 6, 4, 1]))
    def installations_cap_changes(self, most: int) -> None:
        self.most = most
        self.cell.store.set_max_concurrent_jobs(most)

    @events.add(
        3,
        tenant=tenants,
        most=st.sampled_from([None, None, None, 0, 1, 3]),
        paused=st.sampled_from([False, False, False, True]),
        weight=st.sampled_from([0.5, 1, 4]),
        rate=st.sampled_from([None, None, None, START_RATE]),
    )
    def limits_change(self, tenant: str, most: int | None, paused: bool, weight: float, rate: float | None) -> None:
        self.limits[tenant] = {"max_concurrent": most, "paused": paused, "weight": weight, "start_rate": rate}
        self.cell.store.set_limits(tenant, self.limits[tenant])

    @events.add(3, pipeline=pipelines, cap=caps)
    def cap_changes(self, pipeline: str, cap: int | None) -> None:
        self.caps[pipeline] = cap
        self.cell.store.set_pipeline_cap(pipeline, cap)

    @events.add(4, pick=picks, ms=durations)
    def estimate_is_wrong(self, pick: int, ms: int) -> None:
        """Of the runs of somebody who has a job."""
        there = {**self.queued, **self.hinted}
        if there:
            place = there[self.chosen(there, pick)]
            self.estimates[place] = ms
            mistake(self.cell, place.tenant, place.pipeline, ms)

    @events.add(2, seconds=steps)
    def clock_is_set(self, seconds: int) -> None:
        self.saw("the clock is set back, and jobs wait" if seconds < 0 else "the clock is set forward, and jobs wait", self.queued)
        self.clock += seconds
        # Of what was before nothing is sure once it is set back: the store remembers two tenants, and those of a time to come may be them.
        self.began = {} if seconds < 0 else self.began
        step_clock(self.cell.store, 1000 * seconds)
        self.cell.store.rescue()

    # Whom a draw hits is looked up in what there is: a draw that depended on it would depend on real time, which moves the tenants' clocks.

    @events.add(9, few=st.integers(1, 6), pick=picks)
    def claims(self, few: int, pick: int) -> None:
        for n in range(min(few, len(self.hinted)) if self.slots else 0):
            job_id = self.chosen(self.hinted, pick)
            del self.hinted[job_id]
            living = sorted(self.slots)
            self.running[job_id] = self.cell.start(job_id, living[(pick + n) % len(living)])
            self.saw("start")

    @events.add(2, pick=picks, ms=durations)
    def runs_lease_is_renewed(self, pick: int, ms: int) -> None:
        """It is charged for as long as it has lasted."""
        living = [job_id for job_id, run in self.running.items() if run.worker in self.slots]
        if living:
            run = self.running[self.chosen(living, pick)]
            pretend_it_took(self.cell, run.job_id, ms)
            self.seen[run.tenant_id] = self.clock
            self.cell.store.announce(str(run.worker), self.slots[str(run.worker)], [(run.job_id, run.fence)])

    @events.add(12, few=st.integers(1, 3), pick=picks, ms=durations, how=ends)
    def runs_end(self, few: int, pick: int, ms: int, how: str) -> None:
        for _ in range(min(few, len(self.running))):
            self.run_ends(self.chosen(self.running, pick), ms, how)
            self.look()

    def run_ends(self, job_id: str, ms: int, how: str) -> None:
        run = self.running.pop(job_id)
        place = Place(run.tenant_id, run.pipeline)
        self.newcomers.refunded.discard(run.tenant_id)
        pretend_it_took(self.cell, job_id, ms)
        self.saw(how)
        self.saw("a run takes a hundredth or a hundred times what it was taken for", self.is_far_off(place, ms))
        if how == "completed":
            self.estimates.pop(place, None)  # It learns from this.
        self.saw("a slot is free again, and two tenants wait", len(self.who_waits()[0]) > 1)
        if how in ("completed", "failed"):
            self.cell.store.finish(job_id, run.fence, JobStatus(how), result={}, error="x")
        elif self.cell.store.requeue(job_id, run.fence, how) is JobStatus.QUEUED:
            (self.delayed if how == "fault" else self.queued)[job_id] = place

    def is_far_off(self, place: Place, ms: int) -> bool:
        taken_for = self.estimates.get(place)
        return taken_for is not None and (ms * 100 <= taken_for > 0 or 0 < taken_for * 100 <= ms)

    @events.add(3)
    def time_passes(self) -> None:
        for job_id in self.delayed:
            self.cell.store.client.zadd(self.cell.store.keys("delayed"), {job_id: 1}, xx=True)
        self.saw("jobs come back from their delay", self.delayed)
        self.queued.update(self.delayed)
        self.delayed.clear()
        self.cell.store.rescue()

    @events.add(3, pick=picks, dispatched=st.booleans())
    def cancel(self, pick: int, dispatched: bool) -> None:
        waiting = dict(self.hinted) if dispatched else {**self.queued, **self.delayed}
        if not waiting:
            return
        self.saw("a dispatch is cancelled" if dispatched else "a job that waits is cancelled")
        self.is_cancelled(self.chosen(waiting, pick))

    def is_cancelled(self, job_id: str) -> None:
        for those in (self.queued, self.delayed, self.hinted, self.lost):
            those.pop(job_id, None)
        self.cell.client.cancel(job_id)

    @events.add(2, tenant=tenants)
    def all_others_leave_and_it_floods(self, tenant: str) -> None:
        def others(of: dict[str, Place]) -> list[str]:
            return [job_id for job_id, place in of.items() if place.tenant != tenant]

        while left := others({**self.queued, **self.delayed, **self.hinted}):
            self.is_cancelled(left[0])
            self.look()
        for run in [run for run in self.running.values() if run.tenant_id != tenant]:
            del self.running[run.job_id]
            self.newcomers.refunded.discard(run.tenant_id)
            self.cell.store.finish(run.job_id, run.fence, JobStatus.FAILED, error="x")
            self.look()
        self.submit(tenant, "x", [*PIPELINES] * 4, 0)

    @events.add(2)
    def hints_are_lost(self) -> None:
        self.saw("hints are lost", self.hinted)
        for job_id in self.hinted:
            self.cell.store.client.zadd(self.cell.store.keys("hints"), {job_id: 1})
            self.hint_was_lost(self.hinted[job_id])
        self.newcomers.refunded |= {place.tenant for place in self.hinted.values()}
        self.queued.update(self.hinted)
        # One that had crashed before goes before all others.
        for job_id in self.hinted:
            if self.cell.store.client.hexists(self.cell.store.keys("job", job_id), "hint_soon"):
                self.lost[job_id] = self.hinted[job_id]
                self.once_lost.add(job_id)
        self.hinted.clear()
        self.cell.store.rescue()

    @events.add()
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
            self.was_started(hint["id"])
        self.cell.store.client.delete("jobs")
        self.hints_hold()
        self.lost = {job_id: place for job_id, place in self.lost.items() if self.could_start(place)}
        self.newcomers.have_gone(*self.who_waits())

    def hints_hold(self) -> None:
        """That of a job which has just lost its run is valid for a second, which is over before the next event on a busy machine."""
        until = (time.time() + self.base.hint_seconds) * 1000
        if self.hinted:
            self.cell.store.client.zadd(self.cell.store.keys("hints"), dict.fromkeys(self.hinted, until), xx=True)

    def was_started(self, job_id: str) -> None:
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
        self.was_dispatched(job_id, place)

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

    @invariant()
    def what_there_is_is_counted(self) -> None:
        tenants, may = {place.tenant for place in self.queued.values()}, self.who_waits()[0]
        self.saw("two tenants wait for a slot", len(may) > 1 and self.free() <= 0 < sum(self.slots.values()))
        self.saw("a paused tenant's job waits", any(self.limits.get(tenant, {}).get("paused") for tenant in tenants))
        self.saw("a job waits for a limit of its tenant", any(map(self.limit_of, tenants)))
        self.saw(
            "a job waits for a full pipeline",
            any(self.caps.get(place.pipeline) and self.is_full(place.pipeline) for place in self.queued.values()),
        )
        self.saw("the last slot is kept", self.free() == 1 and any(self.held_back(place) == LAST_SLOT for place in self.queued.values()))

    def chosen(self, ids: Iterable[str], pick: int) -> str:
        """One of these jobs: the same whenever the history is repeated (the ids are others)."""
        known = sorted(ids, key=self.numbers.__getitem__)
        return known[pick % len(known)]

    def teardown(self) -> None:
        self.cell.store.close()
        self.seen_of.append(self.sights)
