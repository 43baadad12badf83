"""What `test_everything_model.py` does with jobs that wait for others or for a signal: workflows, their cancel and their retry; parking,
signals and the ends of waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs import signals
from pipeline_jobs.jobs.signals import AlreadySignalled, SignalTooLate
from pipeline_jobs.jobs.workflows import NewNode, NewWorkflow
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.everything import PIPELINES, SIGNALS, Model, Parked, Place

TENANTS = ("a", "b", "c", "d")
pipelines = st.sampled_from(PIPELINES)
tenants = st.sampled_from(TENANTS)
policies = st.sampled_from(["fail", "cancel", "run"])
names = st.sampled_from(SIGNALS)
picks = st.integers(0, 2**20)
#: Longer than all gaps of the clock in a history.
MONTH = 30 * 86400.0


class Drawn(NamedTuple):
    """A job of a random workflow; of what it needs, each is the number of one before it."""

    pipeline: str
    policy: str
    needs: list[int]


nodes = st.lists(st.builds(Drawn, pipelines, policies, st.lists(picks, max_size=2)), min_size=2, max_size=5)


class Flows(Model, RuleBasedStateMachine):
    """Of a history that has a cell, and looks at it after each script."""

    cell: Cell
    #: How many workflows were retried, how many jobs were parked, and woken.
    retries = 0
    parks = 0
    wakes = 0

    def look(self) -> None:
        raise NotImplementedError

    def rescue(self) -> None:
        raise NotImplementedError

    def promises_hold(self) -> None:
        raise NotImplementedError

    def run_ends(self, pick: int, how: str, goes_on: bool) -> None:
        raise NotImplementedError

    # -- workflows

    @rule(tenant=tenants, workspace=st.sampled_from("xy"), drawn=nodes, backwards=st.booleans())
    def workflow(self, tenant: str, workspace: str, drawn: list[Drawn], backwards: bool) -> None:
        """:param backwards: the request has the jobs in another order than that of the graph."""
        new = [
            NewNode(
                f"n{n}", NewJob(pipeline=one.pipeline, on_dependency_failure=one.policy), tuple({f"n{pick % n}" for pick in one.needs if n})
            )
            for n, one in enumerate(drawn)
        ]
        made = self.cell.cell.workflows.create(NewWorkflow(new[::-1] if backwards else new, tenant, workspace))
        ids = dict(zip((node.name for node in (new[::-1] if backwards else new)), map(str, made.job_ids), strict=True))
        self.workflows[made.batch.batch_id] = ids
        for node, one in zip(new, drawn, strict=True):
            self.came(ids[node.name], Place(tenant, one.pipeline), [ids[name] for name in sorted(node.needs)], one.policy)
        self.look()

    def workflow_that(self, pick: int, *, has_ended: bool) -> str | None:
        """One all of whose jobs have ended, or one of which some have not; no job of it was ever removed, nor of those that it retries."""
        there = [one for one in self.workflows if not self.once_removed.intersection(self.of_graph(one))]
        found = [one for one in there if (self.ended.keys() >= set(self.workflows[one].values())) is has_ended]
        return found[pick % len(found)] if found else None

    def of_graph(self, workflow_id: str) -> list[str]:
        """Its jobs, and those of the workflows before that it is a retry of."""
        before = self.retry_of.get(workflow_id)
        return [*self.workflows[workflow_id].values(), *(self.of_graph(before) if before else ())]

    @rule(pick=picks)
    def workflow_is_cancelled(self, pick: int) -> None:
        """All of it that has not ended; what runs is asked to stop. No job of it is started on the way."""
        workflow_id = self.workflow_that(pick, has_ended=False)
        if workflow_id is None:
            return
        live = [job_id for job_id in self.workflows[workflow_id].values() if job_id not in self.ended]
        before = {job_id: self.cell.client.get(job_id).fence for job_id in live}
        self.cell.cell.workflows.cancel(workflow_id)
        self.stopping |= self.running.keys() & set(live)
        waiting = [job_id for job_id in live if job_id not in self.running]
        self.end_together(waiting, "cancelled")
        assert all(self.cell.client.get(job_id).fence == before[job_id] for job_id in waiting)
        self.look()

    @rule(pick=picks)
    def workflow_is_retried(self, pick: int) -> None:
        """What did not complete, and all behind that: new jobs, which need those that completed by their ids."""
        workflow_id = self.workflow_that(pick, has_ended=True)
        if workflow_id is None:
            return
        ids = self.workflows[workflow_id]
        name_of = {job_id: name for name, job_id in ids.items()}
        again = {name for name, job_id in ids.items() if self.ended[job_id] != "completed"}
        while behind := {n for n, job_id in ids.items() if n not in again and again & {name_of.get(need) for need in self.needs[job_id]}}:
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
            old = ids[name]
            self.came(job_id, self.places[old], [new.get(name_of.get(need, ""), need) for need in self.needs[old]], self.policy[old])
        self.follow()
        self.look()

    @rule(pick=picks, how=st.sampled_from(["completed", "failed"]))
    def workflow_ends_and_is_retried(self, pick: int, how: str) -> None:
        """What runs of it ends so, what waits is cancelled: there is something to be retried."""
        workflow_id = self.workflow_that(pick, has_ended=False)
        if workflow_id is None:
            return
        mine = set(self.workflows[workflow_id].values())
        for _ in range(len(mine)):
            running = sorted(self.running, key=self.numbers.__getitem__)
            for number in [n for n, job_id in enumerate(running) if job_id in mine][:1]:
                self.run_ends(number, how, False)
        self.workflow_is_cancelled(self.place_of(workflow_id, has_ended=False))
        # Where scripts stop early, the duties end what depends on those: until then it may not be retried.
        self.promises_hold()
        self.workflow_is_retried(self.place_of(workflow_id, has_ended=True))

    def place_of(self, workflow_id: str, *, has_ended: bool) -> int:
        """The pick that hits it; any, if none does."""
        hits = [pick for pick in range(len(self.workflows)) if self.workflow_that(pick, has_ended=has_ended) == workflow_id]
        return hits[0] if hits else 0

    # -- waits and signals

    @rule(pick=picks, name=names, timed=st.booleans(), otherwise=st.sampled_from(["fail", "go_on"]))
    def run_comes_to_a_wait(self, pick: int, name: str, timed: bool, otherwise: str) -> None:
        job_id = self.chosen([one for one, run in self.running.items() if not run.part_of], pick)
        if job_id is None:
            return
        run = self.running[job_id]
        became = self.cell.store.park(job_id, run.fence, name, MONTH if timed else None, otherwise, "waits")
        tenant, stops, there = run.tenant_id, job_id in self.stopping, name in self.words.get(job_id, {})
        most = self.limits.get(tenant, {}).get("max_parked")
        if not stops and not there and most is not None and sum(self.places[one].tenant == tenant for one in self.parked) >= most:
            assert became == "full"
            return
        assert became is (JobStatus.CANCELLED if stops else JobStatus.QUEUED)
        del self.running[job_id]
        self.splits.pop(job_id, None)
        self.newcomers.refunded.discard(tenant)
        if stops:
            self.end(job_id, "cancelled")
        elif there:
            self.queued.add(job_id)
        else:
            self.parked[job_id] = Parked(name, timed, otherwise)
            type(self).parks += 1
        self.look()

    @rule(pick=picks, name=names, payload=st.sampled_from([True, {"a": 1}]), to_who_waits=st.booleans())
    def signal(self, pick: int, name: str, payload: Any, to_who_waits: bool) -> None:
        """To a job that waits for it, has it already, has waited in vain, will wait or has ended: the first word counts."""
        job_id = self.chosen(self.parked if to_who_waits else self.places.keys() - self.removed, pick)
        if job_id is None:
            return
        if to_who_waits:
            name = self.parked[job_id].name
        words = self.words.setdefault(job_id, {})
        late = job_id in self.ended
        if name in words and words[name] != payload:
            with pytest.raises(AlreadySignalled):
                self.send(job_id, name, payload)
        elif name not in words and late:
            with pytest.raises(SignalTooLate):
                self.send(job_id, name, payload)
        else:
            assert self.send(job_id, name, payload)["payload"] == payload
            words[name] = payload
            if job_id in self.parked and self.parked[job_id].name == name:
                self.wakes_up(job_id)
        self.look()

    @rule(pick=picks, name=names, timed=st.booleans(), by=st.sampled_from(["a signal", "a late signal", "two signals", "the time"]))
    def run_waits_and_goes_on(self, pick: int, name: str, timed: bool, by: str) -> None:
        """A job of the model that is parked may be another than the one that waits last: whichever it is, the first word counts."""
        self.run_comes_to_a_wait(pick, name, timed, "go_on")
        if by in ("the time", "a late signal"):
            self.waits_are_over(pick, True)
        if by != "the time":
            self.signal(pick, name, True, by != "a late signal")
        if by == "two signals":
            self.signal(pick, name, {"a": 1}, False)

    def send(self, job_id: str, name: str, payload: Any) -> Mapping[str, Any]:
        return signals.send(self.cell.client, job_id, name, payload, "key:k")

    def wakes_up(self, job_id: str) -> None:
        type(self).wakes += 1
        del self.parked[job_id]
        self.queued.add(job_id)

    @rule(pick=picks, all_=st.booleans())
    def waits_are_over(self, pick: int, all_: bool) -> None:
        """Those with a time, or one of them: a job fails, or it goes on with null and a later signal is refused."""
        timed = {job_id for job_id, one in self.parked.items() if one.timed}
        first = self.chosen(timed, pick)
        if first is None:
            return
        for job_id in sorted(timed if all_ else {first}, key=self.numbers.__getitem__):
            self.cell.store.client.zadd(self.cell.store.keys("delayed"), {job_id: 1}, xx=True)
            wait = self.parked[job_id]
            if wait.otherwise == "go_on":
                # No signal says so.
                self.words.setdefault(job_id, {})[wait.name] = None
                self.wakes_up(job_id)
            else:
                self.end(job_id, "failed")
        self.rescue()

    def job_is_as_it_should(self, job: Job) -> None:
        """Of one that has not ended."""
        wait = self.parked.get(job.job_id)
        assert (job.reason == "signal") is (wait is not None), job
        assert job.awaits == (wait and wait.name), job
        assert {name: word["payload"] for name, word in job.signals.items()} == self.words.get(job.job_id, {})
