"""The histories of `test_pools_model.py`: what may happen to a cell with two pools, and what must hold in each of them after every script.

As in `fair_histories.py` the model knows who could be served and repeats no arithmetic. A job goes from pool to pool as often as a run of
it ends with a hop, and waits for parts as often as one ends with a split.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from examples.demo_pipelines import SLEEP
from pipeline_jobs.job import Job
from pipeline_jobs.pipelines import Stage
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.keys import Keys
from tests.integration.conftest import Cell, make_cell
from tests.integration.in_parts import InParts, PoolShares
from tests.integration.recount import differences
from tests.integration.shares import START_RATE, Place
from tests.integration.sights import Event, Events

TENANTS = ("a", "b", "c")
POOLS = ("", "gpu")
#: Two workers of each pool.
WORKERS = {"": ("c1", "c2"), "gpu": ("g1", "g2")}
#: Where the jobs of each pipeline start; those of `trip` go from one to the other.
PIPELINES = {"sleep": "", "nap": "gpu", "trip": ""}
tenants = st.sampled_from(TENANTS)
pools = st.sampled_from(POOLS)
several = st.lists(st.sampled_from(sorted(PIPELINES)), min_size=1, max_size=6)
caps = st.sampled_from([None, None, None, None, 0, 1, 2])
picks = st.integers(0, 2**20)
durations = st.sampled_from([0, 5, 1_000, 60_000, 3_600_000])
#: How a run leaves its slot; `hop` is for trips, which others make as well (the store does not know what a pipeline is). A part completes
#: where a job would go on.
ends = st.sampled_from(["hop", "hop", "split", "split", "completed", "failed", "crash", "handback", "retry", "fault"])


def make_pools_cell(base: Settings) -> Cell:
    """A cell with pipelines of two pools."""
    cell = make_cell(base)
    gpu = Stage("hear", SLEEP.stages[0].run, pool="gpu")
    cell.client.registry.register(replace(SLEEP, name="nap", stages=(gpu,)))
    cell.client.registry.register(replace(SLEEP, name="trip", stages=(*SLEEP.stages, gpu)))
    return cell


class PoolHistory(InParts):
    """What clients, operators and workers of two pools may do, in any order."""

    base: Settings
    seen_of: ClassVar[list[Counter[str]]]
    events = Events()

    def __init__(self) -> None:
        super().__init__()
        with make_cell(self.base).store.client as client:
            client.flushall()
        self.cell = make_pools_cell(self.base)
        self.of.update({pool: PoolShares(self.base.max_concurrent_jobs if not pool else 10**6, self.of) for pool in POOLS})
        for one in self.of.values():
            # Limits and starts count in all pools.
            one.limits, one.caps, one.tokens = self.of[""].limits, self.of[""].caps, self.of[""].tokens
        self.once_lost: set[str] = set()

    def keys(self, pool: str) -> Keys:
        return Keys(self.cell.store.keys.prefix, pool)

    # -- what happens

    @initialize(slots=st.lists(st.integers(1, 3), min_size=4, max_size=4), few=st.integers(1, 3), wanted=several)
    def begins(self, slots: list[int], few: int, wanted: list[str]) -> None:
        self.cell.store.rescue()
        for number, (pool, worker) in enumerate((pool, worker) for pool in POOLS for worker in (0, 1)):
            self.worker_beats(pool, worker, slots[number])
        for tenant in TENANTS[:few]:
            self.submit(tenant, "x", wanted, 0)

    @events.add(4, tenant=tenants, workspace=st.sampled_from("xy"), wanted=several, priority=st.integers(-50, 50))
    def submit(self, tenant: str, workspace: str, wanted: list[str], priority: int) -> None:
        for pipeline in wanted:
            job = self.cell.submit(tenant_id=tenant, workspace_id=workspace, pipeline=pipeline, priority=priority)
            self.of[PIPELINES[pipeline]].queued[job.job_id] = Place(tenant, pipeline)
            self.numbers[job.job_id] = len(self.numbers)
            self.look()

    @events.add(2, pool=pools, worker=st.integers(0, 1), slots=st.integers(0, 4))
    def worker_beats(self, pool: str, worker: int, slots: int) -> None:
        name = WORKERS[pool][worker]
        self.of[pool].slots[name] = slots
        self.cell.store.announce(name, slots, [], pool=pool)
        self.look()

    @events.add(2, pool=pools, worker=st.integers(0, 1), is_rescued=st.booleans())
    def worker_falls_silent(self, pool: str, worker: int, is_rescued: bool) -> None:
        name, one = WORKERS[pool][worker], self.of[pool]
        if one.slots.pop(name, None) is not None:
            self.cell.store.client.zadd(self.keys(pool)("workers"), {name: 1})
            self.cell.store.rescue()
            # A beat of any pool looks at all of them; nobody's is pruned before.
            self.look()
        if is_rescued:
            dead = {job_id: run for job_id, run in one.running.items() if run.worker not in one.slots}
            self.saw("runs are lost with their worker", dead)
            for job_id, run in dead.items():
                self.cell.store.client.zadd(self.keys(pool)("leases"), {job_id: 1})
                del one.running[job_id]
                one.newcomers.refunded.add(run.tenant_id)
                if job_id in self.stopping:
                    self.stopping.remove(job_id)
                    continue
                self.saw("a part is lost with its worker", run.part_of)
                one.queued[job_id] = one.lost[job_id] = Place(run.tenant_id, run.pipeline)
                self.once_lost.add(job_id)
            self.cell.store.rescue()
            self.look()

    @events.add(1, pool=pools, most=st.sampled_from([100, 100, 6, 4, 1]))
    def cap_of_a_pool_changes(self, pool: str, most: int) -> None:
        self.of[pool].most = most
        self.cell.store.set_max_concurrent_jobs(most, pool)
        self.look()

    @events.add(
        3, tenant=tenants, most=st.sampled_from([None, None, 0, 1, 2, 3]), paused=st.sampled_from([False, False, False, True]),
        weight=st.sampled_from([0.5, 1, 4]), rate=st.sampled_from([None, None, None, START_RATE]),
    )  # fmt: skip
    def limits_change(self, tenant: str, most: int | None, paused: bool, weight: float, rate: float | None) -> None:
        self.of[""].limits[tenant] = {"max_concurrent": most, "paused": paused, "weight": weight, "start_rate": rate}
        self.cell.store.set_limits(tenant, self.of[""].limits[tenant])
        self.look()

    @events.add(2, pipeline=st.sampled_from(sorted(PIPELINES)), cap=caps)
    def cap_of_a_pipeline_changes(self, pipeline: str, cap: int | None) -> None:
        self.of[""].caps[pipeline] = cap
        self.cell.store.set_pipeline_cap(pipeline, cap)
        self.look()

    @events.add(10, pool=pools, few=st.integers(1, 6), pick=picks)
    def claims(self, pool: str, few: int, pick: int) -> None:
        one = self.of[pool]
        for n in range(min(few, len(one.hinted)) if one.slots else 0):
            self.is_claimed(pool, self.chosen(one.hinted, pick), pick + n)

    @events.add(12, pool=pools, few=st.integers(1, 3), pick=picks, ms=durations, how=ends)
    def runs_end(self, pool: str, few: int, pick: int, ms: int, how: str) -> None:
        for _ in range(min(few, len(self.of[pool].running))):
            self.run_leaves(pool, self.chosen(self.of[pool].running, pick), pick, ms, how)

    @events.add(6, pick=picks, ms=durations, how=st.one_of(ends, st.just("lost")))
    def a_job_runs_in_parts(self, pick: int, ms: int, how: str) -> None:
        """From its split on, as far as there are slots; one of its parts leaves its slot in another way."""
        pools_of = {job_id: pool for pool, one in self.of.items() for job_id, run in one.running.items() if not run.part_of}
        if not pools_of:
            return
        job_id = self.chosen(pools_of, pick)
        self.run_leaves(pools_of[job_id], job_id, pick, ms, "split")
        split, n = self.splits[job_id], 0
        while split is self.splits.get(job_id) and (part := self.hinted_of(split)):
            self.is_claimed(split.pool, part, pick)
            if how == "lost" and n == pick % 3:
                self.worker_dies_with(split.pool, part)
            else:
                self.run_leaves(split.pool, part, pick, ms, how if n == pick % 7 and how != "lost" else "completed")
            n += 1
        if job_id in self.of[split.following].hinted and self.of[split.following].slots:
            self.is_claimed(split.following, job_id, pick)

    def run_ends(self, pool: str, run: Job, how: str) -> None:
        one, store, job_id = self.of[pool], self.cell.store, run.job_id
        place = Place(run.tenant_id, run.pipeline)
        if how in ("hop", "completed", "failed"):
            self.splits.pop(job_id, None)
        if how == "hop":
            other = "gpu" if not pool else ""
            self.saw("a hop, and no slot is free where it goes", self.of[other].free() <= 0)
            assert store.advance(job_id, run.fence, other, "next", stage=other) is JobStatus.QUEUED
            self.of[other].queued[job_id] = place
        elif how in ("completed", "failed"):
            store.finish(job_id, run.fence, JobStatus(how), result={}, error="x")
        elif store.requeue(job_id, run.fence, how) is JobStatus.QUEUED:
            assert job_id not in self.stopping
            (one.delayed if how == "fault" else one.queued)[job_id] = place
        else:
            self.stopping.remove(job_id)

    def worker_dies_with(self, pool: str, job_id: str) -> None:
        """And another one comes."""
        worker = WORKERS[pool].index(self.of[pool].running[job_id].worker or "")
        self.worker_falls_silent(pool, worker, True)
        self.worker_beats(pool, worker, 2)

    @events.add(3)
    def time_passes(self) -> None:
        for one in self.of.values():
            for job_id in one.delayed:
                self.cell.store.client.zadd(self.cell.store.keys("delayed"), {job_id: 1}, xx=True)
            one.queued.update(one.delayed)
            one.delayed.clear()
        self.cell.store.rescue()
        self.look()

    @events.add(4, pool=pools, pick=picks, dispatched=st.booleans())
    def cancel(self, pool: str, pick: int, dispatched: bool) -> None:
        one = self.of[pool]
        waiting = dict(one.hinted) if dispatched else {**one.queued, **one.delayed}
        if waiting:
            job_id = self.chosen(waiting, pick)
            for those in (one.queued, one.delayed, one.hinted, one.lost):
                those.pop(job_id, None)
            self.saw("a dispatch is cancelled" if dispatched else "a job that waits is cancelled")
            self.saw("a job is cancelled while its parts run or wait", job_id in self.parts)
            # Who means a part means its job.
            self.cell.client.cancel(job_id)
            self.job_is_over(self.parts[job_id].job_id if job_id in self.parts else job_id)
            self.look()

    @events.add(2, pool=pools)
    def hints_are_lost(self, pool: str) -> None:
        one = self.of[pool]
        self.saw("hints are lost", one.hinted)
        for job_id, place in one.hinted.items():
            self.cell.store.client.zadd(self.keys(pool)("hints"), {job_id: 1})
            one.hint_was_lost(place)
            one.newcomers.refunded.add(place.tenant)
            one.queued[job_id] = place
            if self.cell.store.client.hexists(self.cell.store.keys("job", job_id), "hint_soon"):
                one.lost[job_id] = place
                self.once_lost.add(job_id)
        one.hinted.clear()
        self.cell.store.rescue()
        self.look()

    @events.add(1)
    def a_recount_finds_nothing(self) -> None:
        assert self.cell.store.recount() == 0
        more = True
        while more:
            page = self.cell.store.reconcile(limit=7)
            assert (page.jobs, page.counters) == (0, 0)
            more = page.more
        self.look()

    @events.add(2, pool=pools, pick=picks)
    def it_says_why(self, pool: str, pick: int) -> None:
        one = self.of[pool]
        if one.queued:
            job_id = self.chosen(one.queued, pick)
            reason = self.cell.client.describe(job_id).reason
            nobody = "no_worker_for_pool" if pool else "no_worker"
            assert (reason == nobody) is (one.held_back(one.queued[job_id]) is None and not min(sum(one.slots.values()), one.most)), reason

    @rule(event=events.any())
    def something_happens(self, event: Event) -> None:
        getattr(self, event.name)(**event.given)

    # -- what must hold after each

    def look(self) -> None:
        """Called after each script: what it started is seen, in the order in which it did."""
        self.each(lambda one: one.newcomers.look(*one.who_waits(), sum(one.slots.values())))
        for pool, one in self.of.items():
            queue = f"jobs.{pool}" if pool else "jobs"
            for hint in reversed(self.cell.store.client.lrange(queue, 0, -1)):
                self.was_started(one, json.loads(hint)["id"])
            self.cell.store.client.delete(queue)
            until = (time.time() + self.base.hint_seconds) * 1000
            if one.hinted:
                self.cell.store.client.zadd(self.keys(pool)("hints"), dict.fromkeys(one.hinted, until), xx=True)
        for one in self.of.values():
            one.lost = {job_id: place for job_id, place in one.lost.items() if one.could_start(place)}
        self.each(lambda one: one.newcomers.have_gone(*one.who_waits()))

    def each(self, look: Callable[[PoolShares], None]) -> None:
        for one in self.of.values():
            look(one)

    def was_started(self, one: PoolShares, job_id: str) -> None:
        place = (one.queued if job_id in one.queued else one.delayed).pop(job_id)
        assert (why := one.held_back(place)) is None, f"{place} was started: {why}"
        one.lost.pop(job_id, None)
        if job_id in self.once_lost:
            self.once_lost.remove(job_id)
        else:
            assert not [lost for lost in one.lost.values() if one.could_start(lost)], f"{place} went before lost jobs"
            could = {other.tenant for other in one.queued.values() if one.could_start(other)} - {place.tenant}
            costs = place.tenant not in one.newcomers.refunded
            one.passed = Counter({tenant: one.passed[tenant] + costs for tenant in could})
            one.newcomers.were_passed(place.tenant, could)
        one.newcomers.was_served(place.tenant)
        one.was_dispatched(job_id, place)

    @invariant()
    def no_slot_of_a_pool_idles_while_anybody_waits_for_it(self) -> None:
        for pool, one in self.of.items():
            free, eligible = one.free(), {place for place in one.queued.values() if one.could_start(place)}
            assert free <= 0 or not eligible, f"{free} slots of {pool or 'default'} idle while {eligible} could start"
            self.saw("somebody waits while slots of the other pool are idle", eligible and any(o.free() > 0 for o in self.of.values()))

    @invariant()
    def newcomers_are_among_the_next_starts_and_nobody_starves(self) -> None:
        for one in self.of.values():
            one.newcomers.were_next()
            assert max(one.passed.values(), default=0) <= 64, one.passed

    @invariant()
    def no_count_drifts_and_nothing_is_left_of_parts(self) -> None:
        assert differences(self.cell.store) == []
        if self.cell.store.exists("ended_splits"):
            # Who splits again leaves to a duty what was before.
            self.cell.store.settle()
            self.look()
            assert not self.cell.store.exists("ended_splits")

    @invariant()
    def what_there_is_is_counted(self) -> None:
        busy = [
            {place.tenant for place in one.hinted.values()} | {run.tenant_id for run in one.running.values()} for one in self.of.values()
        ]
        held = {tenant for one in self.of.values() for tenant in {place.tenant for place in one.queued.values()} if one.limit_of(tenant)}
        self.saw("a tenant has slots in both pools", busy[0] & busy[1])
        self.saw("a job waits for a limit of its tenant", held)

    def teardown(self) -> None:
        self.cell.store.close()
        self.seen_of.append(self.sights)
