"""A retry begins where the run before it failed: with the data and the files of the stages that succeeded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import InvalidInput, JobNotEnded, KeyReused, NoAudio, SourceUnavailable, UnknownJob
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.executor import Executor
from pipeline_jobs.jobs.outputs import FOLDER, SMALL
from pipeline_jobs.operation.maintenance import Purge
from pipeline_jobs.pipelines import NoParams, Pipeline, Stage
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.recount import differences


class World:
    """A pipeline `p` of three stages: `fetch` makes files, `think` gives data, `publish` publishes; each can be told to fail."""

    def __init__(self, cell: Cell, folder: Path) -> None:
        self.cell, self.folder = cell, folder
        self.artifacts = ArtifactStore(folder.as_uri(), "http://x", lambda: "k")
        self.ran: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.thought: Any = {"n": 1}
        stages = (
            Stage("fetch", self.stage(self.fetch)),
            Stage("think", self.stage(self.think)),
            Stage("publish", self.stage(self.publish)),
        )
        cell.client.registry.register(Pipeline("p", stages, NoParams, needs_url=False))
        self.use(cell)

    def use(self, cell: Cell) -> None:
        self.executor = Executor(cell.store, self.cell.client.registry, cell.settings, self.artifacts)

    def stage(self, run: Callable[[JobContext], Mapping[str, Any]]) -> Callable[[JobContext], Mapping[str, Any]]:
        def staged(context: JobContext) -> Mapping[str, Any]:
            self.ran.append(run.__name__)
            if run.__name__ in self.fails:
                raise self.fails[run.__name__]
            return run(context)

        return staged

    def fetch(self, context: JobContext) -> Mapping[str, Any]:
        (context.workdir / "sub").mkdir()
        (context.workdir / "source").write_bytes(b"film")
        (context.workdir / "sub" / "more").write_bytes(b"")
        return {"source": "source", "path": str(context.workdir / "source")}

    def think(self, context: JobContext) -> Mapping[str, Any]:
        assert Path(context.data["path"]).read_bytes() == b"film"
        assert (context.workdir / "sub" / "more").exists()
        (context.workdir / "source").write_bytes(b"other film")
        return {"thought": self.thought}

    def publish(self, context: JobContext) -> Mapping[str, Any]:
        link = context.publish(context.workdir / context.data["source"], "film")
        return {"link": link, "read": (context.workdir / "source").read_text(), "thought": context.data["thought"]}

    def run(self, job: Job) -> Job:
        """Run it as a worker does, and give its record."""
        self.ran.clear()
        self.cell.slots(5)
        self.executor.run(job.job_id, self.cell.client.get(job.job_id).fence, "w1")
        assert differences(self.cell.store) == []
        return self.cell.client.get(job.job_id)

    def ended(self, **fields: Any) -> Job:
        return self.run(self.cell.client.submit(NewJob(**{"pipeline": "p", "tenant_id": "acme", **fields})))

    def retried(self, job: Job, **options: Any) -> Job:
        return self.run(self.cell.client.retry(job.job_id, **options).job)

    def blobs(self) -> list[bytes]:
        return sorted(path.read_bytes() for path in (self.folder / "acme" / FOLDER).glob("*"))


@pytest.fixture
def world(jobs: Cell, tmp_path: Path) -> World:
    return World(jobs, tmp_path / "artifacts")


def test_stages_that_succeeded_are_not_run_again(world: World) -> None:
    world.fails = {"publish": NoAudio()}
    failed = world.ended(priority=3, tags=("x",), metadata={"a": 1}, deadline_seconds=500)
    assert (failed.status, world.ran) == (JobStatus.FAILED, ["fetch", "think", "publish"])
    world.fails = {}
    job = world.retried(failed)
    assert (job.status, world.ran) == (JobStatus.COMPLETED, ["publish"])
    assert job.retry_of == failed.job_id
    assert job.result["data"]["read"] == "other film"
    assert job.result["data"]["thought"] == {"n": 1}
    assert (job.priority, job.tags, job.metadata) == (3, ("x",), {"a": 1})
    assert (job.deadline_at or 0) - job.created_at == 500_000
    assert world.cell.client.get(failed.job_id) == failed


def test_a_retry_of_a_retry_goes_on_from_there(world: World) -> None:
    world.fails = {"think": NoAudio()}
    first = world.ended()
    world.fails = {"publish": NoAudio()}
    second = world.retried(first)
    assert world.ran == ["think", "publish"]
    world.fails = {}
    third = world.retried(second)
    assert (world.ran, third.status, third.retry_of) == (["publish"], JobStatus.COMPLETED, second.job_id)


@pytest.mark.parametrize(
    ("from_stage", "ran"), [("fetch", ["fetch", "think", "publish"]), ("think", ["think", "publish"]), ("publish", ["publish"])]
)
def test_from_a_stage_on(world: World, from_stage: str, ran: list[str]) -> None:
    job = world.retried(world.ended(), from_stage=from_stage)
    assert (world.ran, job.status) == (ran, JobStatus.COMPLETED)


def test_of_a_completed_job_the_last_stage_runs_again(world: World) -> None:
    assert world.retried(world.ended()).status is JobStatus.COMPLETED
    assert world.ran == ["publish"]


def test_what_does_not_fit_into_the_record_is_kept_apart(world: World) -> None:
    world.thought = "x" * SMALL
    world.fails = {"publish": NoAudio()}
    failed = world.ended()
    assert "xxx" not in str(failed.outputs)
    world.fails = {}
    assert world.retried(failed).result["data"]["thought"] == world.thought


@pytest.mark.parametrize("more", [0, SMALL])
def test_text_of_a_stage_that_looks_like_the_mark_of_the_folder_comes_back_as_it_was(world: World, more: int) -> None:
    world.thought = {
        "@WORKDIR@": ["@WORKDIR@", "a@WORKDIR@WORKDIR@/b", "@WORKDIR", "@WORKDIR\x01@", "\\u0001@WORKDIR\\u0001"],
        "more": "x" * more,
    }
    world.fails = {"publish": NoAudio()}
    failed = world.ended()
    world.fails = {}
    job = world.retried(failed)
    assert (job.status, world.ran) == (JobStatus.COMPLETED, ["publish"])
    assert job.result["data"]["thought"] == world.thought


def test_outputs_are_kept_once_and_go_with_the_last_record_that_names_them(world: World) -> None:
    world.fails = {"publish": NoAudio()}
    first = world.ended()
    second = world.retried(first)
    other = world.ended()
    assert world.blobs() == [b"", b"film", b"other film"]
    assert world.cell.store.tenant_bytes("acme") == len(b"filmother film")
    purge = Purge(world.cell.store, world.artifacts, world.cell.settings)
    for job, left in ((first, 3), (other, 3), (second, 0)):
        world.cell.client.delete(job.job_id)
        purge.run_once()
        assert len(world.blobs()) == left
        assert differences(world.cell.store) == []
    assert world.cell.store.tenant_bytes("acme") == 0


def test_an_output_that_is_gone_costs_time_and_nothing_else(world: World) -> None:
    world.fails = {"publish": NoAudio()}
    failed = world.ended()
    for path in (world.folder / "acme" / FOLDER).glob("*"):
        path.unlink()
    world.fails = {}
    job = world.retried(failed)
    assert (world.ran, job.status) == (["fetch", "think", "publish"], JobStatus.COMPLETED)


def test_a_retry_that_waits_keeps_what_it_needs_when_the_old_job_goes(world: World) -> None:
    world.fails = {"publish": NoAudio()}
    failed = world.ended()
    world.cell.slots(0)
    again = world.cell.client.retry(failed.job_id).job
    world.cell.client.delete(failed.job_id)
    Purge(world.cell.store, world.artifacts, world.cell.settings).run_once()
    world.fails = {}
    assert world.run(again).status is JobStatus.COMPLETED
    assert world.ran == ["publish"]


def test_the_next_attempt_and_a_rescued_run_use_them_too(world: World) -> None:
    world.fails = {"publish": SourceUnavailable()}
    job = world.ended(max_attempts=2)
    assert job.status is JobStatus.QUEUED
    world.cell.store.client.zadd(world.cell.store.keys("delayed"), {job.job_id: 1})
    world.fails = {}
    assert world.run(job).status is JobStatus.COMPLETED
    assert world.ran == ["publish"]


def test_too_large_an_output_is_not_kept_nor_is_what_follows(world: World) -> None:
    world.use(world.cell.with_settings(keep_stage_bytes=3))
    world.fails = {"publish": NoAudio()}
    failed = world.ended()
    assert (failed.outputs, (world.folder / "acme" / FOLDER).exists()) == (None, False)
    world.fails = {}
    assert world.retried(failed).status is JobStatus.COMPLETED
    assert world.ran == ["fetch", "think", "publish"]


def test_a_stage_that_is_not_reusable_runs_again(jobs: Cell, tmp_path: Path) -> None:
    ran: list[str] = []

    def staged(name: str) -> Stage:
        return Stage(name, lambda context: ran.append(name), reusable=name != "b")

    jobs.client.registry.register(Pipeline("q", tuple(map(staged, "abcd")), NoParams, needs_url=False))
    executor = Executor(jobs.store, jobs.client.registry, jobs.settings, ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k"))
    jobs.slots(5)
    job = jobs.client.submit(NewJob(pipeline="q"))
    executor.run(job.job_id, job.fence, "w1")
    ran.clear()
    again = jobs.client.retry(job.job_id).job
    executor.run(again.job_id, again.fence, "w1")
    assert ran == ["b", "c", "d"]


def test_a_pipeline_of_one_stage_keeps_nothing(jobs: Cell, tmp_path: Path) -> None:
    jobs.client.registry.register(Pipeline("one", (Stage("a", lambda context: {"n": 1}),), NoParams, needs_url=False))
    jobs.slots(5)
    job = jobs.client.submit(NewJob(pipeline="one"))
    Executor(jobs.store, jobs.client.registry, jobs.settings, ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k")).run(
        job.job_id, 1, "w1"
    )
    assert "outputs" not in jobs.store.client.hgetall(jobs.store.keys("job", job.job_id))


def test_what_cannot_be_retried(world: World) -> None:
    waiting = world.cell.client.submit(NewJob(pipeline="p", tenant_id="acme"))
    with pytest.raises(JobNotEnded):
        world.cell.client.retry(waiting.job_id)
    with pytest.raises(UnknownJob):
        world.cell.client.retry("job_1_00000000")
    world.cell.client.cancel(waiting.job_id)
    with pytest.raises(InvalidInput, match="fetch, think, publish") as refused:
        world.cell.client.retry(waiting.job_id, from_stage="sing")
    assert refused.value.field == "from_stage"
    assert world.retried(waiting).status is JobStatus.COMPLETED


def test_a_key_makes_one_retry(world: World) -> None:
    old = world.ended()
    first = world.cell.client.retry(old.job_id, idempotency_key="k")
    again = world.cell.client.retry(old.job_id, idempotency_key="k")
    assert (again.job.job_id, first.replayed, again.replayed) == (first.job.job_id, False, True)
    with pytest.raises(KeyReused):
        world.cell.client.retry(old.job_id, from_stage="think", idempotency_key="k")
    # Of submits it is another key.
    world.cell.client.submit(NewJob(pipeline="p", tenant_id="acme"), idempotency_key="k")


def test_a_run_that_lost_its_job_writes_no_outputs(world: World) -> None:
    job = world.cell.running(tenant_id="acme")
    assert not world.cell.store.keep_outputs(job.job_id, job.fence + 1, "[]", "a-1")
    assert world.cell.store.keep_outputs(job.job_id, job.fence, "[]", "a-1")
    assert world.cell.store.keep_outputs(job.job_id, job.fence, "[]", "a-1")
    assert world.cell.store.client.hgetall(world.cell.store.keys("outputs", "acme")) == {"a-1": "1"}
    assert world.cell.store.keep_outputs(job.job_id, job.fence, "[]", "")
    assert differences(world.cell.store) == []
    assert world.cell.store.take_trash() == [f"acme/{FOLDER}/a-1"]


class Death(BaseException):
    """Stands for the death of the process: nothing of the run is told or written after it."""


@pytest.mark.parametrize("how", ["crash", "handback", "fault"])
def test_a_stage_with_small_data_and_no_files_is_not_run_again_after_a_crash_or_a_hand_back(jobs: Cell, tmp_path: Path, how: str) -> None:
    ran: list[str] = []

    def a(context: JobContext) -> Mapping[str, Any]:
        ran.append("a")
        return {"n": 1}

    def b(context: JobContext) -> Mapping[str, Any]:
        ran.append("b")
        if len(ran) == 2:
            raise Death
        return {"n": context.data["n"] + 1}

    jobs.client.registry.register(Pipeline("two", (Stage("a", a), Stage("b", b)), NoParams, needs_url=False))
    executor = Executor(jobs.store, jobs.client.registry, jobs.settings, ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k"))
    jobs.slots(5)
    job = jobs.client.submit(NewJob(pipeline="two"))
    with pytest.raises(Death):
        executor.run(job.job_id, job.fence, "w1")
    assert jobs.store.requeue(job.job_id, job.fence, how) is JobStatus.QUEUED
    jobs.store.client.zadd(jobs.store.keys("delayed"), {job.job_id: 1}, xx=True)
    jobs.store.rescue()
    executor.run(job.job_id, job.fence + 1, "w1")
    assert (ran, jobs.client.get(job.job_id).result["data"]) == (["a", "b", "b"], {"n": 2})
    assert differences(jobs.store) == []


def test_a_pipeline_of_one_stage_pays_no_round_trip_for_it(jobs: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    run = jobs.store.run
    monkeypatch.setattr(jobs.store, "run", lambda name, *arguments, **options: called.append(name) or run(name, *arguments, **options))
    jobs.client.registry.register(Pipeline("one", (Stage("a", lambda context: {"n": 1}),), NoParams, needs_url=False))
    two = (Stage("a", lambda context: {"n": 1}), Stage("b", lambda context: None))
    jobs.client.registry.register(Pipeline("two", two, NoParams, needs_url=False))
    executor = Executor(jobs.store, jobs.client.registry, jobs.settings, ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k"))
    jobs.slots(5)
    told = {}
    for pipeline in ("one", "two"):
        job = jobs.client.submit(NewJob(pipeline=pipeline))
        called.clear()
        executor.run(job.job_id, job.fence, "w1")
        # On a slow machine the run's progress may be written meanwhile.
        told[pipeline] = [name for name in called if name != "progress"]
    assert told == {"one": ["claim", "finish"], "two": ["claim", "keep_outputs", "finish"]}


def test_an_output_that_cannot_be_kept_costs_time_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    world.thought = "x" * (SMALL + 1)
    monkeypatch.setattr("pipeline_jobs.jobs.outputs.tempfile.NamedTemporaryFile", full)
    assert world.ended().status is JobStatus.COMPLETED
