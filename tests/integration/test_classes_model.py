"""Random histories of a fleet of several classes: no hint to who cannot run it, no slot idle beside a job for it, nobody starves, the last
slot of a pipeline is for others.

The model knows what each worker knows and which slots it has, and checks what may be seen from outside after every step.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from examples.demo_pipelines import SLEEP
from pipeline_jobs.job import Job
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.pipelines import WorkerClass
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused
from tests.integration.conftest import Cell, make_cell
from tests.integration.drawn import run_machine
from tests.integration.recount import differences

PIPELINES = ("sleep", "nap", "doze")
TENANTS = ("a", "b", "c")
#: Each worker of the model always knows the same.
KNOWS = {"w1": {"sleep"}, "w2": {"nap"}, "w3": {"sleep", "nap"}, "w4": {"sleep", "nap"}, "w5": {"sleep", "doze"}}
KINDS = {worker: WorkerClass.of(known) for worker, known in KNOWS.items()}
CAP = 12
workers = st.sampled_from(sorted(KNOWS))
picks = st.integers(0, 2**20)


class Place(NamedTuple):
    """Whose slot a job takes."""

    tenant: str
    pipeline: str


class Fleet(RuleBasedStateMachine):
    """Workers that come, change and go; jobs of three pipelines."""

    base: Settings

    def __init__(self) -> None:
        super().__init__()
        with make_cell(self.base).store.client as client:
            client.flushall()
        self.cell: Cell = make_cell(self.base)
        for name in PIPELINES[1:]:
            self.cell.client.registry.register(replace(SLEEP, name=name))
        #: Slots of the live workers.
        self.slots: dict[str, int] = {}
        self.caps: dict[str, int | None] = {}
        self.queued: dict[str, Place] = {}
        #: With the queue in which the hint lies.
        self.hinted: dict[str, tuple[Place, str]] = {}
        self.running: dict[str, Job] = {}
        #: How many others were dispatched since each tenant last could have been and was not, by a slot that could have been its own.
        self.passed: Counter[str] = Counter()
        #: Who had a job; a history takes no hour.
        self.seen: set[str] = set()

    # -- what happens

    @initialize(slots=st.integers(1, 3))
    def begins(self, slots: int) -> None:
        self.worker_announces("w1", slots)

    @rule(worker=workers, slots=st.integers(0, 4))
    def worker_announces(self, worker: str, slots: int) -> None:
        self.slots[worker] = slots
        self.cell.store.announce(worker, slots, [], kind=KINDS[worker])

    @rule(worker=workers)
    def worker_leaves(self, worker: str) -> None:
        """Its runs go on: it is told to stop, or it fell silent."""
        if self.slots.pop(worker, None) is not None:
            self.cell.store.announce(worker, 0, [], kind=KINDS[worker], leaving=True)

    @rule(
        tenant=st.sampled_from(TENANTS),
        workspace=st.sampled_from("xy"),
        wanted=st.lists(st.sampled_from(PIPELINES), min_size=1, max_size=5),
    )
    def submit(self, tenant: str, workspace: str, wanted: list[str]) -> None:
        for pipeline in wanted:
            job = self.cell.submit(tenant_id=tenant, workspace_id=workspace, pipeline=pipeline)
            self.queued[job.job_id] = Place(tenant, pipeline)

    @rule(pipeline=st.sampled_from(PIPELINES), cap=st.one_of(st.none(), st.integers(0, 3)))
    def cap_changes(self, pipeline: str, cap: int | None) -> None:
        self.caps[pipeline] = cap
        self.cell.store.set_pipeline_cap(pipeline, cap)

    @rule(pick=picks, worker=workers)
    def worker_takes_a_hint(self, pick: int, worker: str) -> None:
        """Of the queues that it consumes; also one that is gone for the store, or has no slot free."""
        mine = sorted(job_id for job_id, (_, queue) in self.hinted.items() if queue in ("jobs", f"jobs.{KINDS[worker].name}"))
        if not mine:
            return
        job_id = mine[pick % len(mine)]
        place, _ = self.hinted.pop(job_id)
        fence = self.cell.client.get(job_id).fence
        claimed = self.cell.store.claim(job_id, fence, worker=worker, run="r", pipelines=dict.fromkeys(KNOWS[worker]))
        if place.pipeline in KNOWS[worker]:
            assert isinstance(claimed, Job), claimed
            self.running[job_id] = claimed
        else:
            assert claimed == ClaimRefused("pipeline")
            self.queued[job_id] = place
        # Who took it may be gone, or of another class than whose slot was meant: a slot that is free by that is used at the next beat.
        for live in sorted(self.slots)[:1]:
            self.worker_announces(live, self.slots[live])

    @rule(pick=picks, how=st.sampled_from(["completed", "failed", "crash", "handback"]))
    def run_ends(self, pick: int, how: str) -> None:
        if not self.running:
            return
        run = self.running.pop(sorted(self.running)[pick % len(self.running)])
        if how in ("completed", "failed"):
            self.cell.store.finish(run.job_id, run.fence, JobStatus(how), result={}, error="x")
        elif self.cell.store.requeue(run.job_id, run.fence, how) is JobStatus.QUEUED:
            self.queued[run.job_id] = Place(run.tenant_id, run.pipeline)

    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        waiting = sorted({*self.queued, *self.hinted})
        if waiting:
            job_id = waiting[pick % len(waiting)]
            self.queued.pop(job_id, None)
            self.hinted.pop(job_id, None)
            self.cell.client.cancel(job_id)

    @rule()
    def hints_are_lost(self) -> None:
        for job_id, (place, _) in self.hinted.items():
            self.cell.store.client.zadd(self.cell.store.keys("hints"), {job_id: 1})
            self.queued[job_id] = place
        self.hinted.clear()
        self.cell.store.rescue()

    # -- what must hold after each

    @invariant()
    def a_hint_goes_to_who_can_run_it(self) -> None:
        queues = ["jobs", *sorted({f"jobs.{kind.name}" for kind in KINDS.values()})]
        seen, fresh = self.seen.copy(), set()
        for queue in queues:
            for hint in reversed(self.cell.store.client.lrange(queue, 0, -1)):
                job_id = json.loads(hint)["id"]
                place = self.queued.pop(job_id)
                self.hinted[job_id] = (place, queue)
                self.seen.add(place.tenant)
                fresh.add(place)
                able = [worker for worker in self.slots if place.pipeline in KNOWS[worker]]
                assert able, f"nobody knows {place.pipeline}"
                assert queue == "jobs" if self.counts_together() else queue in {f"jobs.{KINDS[worker].name}" for worker in able}
                could = {one.tenant for one in self.queued.values() if one.pipeline == place.pipeline}
                for tenant in TENANTS:
                    self.passed[tenant] = self.passed[tenant] + 1 if tenant in could and tenant != place.tenant else 0
            self.cell.store.client.delete(queue)
        for place in fresh:
            slots = self.slots_for(place.pipeline)
            if self.reserved_of(slots) and seen - {place.tenant}:
                assert self.has_live(place) < slots, f"{place.tenant} has the last slot for {place.pipeline}"

    @invariant()
    def no_slot_idles_beside_a_job_that_it_could_run(self) -> None:
        if len(self.hinted) + len(self.running) >= CAP:
            return
        for place in set(self.queued.values()):
            cap = self.caps.get(place.pipeline)
            if (cap is None or self.of_pipeline(place.pipeline) < cap) and not self.is_at_the_reserve(place):
                for kind, free in self.free().items():
                    assert free <= 0 or place.pipeline not in kind, f"{free} slots of {sorted(kind)} idle beside {place}"

    @invariant()
    def nobody_starves(self) -> None:
        assert max(self.passed.values(), default=0) <= 64, self.passed

    @invariant()
    def caps_hold_and_no_count_drifts(self) -> None:
        assert len(self.hinted) + len(self.running) <= CAP + 0
        assert differences(self.cell.store) == []

    @invariant()
    def who_waits_for_a_worker_that_knows_it_is_told_so(self) -> None:
        known = {pipeline for worker, slots in self.slots.items() if slots for pipeline in KNOWS[worker]}
        for job in self.cell.client.list(JobQuery(statuses=(JobStatus.QUEUED,), limit=1000)).items:
            if job.job_id in self.queued and self.caps.get(job.pipeline) is None:
                unknown = any(self.slots.values()) and job.pipeline not in known
                assert (job.reason == "no_worker_for_pipeline") == unknown, (job.pipeline, job.reason, self.slots)

    def counts_together(self) -> bool:
        """As ever: where there is one class, and each of it has slots."""
        return len({KINDS[worker] for worker in self.slots}) == 1 and all(self.slots.values())

    def free(self) -> dict[frozenset[str], int]:
        """Slots of each class that neither a run nor a hint has; none are counted of which a hint in the common queue may have one."""
        free: Counter[frozenset[str]] = Counter()
        runs = Counter(run.worker for run in self.running.values())
        for worker, slots in self.slots.items():
            free[frozenset(KNOWS[worker])] += max(0, slots - runs[worker])
        for place, queue in self.hinted.values():
            for kind in list(free):
                if queue == f"jobs.{WorkerClass.of(kind).name}" or (queue == "jobs" and place.pipeline in kind):
                    free[kind] -= 1
        if self.counts_together():
            (kind,) = free
            stranded = sum(run.worker not in self.slots for run in self.running.values())
            free[kind] = sum(self.slots.values()) - (len(self.running) - stranded) - len(self.hinted)
        return dict(free)

    def reserved_of(self, slots: int) -> int:
        return int(slots >= 4) if self.base.reserved_slots is None else self.base.reserved_slots

    def slots_for(self, pipeline: str) -> int:
        return min(CAP, sum(slots for worker, slots in self.slots.items() if pipeline in KNOWS[worker]))

    def hinted_to(self, place: Place) -> int:
        """How many hints of its tenant have a slot that could be its own."""
        able = {f"jobs.{KINDS[worker].name}" for worker, known in KNOWS.items() if place.pipeline in known} | {"jobs"}
        return sum(hint.tenant == place.tenant and queue in able for hint, queue in self.hinted.values())

    def has_live(self, place: Place) -> int:
        """The slots of live workers that its tenant has of those for its pipeline."""
        runs = Counter(run.worker for run in self.running.values() if run.tenant_id == place.tenant)
        live = sum(min(runs[worker], slots) for worker, slots in self.slots.items() if place.pipeline in KNOWS[worker])
        return live + self.hinted_to(place)

    def is_at_the_reserve(self, place: Place) -> bool:
        """It may not have the last slot: another had a job, and it has all others, those of workers that are gone among them."""
        slots = self.slots_for(place.pipeline)
        free = sum(max(0, free) for kind, free in self.free().items() if place.pipeline in kind)
        mine = [run.worker for run in self.running.values() if run.tenant_id == place.tenant]
        held = sum(worker not in self.slots or place.pipeline in KNOWS[worker] for worker in mine) + self.hinted_to(place)
        reserved = self.reserved_of(slots)
        return bool(0 < free <= reserved and held >= max(1, slots - reserved) and self.seen - {place.tenant})

    def of_pipeline(self, pipeline: str) -> int:
        hinted = [place.pipeline for place, _ in self.hinted.values()]
        return [*hinted, *(run.pipeline for run in self.running.values())].count(pipeline)

    def teardown(self) -> None:
        self.cell.store.close()


@pytest.mark.parametrize("reserved", [0, None])
def test_random_histories_of_a_mixed_fleet_keep_the_promises(cell: Settings, reserved: int | None) -> None:
    class Bound(Fleet):
        base = cell.model_copy(
            update={
                "max_concurrent_jobs": CAP, "announce_seconds": 1000.0, "lease_seconds": 10_000.0, "hint_seconds": 5000.0,
                "max_crashes": 1000, "reserved_slots": reserved,
            }
        )  # fmt: skip

    run_machine(Bound, phases=(Phase.generate,), max_examples=15, stateful_step_count=50, derandomize=True)
