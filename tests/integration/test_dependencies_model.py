"""Random histories of jobs that depend on each other against a model that knows no store: who waits, who may start, how each one ended."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell, make_cell, tired_scripts
from tests.integration.recount import differences

policies = st.sampled_from(["fail", "cancel", "run"])
picks = st.lists(st.integers(0, 2**20), max_size=3)


class History(RuleBasedStateMachine):
    """Jobs come alone and in batches, depend on any that came before, run, are cancelled, are removed."""

    base: Settings
    #: How often more than one script was needed.
    pages = 0

    def __init__(self) -> None:
        super().__init__()
        with make_cell(self.base).store.client as client:
            client.flushall()
        self.cell: Cell = make_cell(self.base)
        self.batches = Batches(self.cell.client)
        self.needs: dict[str, list[str]] = {}
        self.policy: dict[str, str] = {}
        #: How each ended, removed ones too.
        self.ended: dict[str, str] = {}
        self.removed: set[str] = set()
        self.running: dict[str, int] = {}

    # -- what happens

    @rule(picks=picks, policy=policies, n=st.integers(1, 3), batch=st.booleans())
    def submit(self, picks: list[int], policy: str, n: int, batch: bool) -> None:
        there = [job_id for job_id in self.needs if job_id not in self.removed]
        needs = tuple(dict.fromkeys(there[pick % len(there)] for pick in picks)) if there else ()
        new = NewJob(pipeline="sleep", depends_on=needs, on_dependency_failure=policy, tags=("x", f"y{n}"))
        if batch:
            ids = [str(job_id) for job_id in self.batches.create(NewBatch([new] * n)).job_ids]
        else:
            ids = [self.cell.client.submit(new).job_id]
        for job_id in ids:
            self.needs[job_id], self.policy[job_id] = list(needs), policy
        self.follow()

    @rule(slots=st.integers(0, 4))
    def workers_change(self, slots: int) -> None:
        self.cell.slots(slots)
        for hint in map(json.loads, self.cell.hints()):
            if hint["id"] not in self.ended and hint["id"] not in self.running:
                self.running[hint["id"]] = self.cell.start(hint["id"]).fence
        self.cell.store.client.delete("jobs")

    @rule(pick=st.integers(0, 2**20), how=st.sampled_from(["completed", "failed", "crash"]))
    def run_ends(self, pick: int, how: str) -> None:
        if not self.running:
            return
        job_id = sorted(self.running)[pick % len(self.running)]
        fence = self.running.pop(job_id)
        if how == "crash":
            self.cell.store.requeue(job_id, fence, how)
            return
        self.cell.store.finish(job_id, fence, JobStatus(how), result={}, error="x")
        self.end(job_id, how)

    @rule(pick=st.integers(0, 2**20))
    def cancel(self, pick: int) -> None:
        waiting = sorted(set(self.needs) - set(self.ended) - set(self.running))
        if waiting:
            job_id = waiting[pick % len(waiting)]
            self.cell.client.cancel(job_id)
            self.end(job_id, "cancelled")

    @rule(pick=st.integers(0, 2**20))
    def remove(self, pick: int) -> None:
        there = sorted(set(self.ended) - self.removed)
        if there:
            job_id = there[pick % len(there)]
            self.cell.client.delete(job_id)
            self.removed.add(job_id)

    # -- the model

    def end(self, job_id: str, how: str) -> None:
        self.ended[job_id] = how
        self.follow()

    def follow(self) -> None:
        """Ends bring ends about, until nothing changes."""
        while any(self.cell.store.settle()):
            # What one script left for the duties.
            self.pages += 1
        while True:
            for job_id, needs in self.needs.items():
                bad = any(self.ended.get(need) in ("failed", "cancelled") for need in needs)
                if job_id not in self.ended and job_id not in self.running and bad and self.policy[job_id] != "run":
                    self.ended[job_id] = "failed" if self.policy[job_id] == "fail" else "cancelled"
                    break
            else:
                return

    # -- what must hold after each

    @invariant()
    def every_job_is_as_the_model_says(self) -> None:
        for job_id, needs in self.needs.items():
            if job_id in self.removed:
                continue
            job = self.cell.client.get(job_id)
            if job_id in self.ended:
                assert job.status.value == self.ended[job_id], job_id
            elif job_id in self.running:
                assert job.status is JobStatus.RUNNING
            else:
                assert job.status is JobStatus.QUEUED
                assert (job.reason == "dependency") == any(need not in self.ended for need in needs)

    @invariant()
    def no_index_and_no_count_drifts(self) -> None:
        assert differences(self.cell.store) == []

    def teardown(self) -> None:
        self.cell.store.client.close()


@pytest.mark.parametrize("tired", [False, True], ids=["", "with scripts that stop early"])
def test_random_histories_end_as_the_model_says(cell: Settings, tired: bool) -> None:
    with tired_scripts() if tired else nullcontext():
        histories(cell, tired)


def histories(cell: Settings, tired: bool) -> None:
    pages = []

    class Bound(History):
        base = cell.model_copy(update={"max_concurrent_jobs": 100, "announce_seconds": 1000.0, "max_crashes": 1000})

        def teardown(self) -> None:
            pages.append(self.pages)
            super().teardown()

    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=25, stateful_step_count=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        ),
    )
    assert (sum(pages) > 0) is tired
