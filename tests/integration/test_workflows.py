"""Workflows on a real server: all or nothing, in order, each job once, by every policy; seen, cancelled, retried and gone as one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.context import JobContext, Parent
from pipeline_jobs.events import log as events
from pipeline_jobs.events.hub import End
from pipeline_jobs.exceptions import (
    InvalidInput,
    InvalidItems,
    JobGone,
    JobNotEnded,
    KeyReused,
    MachineFault,
    QueueFull,
    ResultGone,
    StoreUnavailable,
    UnknownBatch,
)
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs import batches
from pipeline_jobs.jobs.batches import MAX_JOBS, BatchQuery, Made, NewBatch
from pipeline_jobs.jobs.executor import Ending, Executor
from pipeline_jobs.jobs.parents import Parents
from pipeline_jobs.jobs.workflows import NewNode, NewWorkflow, Workflows
from pipeline_jobs.pipelines import NoParams, Pipeline, Registry, Stage
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from tests.integration.conftest import Cell, tired_scripts
from tests.integration.recount import differences
from tests.waiting import until

SLEEP = NewJob(pipeline="sleep")
#: What needs what: a diamond, and a job behind it.
DIAMOND = {"cut": (), "left": ("cut",), "right": ("cut",), "join": ("left", "right"), "mail": ("join",)}


@pytest.fixture
def jobs(jobs: Cell) -> Iterator[Cell]:
    """Nothing runs out while a slow machine thinks."""
    patient = jobs.with_settings(announce_seconds=600.0, hint_seconds=600.0, lease_seconds=600.0)
    yield patient
    patient.cell.close()


@pytest.fixture
def workflows(jobs: Cell) -> Workflows:
    return jobs.cell.workflows


def of(needs: Mapping[str, tuple[str, ...]], policies: Mapping[str, str] | None = None, **fields: Any) -> NewWorkflow:
    def job(name: str) -> NewJob:
        return replace(SLEEP, on_dependency_failure=(policies or {}).get(name, "fail"))

    return NewWorkflow([NewNode(name, job(name), names) for name, names in needs.items()], "acme", **fields)


class Played:
    """A workflow, and a pretended worker that runs its jobs."""

    def __init__(self, jobs: Cell, made: Made, names: list[str]) -> None:
        self.jobs, self.id = jobs, made.batch.batch_id
        self.ids = dict(zip(names, map(str, made.job_ids), strict=True))

    @classmethod
    def of(cls, jobs: Cell, new: NewWorkflow, **options: Any) -> Played:
        return cls(jobs, jobs.cell.workflows.create(new, **options), [node.name for node in new.nodes])

    @classmethod
    def seen(cls, jobs: Cell, made: Made) -> Played:
        nodes = jobs.cell.workflows.get(made.batch.batch_id).nodes
        by_id = {node.job.job_id: node.name for node in nodes}
        return cls(jobs, made, [by_id[str(job_id)] for job_id in made.job_ids])

    def states(self) -> dict[str, str]:
        return {node.name: node.job.status.value for node in self.jobs.cell.workflows.get(self.id).nodes if not node.kept}

    def started(self) -> set[str]:
        """Those that were dispatched and have not been run."""
        return {name for name, job_id in self.ids.items() if self.jobs.client.get(job_id).reason == "dispatched"}

    def run(self, name: str, outcome: str = "completed", **finish: Any) -> None:
        run = self.jobs.start(self.ids[name])
        self.jobs.store.finish(
            run.job_id, run.fence, JobStatus(outcome), result={"success": True, "data": {"from": name}}, error="x", **finish
        )


def test_a_workflow_runs_each_job_once_after_those_that_it_needs(jobs: Cell) -> None:
    # However they are written down.
    played = Played.of(jobs, of(dict(reversed(DIAMOND.items())), metadata={"x": 1}))
    jobs.slots(10)
    order = []
    while ready := sorted(played.started()):
        for name in ready:
            order.append(name)
            played.run(name)
        assert differences(jobs.store) == []
    assert order == ["cut", "left", "right", "join", "mail"]
    seen = jobs.cell.workflows.get(played.id)
    assert (seen.batch.status, seen.batch.workflow, seen.batch.metadata) == ("completed", True, {"x": 1})
    assert {node.name: node.needs for node in seen.nodes} == DIAMOND
    # Each stands after those that it needs.
    assert seen.nodes[0].name == "cut"
    assert seen.nodes[-1].name == "mail"
    assert {job.name for job in map(jobs.client.get, played.ids.values())} == set(DIAMOND)


def test_a_thousand_jobs_in_one_call(jobs: Cell) -> None:
    needs = {f"n{i}": tuple(f"n{j}" for j in (i - 50, i - 99, i - 100) if j >= 0) for i in range(MAX_JOBS)}
    calls: list[str] = []
    run = jobs.store.run

    def noting(script: str, /, **arguments: Any) -> Any:
        calls.append(script)
        return run(script, **arguments)

    jobs.store.run = noting  # type: ignore[method-assign]
    played = Played.of(jobs, of(needs))
    assert calls == ["submit_batch"]
    reasons = {name: jobs.client.get(job_id).reason for name, job_id in played.ids.items()}
    assert {name for name, reason in reasons.items() if reason == "fair_share"} == {f"n{i}" for i in range(50)}
    assert differences(jobs.store) == []


@pytest.mark.parametrize(
    ("needs", "field", "said"),
    [
        (
            {"d": (), "a": ("c",), "b": ("a",), "c": ("b",)},
            "jobs.1.depends_on",
            "a: the jobs depend on each other in a circle: a -> b -> c -> a",
        ),
        ({"a": ("a",)}, "jobs.0.depends_on", "a: the jobs depend on each other in a circle: a -> a"),
        ({"a": (), "b": ("a", "ghost")}, "jobs.1.depends_on.1", "b: there is no job ghost in this workflow"),
        ({"a": (), "-": ()}, "jobs.1.name", "-: must match"),
    ],
)
def test_what_is_no_graph_is_refused_and_says_why(
    jobs: Cell, workflows: Workflows, needs: dict[str, tuple[str, ...]], field: str, said: str
) -> None:
    with pytest.raises(InvalidItems) as refused:
        workflows.create(of(needs))
    (error,) = refused.value.errors
    assert error["field"].startswith(field)
    assert said in error["message"]
    assert jobs.store.members("status", "queued") == []


def test_a_wrong_job_a_double_name_and_a_wrong_policy_name_the_job(jobs: Cell, workflows: Workflows) -> None:
    nodes = [NewNode("a", SLEEP, ("b",)), NewNode("b", replace(SLEEP, params={"seconds": -1})), NewNode("c", replace(SLEEP, priority=99))]
    with pytest.raises(InvalidItems) as refused:
        workflows.create(NewWorkflow(nodes, "acme"))
    # In the numbers of the request, though `b` is made before `a`.
    assert [(error["field"], error["message"][:3]) for error in refused.value.errors] == [
        ("jobs.1.params.seconds", "b: "), ("jobs.2.priority", "c: "),
    ]  # fmt: skip
    with pytest.raises(InvalidItems, match=r"a: a is the name of jobs\.0, too"):
        workflows.create(NewWorkflow([NewNode("a", SLEEP), NewNode("a", SLEEP)], "acme"))
    with pytest.raises(InvalidItems, match="a: on_dependency_failure must be one of"):
        workflows.create(of({"a": ()}, {"a": "ignore"}))
    assert jobs.store.members("status", "queued") == []


def test_the_bounds_of_a_workflow(jobs: Cell, workflows: Workflows) -> None:
    wide = {**{f"n{i}": () for i in range(101)}, "all": tuple(f"n{i}" for i in range(100))}
    played = Played.of(jobs, of(wide))
    assert len(jobs.client.get(played.ids["all"]).depends_on) == 100
    with pytest.raises(InvalidItems, match="all: at most 100 names"):
        workflows.create(of({**wide, "all": tuple(f"n{i}" for i in range(101))}))
    many = {f"m{i}": tuple(f"n{j}" for j in range(100)) for i in range(30)}
    with pytest.raises(InvalidInput, match="at most 3000 times"):
        workflows.create(of({**wide, **many}))
    for nodes in ([], [NewNode(f"n{i}", SLEEP) for i in range(MAX_JOBS + 1)]):
        with pytest.raises(InvalidInput, match=r"1\.\.1000"):
            workflows.create(NewWorkflow(nodes, "acme"))
    jobs.client.set_limits("acme", TenantLimits(max_queued=105))
    with pytest.raises(QueueFull):
        workflows.create(of(DIAMOND))
    assert differences(jobs.store) == []


def test_a_workflow_sent_twice_is_one(jobs: Cell, workflows: Workflows) -> None:
    first = workflows.create(of(DIAMOND), idempotency_key="k")
    again = workflows.create(of(DIAMOND), idempotency_key="k")
    assert again.replayed
    assert (again.batch.batch_id, again.job_ids) == (first.batch.batch_id, first.job_ids)
    # Another graph of the same jobs is another request.
    with pytest.raises(KeyReused):
        workflows.create(of({**DIAMOND, "mail": ("cut",)}), idempotency_key="k")
    assert jobs.cell.batches.create(NewBatch([SLEEP] * 5, "acme"), idempotency_key="k").batch.batch_id != first.batch.batch_id


@pytest.mark.parametrize("policy", ["fail", "cancel", "run"])
@pytest.mark.parametrize("tired", [False, True], ids=["", "with scripts that stop early"])
def test_what_is_behind_a_job_that_fails(jobs: Cell, policy: str, tired: bool) -> None:
    with tired_scripts() if tired else nullcontext():
        behind_a_failure(jobs, policy)


def behind_a_failure(jobs: Cell, policy: str) -> None:
    played = Played.of(jobs, of(DIAMOND, {"left": "cancel", "join": policy}))
    jobs.slots(10)
    played.run("cut")
    played.run("left", "failed")
    played.run("right")
    while any(jobs.store.settle()):
        pass
    expected = {"cut": "completed", "left": "failed", "right": "completed"}
    if policy == "run":
        assert played.started() == {"join"}
        played.run("join")
        played.run("mail")
        assert played.states() == {**expected, "join": "completed", "mail": "completed"}
    else:
        behind = {"join": "failed" if policy == "fail" else "cancelled", "mail": "failed"}
        assert played.states() == {**expected, **behind}
        assert jobs.client.get(played.ids["mail"]).error_detail is not None
    assert jobs.cell.workflows.get(played.id).batch.status == "failed"
    assert differences(jobs.store) == []


@pytest.mark.parametrize("tired", [False, True], ids=["", "with scripts that stop early"])
def test_a_cancel_starts_nothing_on_its_way(jobs: Cell, tired: bool) -> None:
    """Jobs that run whatever becomes of what they need are cancelled before that."""
    chain: dict[str, tuple[str, ...]] = {f"n{i}": (f"n{i - 1}",) if i else () for i in range(60)}
    with tired_scripts(commands=300) if tired else nullcontext():
        played = Played.of(jobs, of(dict(reversed(chain.items())), dict.fromkeys(chain, "run")))
        jobs.slots(1)
        done = jobs.cell.workflows.cancel(played.id)
        assert (done.matched, done.stopping, done.next_cursor) == (60, 0, None)
        assert set(played.states().values()) == {"cancelled"}
        fences = [jobs.client.get(played.ids[f"n{i}"]).fence for i in range(1, 60)]
        assert set(fences) == {0}
    assert jobs.cell.workflows.cancel(played.id).matched == 0
    assert differences(jobs.store) == []


def test_workflows_are_listed_and_batches_are_no_workflows(jobs: Cell, workflows: Workflows) -> None:
    batch = jobs.cell.batches.create(NewBatch([SLEEP], "acme")).batch.batch_id
    mine = [Played.of(jobs, of({"a": ()}, workspace_id=workspace)).id for workspace in ("w1", "w2")]
    assert [one.batch_id for one in workflows.list(BatchQuery("acme")).items] == mine[::-1]
    assert [one.batch_id for one in workflows.list(BatchQuery("acme", "w1")).items] == mine[:1]
    assert [one.batch_id for one in jobs.cell.batches.list(BatchQuery("acme")).items] == [*mine[::-1], batch]
    with pytest.raises(InvalidInput):
        workflows.list(BatchQuery(None, "w1"))
    for call in (workflows.get, workflows.cancel, workflows.retry, workflows.delete):
        with pytest.raises(UnknownBatch):
            call(batch)


def test_jobs_of_a_plain_batch_need_none_of_each_other(jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever guesses an id that is drawn later has not named a job."""
    drawn = ["job_1_00000001", "job_1_00000002"]
    monkeypatch.setattr(batches, "_draw_ids", lambda cell, n: drawn)
    with pytest.raises(InvalidItems, match="no such job"):
        jobs.cell.batches.create(NewBatch([SLEEP, replace(SLEEP, depends_on=(drawn[0],))], "acme"))


# -- retry


def test_a_retry_runs_what_did_not_complete_and_all_behind_it(jobs: Cell, workflows: Workflows) -> None:
    played = Played.of(jobs, of({**DIAMOND, "other": ("cut",)}, {"join": "run"}))
    jobs.slots(10)
    with pytest.raises(JobNotEnded):
        workflows.retry(played.id)
    for name, outcome in (("cut", "completed"), ("left", "failed"), ("right", "completed"), ("other", "completed")):
        played.run(name, outcome)
    played.run("join")
    played.run("mail")
    made = workflows.retry(played.id)
    again = Played.seen(jobs, made)
    assert again.states() == {"left": "queued", "join": "queued", "mail": "queued"}
    seen = workflows.get(again.id)
    assert {node.name for node in seen.nodes if node.kept} == {"cut", "right"}
    assert {node.name: set(node.needs) for node in seen.nodes if not node.kept} == {
        "left": {"cut"}, "join": {"left", "right"}, "mail": {"join"},
    }  # fmt: skip
    assert (seen.batch.retry_of, seen.batch.total) == (played.id, 3)
    for name, job_id in again.ids.items():
        new, old = jobs.client.get(job_id), jobs.client.get(played.ids[name])
        assert (new.retry_of, new.on_dependency_failure) == (old.job_id, old.on_dependency_failure)
    for name in ("left", "join", "mail"):
        assert again.started() == {name}
        again.run(name)
    assert workflows.get(again.id).batch.status == "completed"
    with pytest.raises(InvalidInput, match="nothing to retry"):
        workflows.retry(again.id)
    assert differences(jobs.store) == []


def test_a_retry_of_a_retry_knows_what_completed_in_the_first(jobs: Cell, workflows: Workflows) -> None:
    played = Played.of(jobs, of(DIAMOND))
    jobs.slots(10)
    played.run("cut")
    played.run("right")
    played.run("left", "failed")
    second = Played.seen(jobs, workflows.retry(played.id))
    second.run("left", "failed")
    third = Played.seen(jobs, workflows.retry(second.id, idempotency_key="k"))
    assert workflows.retry(second.id, idempotency_key="k").replayed
    assert {node.name for node in workflows.get(third.id).nodes if node.kept} == {"cut", "right"}
    assert jobs.client.get(third.ids["left"]).depends_on == (played.ids["cut"],)
    assert jobs.client.get(third.ids["left"]).retry_of == second.ids["left"]
    for name in ("left", "join", "mail"):
        third.run(name)
    assert set(third.states().values()) == {"completed"}
    assert differences(jobs.store) == []


def test_a_retry_whose_completed_job_is_gone_is_refused(jobs: Cell, workflows: Workflows) -> None:
    played = Played.of(jobs, of(DIAMOND))
    jobs.slots(10)
    for name, outcome in (("cut", "completed"), ("right", "completed"), ("left", "failed")):
        played.run(name, outcome)
    jobs.client.delete(played.ids["right"])
    with pytest.raises(JobGone, match="join depends"):
        workflows.retry(played.id)
    # It is drawn as gone.
    drawn = workflows.get(played.id).drawn()
    assert [(one.name, one.status) for one in drawn if one.status is None] == [(played.ids["right"], None)]
    assert differences(jobs.store) == []


def test_only_a_job_that_is_given_the_same_as_before_begins_with_its_outputs(jobs: Cell, workflows: Workflows) -> None:
    keeps = Pipeline("keeps", (Stage("a", lambda context: {}), Stage("b", lambda context: {})), NoParams, needs_url=False)
    jobs.client.registry.register(keeps)
    new = replace(SLEEP, pipeline="keeps", on_dependency_failure="run")
    played = Played.of(jobs, NewWorkflow([NewNode("first", new), NewNode("behind", new, ("first",))], "acme"))
    jobs.slots(10)
    for name in ("first", "behind"):
        jobs.store.client.hset(jobs.store.keys("job", played.ids[name]), "outputs", '[["a",{},null,{}]]')
        played.run(name, "failed")
    again = Played.seen(jobs, workflows.retry(played.id))
    assert jobs.client.get(again.ids["first"]).outputs
    assert jobs.client.get(again.ids["behind"]).outputs is None


# -- what parents gave


class Bench:
    """Runs pipelines of one stage through the executor, in a workflow."""

    def __init__(self, cell: Cell, folder: Path) -> None:
        self.cell, self.registry = cell, Registry()
        self.artifacts = ArtifactStore((folder / "artifacts").as_uri(), "http://x", lambda: "k")
        self.executor = Executor(cell.store, self.registry, cell.settings, self.artifacts)
        cell.slots(10)

    def stage(self, name: str, run: Callable[[JobContext], Mapping[str, Any] | None], **options: Any) -> NewJob:
        pipeline = Pipeline(name, (Stage("s", run, **options),), NoParams, needs_url=False)
        for registry in (self.registry, self.cell.client.registry):
            registry.register(pipeline)
        return NewJob(pipeline=name)

    def run(self, job_id: str) -> Job:
        self.executor.run(job_id, self.cell.client.get(job_id).fence, "w1")
        return self.cell.client.get(job_id)


@pytest.fixture
def bench(jobs: Cell, tmp_path: Path) -> Bench:
    return Bench(jobs, tmp_path)


def gives(n: int) -> Callable[[JobContext], Mapping[str, Any]]:
    return lambda context: {"n": n}


def fails(context: JobContext) -> None:
    raise ResultGone("it is broken")


def test_a_run_reads_what_its_parents_gave_large_and_small(jobs: Cell, bench: Bench) -> None:
    seen: dict[str, Any] = {}

    def reads(context: JobContext) -> Mapping[str, Any]:
        seen.update({name: (one.status, one.error, one.result) for name, one in context.parents.items()})
        assert len(context.parents) == 3
        return {"sum": len(context.parents["large"].result["text"])}

    nodes = [
        NewNode("small", bench.stage("small", lambda context: {"n": 1})),
        NewNode("large", bench.stage("large", lambda context: {"text": "x" * 100_000})),
        NewNode("broken", bench.stage("broken", fails)),
        NewNode("reads", replace(bench.stage("reads", reads), on_dependency_failure="run"), ("small", "large", "broken")),
    ]
    played = Played.of(jobs, NewWorkflow(nodes, "acme"))
    for name in ("small", "large", "broken"):
        bench.run(played.ids[name])
    # What is above 16 kB is a file, and is in no record.
    assert "result_ref" in jobs.client.get(played.ids["large"]).result
    assert bench.run(played.ids["reads"]).result["data"] == {"sum": 100_000}
    assert seen == {
        "small": ("completed", None, {"n": 1}), "large": ("completed", None, {"text": "x" * 100_000}),
        "broken": ("failed", "it is broken", None),
    }  # fmt: skip
    # A retry waits for nobody, and reads the same.
    seen.clear()
    retried = jobs.client.retry(played.ids["reads"]).job
    assert retried.depends_on == ()
    assert bench.run(retried.job_id).result["data"] == {"sum": 100_000}
    assert len(seen) == 3


def test_a_job_without_a_name_is_a_parent_by_its_id(jobs: Cell, bench: Bench) -> None:
    first = jobs.client.submit(replace(bench.stage("first", lambda context: {"n": 1}), tenant_id="acme"))
    reads = bench.stage("reads", lambda context: {"given": {name: one.result for name, one in context.parents.items()}})
    last = jobs.client.submit(replace(reads, tenant_id="acme", depends_on=(first.job_id,)))
    bench.run(first.job_id)
    assert bench.run(last.job_id).result["data"] == {"given": {first.job_id: {"n": 1}}}
    # Of two with the same name, in two workflows, the second one is, too.
    both = [Played.of(jobs, NewWorkflow([NewNode("a", bench.stage(f"first{n}", gives(n)))], "acme")).ids["a"] for n in (1, 2)]
    for job_id in both:
        bench.run(job_id)
    last = jobs.client.submit(replace(reads, tenant_id="acme", depends_on=tuple(both)))
    given = bench.run(last.job_id).result["data"]["given"]
    assert given.keys() == {"a", both[1]}


def test_a_parent_that_was_deleted_is_said_to_be_gone(jobs: Cell, bench: Bench) -> None:
    def reads(context: JobContext) -> Mapping[str, Any]:
        (one,) = context.parents.values()
        assert one.status == "gone"
        return {"n": one.result["n"]}

    nodes = [NewNode("first", bench.stage("first", lambda context: {"n": 1})), NewNode("last", bench.stage("last", reads), ("first",))]
    played = Played.of(jobs, NewWorkflow(nodes, "acme"))
    bench.run(played.ids["first"])
    jobs.client.delete(played.ids["first"])
    # Its id may be another tenant's by now: whose result is nobody else's.
    jobs.store.submit(jobs.client.prepare(replace(SLEEP, tenant_id="other"), played.ids["first"]))
    ended = bench.run(played.ids["last"])
    assert ended.error_detail is not None
    assert ended.error_detail["code"] == "result_gone"


def test_parents_that_cannot_be_read_now_are_no_fault_of_the_job(jobs: Cell, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        NewNode("first", bench.stage("first", lambda context: {"n": 1})),
        NewNode("last", bench.stage("last", lambda context: {"n": context.parents["first"].result["n"]}), ("first",)),
    ]
    played = Played.of(jobs, NewWorkflow(nodes, "acme"))
    bench.run(played.ids["first"])

    def away(*_: Any) -> Any:
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(jobs.store, "fields_of_each", away)
        last = jobs.client.get(played.ids["last"])
        outcome = bench.executor.run(last.job_id, last.fence, "w1")
        with pytest.raises(MachineFault):
            dict(Parents(jobs.store, bench.artifacts, last))
    assert outcome.ending is Ending.REQUEUED
    assert jobs.client.get(last.job_id).status == "queued"


def test_what_parents_gave_is_part_of_what_a_stage_is_given(jobs: Cell, bench: Bench) -> None:
    """A stage whose output is used again is not given another graph's."""
    runs: list[int] = []

    def doubles(context: JobContext) -> Mapping[str, Any]:
        runs.append(1)
        return {"n": 2 * context.parents["first"].result["n"]}

    new = bench.stage("doubles", doubles, version="1")
    given = {n: bench.stage(f"first{n}", gives(n)) for n in (1, 2)}
    results = []
    for n in (1, 2, 1):
        played = Played.of(jobs, NewWorkflow([NewNode("first", given[n]), NewNode("last", new, ("first",))], "acme"))
        bench.run(played.ids["first"])
        results.append(bench.run(played.ids["last"]).result["data"])
    assert results == [{"n": 2}, {"n": 4}, {"n": 2}]
    assert len(runs) == 2


# -- how long it is kept


def let_time_pass(jobs: Cell) -> None:
    """As if the records' time were over."""
    for job_id in jobs.store.members("ended"):
        jobs.store.client.zadd(jobs.store.keys("ended"), {job_id: 1})
    jobs.store.purge()


def test_what_a_live_workflow_gave_is_not_cleaned_up(jobs: Cell, workflows: Workflows) -> None:
    played = Played.of(jobs, of(DIAMOND))
    jobs.slots(10)
    for name in ("cut", "left", "right"):
        played.run(name)
    lone = jobs.cell.batches.create(NewBatch([SLEEP] * 2, "acme"))
    jobs.client.cancel(str(lone.job_ids[0]))
    let_time_pass(jobs)
    assert set(played.states()) == set(DIAMOND)
    # Of a batch that has not ended nobody reads a result.
    assert not jobs.store.exists("job", str(lone.job_ids[0]))
    later = jobs.store.client.zscore(jobs.store.keys("ended"), played.ids["cut"])
    assert later > time.time() * 1000 + 300_000
    played.run("join", "failed")
    again = Played.seen(jobs, workflows.retry(played.id))
    let_time_pass(jobs)
    assert jobs.store.exists("job", played.ids["left"])
    again.run("join")
    again.run("mail")
    let_time_pass(jobs)
    assert [jobs.store.exists("batch", one) for one in (played.id, again.id)] == [False, False]
    assert jobs.store.members("workflows", "acme", "*") == []
    assert differences(jobs.store) == []


def test_a_workflow_that_has_ended_is_deleted_in_pages(jobs: Cell, workflows: Workflows) -> None:
    played = Played.of(jobs, of({f"n{i}": () for i in range(120)}))
    with pytest.raises(JobNotEnded):
        workflows.delete(played.id)
    workflows.cancel(played.id)
    first = workflows.delete(played.id, actor="test")
    assert (first.done, first.next_cursor is None) == (100, False)
    assert workflows.delete(played.id).done == 20
    with pytest.raises(UnknownBatch):
        workflows.delete(played.id)
    assert jobs.store.client.keys(jobs.store.keys("workflows", "*", "*")) == []
    assert differences(jobs.store) == []


# -- events


def test_the_events_of_a_workflow_are_one_stream_that_ends(jobs: Cell) -> None:
    played, other = Played.of(jobs, of({"a": (), "b": ("a",)})), Played.of(jobs, of({"x": ()}))
    hub = jobs.cell.events
    follower = hub.follow_batch(played.id, "acme", events.FEED_START)
    jobs.slots(10)
    other.run("x")
    played.run("a")
    played.run("b")
    told: list[events.Event] = []
    with follower:
        while follower.end is None:
            told += follower.next(60)
    assert follower.end is End.COMPLETE
    by_id = {job_id: name for name, job_id in played.ids.items()} | {played.id: "all"}
    assert [(by_id[event.job_id], event.type.value) for event in told] == [
        ("a", "job.created"), ("b", "job.created"), ("a", "job.started"), ("a", "job.completed"), ("b", "job.started"),
        ("b", "job.completed"), ("all", "batch.completed"),
    ]  # fmt: skip
    # A page of it, from a place of the tenant's feed on.
    found = events.feed(jobs.store, "acme", str(told[3].feed_id), batch_id=played.id)
    assert [event.id for event in found.events] == [event.id for event in told[4:]]
    assert (found.ended, found.gone, found.more) == (True, False, False)
    assert events.feed(jobs.store, "acme", batch_id="batch_1_00000000").gone
    jobs.cell.workflows.delete(played.id)
    with hub.follow_batch(played.id, "acme", events.FEED_START) as late:
        assert (list(late.next(60)), late.end) == ([], End.GONE)
    until(lambda: hub._thread is None, "the hub's thread to end")


def test_its_webhook_says_that_it_was_a_workflow(jobs: Cell) -> None:
    jobs.cell.webhooks.endpoints.create("acme", "https://hooks.example/x", events=["batch.completed"])
    played = Played.of(jobs, of({"a": ()}))
    jobs.cell.workflows.cancel(played.id)
    (row,) = jobs.cell.webhooks.ledger.of_subject(played.id)
    event_id = jobs.store.client.hget(jobs.store.keys("delivery", row.delivery_id), "event_id")
    assert jobs.store.client.hget(jobs.store.keys("webhook_event", str(event_id)), "workflow") == "1"


def test_a_parent_as_a_test_makes_it() -> None:
    assert Parent("job_1", "completed", read=lambda: {"n": 1}).result == {"n": 1}
    assert json.dumps(Parent("job_1", "gone").result) == "null"
