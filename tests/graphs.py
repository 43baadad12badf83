"""Random workflows whose end is known beforehand, and what must hold of one that has ended: order, every job once, each policy and sum."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_jobs.events import log as events
from pipeline_jobs.events.event_types import EventType
from pipeline_jobs.events.log import FEED_START, Event
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.graph import levels
from pipeline_jobs.jobs.workflows import NewNode, NewWorkflow
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import Store
from tests.bodies import ADDS

ENDS = (EventType.COMPLETED, EventType.FAILED, EventType.CANCELLED)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job must end."""

    status: JobStatus
    #: It must have run.
    runs: bool
    #: What it gives, if it completes.
    n: int = 0


@dataclass(frozen=True)
class Graph:
    """Jobs in levels, each with parents of the level before it and of earlier ones."""

    nodes: Sequence[NewNode]

    @classmethod
    def random(cls, size: int, depth: int, seed: int) -> Graph:
        """So many jobs in so many levels. A few fail; most run whatever becomes of their parents, so that all levels have some that run."""
        rng = random.Random(seed)
        nodes: list[NewNode] = []
        wide = size // depth
        for number in range(wide * depth):
            level = number // wide
            before = [rng.randrange((level - 1) * wide, level * wide)] if level else []
            before += [rng.randrange(level * wide) for _ in range(rng.randint(0, 2)) if level]
            policy = rng.choices(("run", "fail", "cancel"), (8, 1, 1))[0]
            job = NewJob(pipeline=ADDS.name, params={"fails": rng.random() < 0.03}, on_dependency_failure=policy)
            nodes.append(NewNode(f"n{number}", job, tuple(f"n{i}" for i in dict.fromkeys(before))))
        return cls(nodes)

    @property
    def depth(self) -> int:
        number_of = {node.name: number for number, node in enumerate(self.nodes)}
        return 1 + max(levels([[number_of[name] for name in node.needs] for node in self.nodes]))

    def new(self, tenant_id: str) -> NewWorkflow:
        return NewWorkflow(self.nodes, tenant_id)

    def ends(self) -> dict[str, Ended]:
        """How each job ends, by its name."""
        found: dict[str, Ended] = {}
        for node in self.nodes:
            parents, job = [found[name] for name in node.needs], node.job
            if job.on_dependency_failure != "run" and any(one.status is not JobStatus.COMPLETED for one in parents):
                found[node.name] = Ended(JobStatus.FAILED if job.on_dependency_failure == "fail" else JobStatus.CANCELLED, runs=False)
            elif job.params["fails"]:
                found[node.name] = Ended(JobStatus.FAILED, runs=True)
            else:
                found[node.name] = Ended(JobStatus.COMPLETED, True, 1 + sum(one.n for one in parents))
        return found


def check(store: Store, graph: Graph, tenant_id: str, workflow_id: str, ids: dict[str, str]) -> None:
    """Of a workflow that has ended."""
    expected, names = graph.ends(), {job_id: name for name, job_id in ids.items()}
    needs = {node.name: set(node.needs) for node in graph.nodes}
    started: dict[str, int] = {}
    ended: dict[str, str] = {}
    told = _told(store, tenant_id, workflow_id)
    for event in told[:-1]:
        name = names[event.job_id]
        assert name not in ended, f"{name} goes on after its end"
        if event.type is EventType.STARTED:
            assert needs[name] <= ended.keys(), f"{name} started before {needs[name] - ended.keys()} had ended"
            started[name] = started.get(name, 0) + 1
        elif event.type in ENDS:
            ended[name] = event.type.value.removeprefix("job.")
    assert told[-1].type is EventType.BATCH_COMPLETED
    assert ended == {name: one.status.value for name, one in expected.items()}
    assert started.keys() == {name for name, one in expected.items() if one.runs}
    for name, job_id in ids.items():
        flat = store.record("job", job_id)
        assert flat["terminal_writes"] == "1"
        # Each run but the last was ended by a death, whosever it was.
        again = int(flat.get("crashes", 0)) + int(flat.get("handbacks", 0))
        assert started.get(name, 0) <= 1 + again, f"{name} ran {started[name]} times"
        if expected[name].status is JobStatus.COMPLETED:
            assert flat["result"] == f'{{"success":true,"data":{{"n":{expected[name].n}}}}}'


def _told(store: Store, tenant_id: str, workflow_id: str) -> list[Event]:
    """All events of a workflow, in the order in which they happened."""
    told: list[Event] = []
    page = events.feed(store, tenant_id, FEED_START, events.MAX_PAGE, batch_id=workflow_id)
    while True:
        told += page.events
        if not page.more:
            return told
        page = events.feed(store, tenant_id, page.after, events.MAX_PAGE, batch_id=workflow_id)
