"""Random histories of a cell against the promises of the rule (`docs/fairness.md`): nobody starves, no slot idles, no count drifts.

The model does not repeat the rule's arithmetic. It knows who could be served and checks what may be seen from outside after every step.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from pipeline_jobs.job import Job
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell, make_cell
from tests.integration.recount import differences

TENANTS = ("a", "b", "c", "d")
tenants = st.sampled_from(TENANTS)
picks = st.integers(0, 2**20)


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
        self.cell: Cell = make_cell(self.base)
        self.slots = 0
        self.limits: dict[str, dict[str, Any]] = {}
        self.queued: dict[str, str] = {}
        #: Those that wait for a time: their worker's machine was at fault.
        self.delayed: dict[str, str] = {}
        self.hinted: dict[str, tuple[str, int]] = {}
        self.running: dict[str, Job] = {}
        #: How many others were dispatched since each tenant last could have been and was not.
        self.passed: Counter[str] = Counter()

    # -- what happens

    @rule(tenant=tenants, workspace=st.sampled_from("xy"), priority=st.integers(-50, 50))
    def submit(self, tenant: str, workspace: str, priority: int) -> None:
        job = self.cell.submit(tenant_id=tenant, workspace_id=workspace, priority=priority)
        self.queued[job.job_id] = tenant

    @rule(slots=st.integers(0, 6))
    def workers_change(self, slots: int) -> None:
        self.slots = slots
        self.cell.slots(slots)

    @rule(tenant=tenants, most=st.one_of(st.none(), st.integers(0, 3)), paused=st.booleans(), weight=st.sampled_from([0.5, 1, 4]))
    def limits_change(self, tenant: str, most: int | None, paused: bool, weight: float) -> None:
        self.limits[tenant] = {"max_concurrent": most, "paused": paused, "weight": weight}
        self.cell.store.set_limits(tenant, self.limits[tenant])

    # Whom a draw hits is looked up in what there is: a draw that depended on it would depend on real time, which moves the tenants' clocks.

    @rule(pick=picks)
    def claim(self, pick: int) -> None:
        if self.hinted:
            job_id = chosen(self.hinted, pick)
            del self.hinted[job_id]
            self.running[job_id] = self.cell.start(job_id)

    @rule(pick=picks, how=st.sampled_from(["completed", "failed", "crash", "handback", "retry", "fault"]))
    def run_ends(self, pick: int, how: str) -> None:
        if not self.running:
            return
        job_id = chosen(self.running, pick)
        run = self.running.pop(job_id)
        if how in ("completed", "failed"):
            self.cell.store.finish(job_id, run.fence, JobStatus(how), result={}, error="x")
        elif self.cell.store.requeue(job_id, run.fence, how) is JobStatus.QUEUED:
            (self.delayed if how == "fault" else self.queued)[job_id] = run.tenant_id

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
        self.queued.update({job_id: tenant for job_id, (tenant, _) in self.hinted.items()})
        self.hinted.clear()
        self.cell.store.rescue()

    # -- what must hold after each

    @invariant()
    def dispatched_jobs_are_seen_and_fair_in_order(self) -> None:
        for hint in map(json.loads, self.cell.hints()):
            # Real time passes too: one that was delayed may have come back by itself.
            tenant = (self.queued if hint["id"] in self.queued else self.delayed).pop(hint["id"])
            limits = self.limits.get(tenant, {})
            assert not limits.get("paused"), f"{tenant} is paused and was started"
            self.hinted[hint["id"]] = (tenant, hint["fence"])
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
        # Weights differ by 8 at most and every run is charged alike here: who could start is passed over a bounded number of times.
        assert max(self.passed.values(), default=0) <= 64, self.passed

    @invariant()
    def no_count_drifts(self) -> None:
        assert differences(self.cell.store) == []

    def slots_of(self, tenant: str) -> int:
        return sum(one == tenant for one, _ in self.hinted.values()) + sum(job.tenant_id == tenant for job in self.running.values())

    def could_start(self, tenant: str) -> bool:
        limits = self.limits.get(tenant, {})
        most = limits.get("max_concurrent")
        return tenant in self.queued.values() and not limits.get("paused") and (most is None or self.slots_of(tenant) < most)

    def teardown(self) -> None:
        self.cell.store.client.close()


def test_random_histories_keep_the_promises(cell: Settings) -> None:
    class Bound(History):
        base = cell.model_copy(update={"max_concurrent_jobs": 100, "announce_seconds": 1000.0, "max_crashes": 1000})

    # Thousands of steps: 60 histories of up to 50.
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=60, stateful_step_count=50, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        ),
    )
