"""Random histories of jobs that depend on each other against a model that knows no store: who waits, who may start, how each one ended."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.jobs.workflows import NewNode, NewWorkflow
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell, all_jobs, make_cell, tired_scripts
from tests.integration.drawn import run_machine
from tests.integration.recount import differences

policies = st.sampled_from(["fail", "cancel", "run"])
picks = st.lists(st.integers(0, 2**20), max_size=3)


class History(RuleBasedStateMachine):
    """Jobs come alone, in batches and as workflows, depend on any that came before, run, are cancelled, retried, removed."""

    base: Settings
    #: How often one script was not enough.
    pages = 0
    #: How many workflows were retried.
    retries = 0

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
        #: Those of them that were asked to stop.
        self.stopping: set[str] = set()
        #: Of each workflow its jobs by their names, and of each retry what it is a retry of.
        self.workflows: dict[str, dict[str, str]] = {}
        self.retry_of: dict[str, str] = {}

    # -- what happens

    @initialize(width=st.sampled_from([0, 14]), policy=policies)
    def one_has_many_dependents(self, width: int, policy: str) -> None:
        """More than one script serves, where scripts stop early."""
        self.submit([], "fail", 1, batch=False)
        if width:
            self.submit([0], policy, width, batch=True)

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

    @rule(picks=st.lists(picks, min_size=2, max_size=5), policies=st.lists(policies, min_size=5, max_size=5), backwards=st.booleans())
    def workflow(self, picks: list[list[int]], policies: list[str], backwards: bool) -> None:
        nodes = [
            NewNode(f"n{i}", NewJob(pipeline="sleep", on_dependency_failure=policies[i]), tuple(f"n{pick % i}" for pick in some if i))
            for i, some in enumerate(picks)
        ]
        nodes = nodes[::-1] if backwards else nodes
        made = self.cell.cell.workflows.create(NewWorkflow(nodes))
        ids = {node.name: str(job_id) for node, job_id in zip(nodes, made.job_ids, strict=True)}
        self.workflows[made.batch.batch_id] = ids
        for node in nodes:
            job_id = ids[node.name]
            self.needs[job_id], self.policy[job_id] = [ids[name] for name in node.needs], node.job.on_dependency_failure
        self.follow()

    def chosen(self, pick: int, *, ended: bool) -> str | None:
        """A workflow all of whose jobs have ended, or one of which some have not."""
        found = [one for one, ids in self.workflows.items() if (self.ended.keys() >= set(ids.values())) is ended]
        return found[pick % len(found)] if found else None

    @rule(pick=st.integers(0, 2**20))
    def workflow_is_cancelled(self, pick: int) -> None:
        workflow_id = self.chosen(pick, ended=False)
        if workflow_id is None:
            return
        live = [job_id for job_id in self.workflows[workflow_id].values() if job_id not in self.ended]
        before = {job_id: self.cell.client.get(job_id).fence for job_id in live}
        self.cell.cell.workflows.cancel(workflow_id)
        self.stopping |= {job_id for job_id in live if job_id in self.running}
        for job_id in live:
            if job_id not in self.running:
                self.ended[job_id] = "cancelled"
                # Nothing of it was started on the way, whatever runs when others are cancelled.
                assert self.cell.client.get(job_id).fence == before[job_id]
        self.follow()

    @rule(pick=st.integers(0, 2**20))
    def workflow_is_retried(self, pick: int) -> None:
        workflow_id = self.chosen(pick, ended=True)
        if workflow_id is None or self.removed & set(self.of_graph(workflow_id)):
            return
        ids = self.workflows[workflow_id]
        again = {name for name, job_id in ids.items() if self.ended[job_id] != "completed"}
        name_of = {job_id: name for name, job_id in ids.items()}
        while behind := {
            name for name, job_id in ids.items() if name not in again and again & {name_of.get(n) for n in self.needs[job_id]}
        }:
            again |= behind
        if not again:
            with pytest.raises(InvalidInput):
                self.cell.cell.workflows.retry(workflow_id)
            return
        made = self.cell.cell.workflows.retry(workflow_id)
        type(self).retries += 1
        new = {str(self.cell.client.get(str(job_id)).name): str(job_id) for job_id in made.job_ids}
        assert new.keys() == again
        self.workflows[made.batch.batch_id], self.retry_of[made.batch.batch_id] = new, workflow_id
        for name, job_id in new.items():
            self.needs[job_id] = [new.get(name_of.get(need, ""), need) for need in self.needs[ids[name]]]
            self.policy[job_id] = self.policy[ids[name]]
        self.follow()

    def of_graph(self, workflow_id: str) -> list[str]:
        """Its jobs, and those of the workflows before that it is a retry of."""
        before = self.retry_of.get(workflow_id)
        return [*self.workflows[workflow_id].values(), *(self.of_graph(before) if before else ())]

    @rule()
    def time_of_ended_jobs_is_over(self) -> None:
        """Of those that no run may want to read any more."""
        keys, client = self.cell.store.keys, self.cell.store.client
        there = set(self.ended) - self.removed
        client.zadd(keys("ended"), dict.fromkeys(there, 1)) if there else None
        self.cell.store.purge()
        live = {one for one, ids in self.workflows.items() if not self.ended.keys() >= set(ids.values())}
        read = {need for one in live for job_id in self.workflows[one].values() for need in self.needs[job_id]}
        gone = {job_id for job_id in there if not self.cell.store.exists("job", job_id)}
        assert not gone & read
        assert not gone & {job_id for one in live for job_id in self.workflows[one].values()}
        of_workflows = {job_id for ids in self.workflows.values() for job_id in ids.values()}
        assert gone >= there - of_workflows
        if not live:
            assert gone == there
        self.removed |= gone

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
        stops = job_id in self.stopping
        if how == "crash":
            self.cell.store.requeue(job_id, fence, how)
            if stops:
                self.end(job_id, "cancelled")
            return
        self.cell.store.finish(job_id, fence, JobStatus(how), result={}, error="x")
        self.end(job_id, "cancelled" if stops else how)

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
        # What one script left for the duties.
        store = self.cell.store
        self.pages += store.client.exists(store.keys("unsettled"))
        while any(store.settle()):
            pass
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
        jobs = all_jobs(self.cell)
        for job_id, needs in self.needs.items():
            if job_id in self.removed:
                continue
            job = jobs[job_id]
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
        self.cell.store.close()


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

    run_machine(Bound, phases=(Phase.generate,), max_examples=14, stateful_step_count=36, derandomize=True)
    assert (sum(pages) > 0) is tired
    assert Bound.retries > 0
