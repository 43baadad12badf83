"""One attempt of one job, on a real store, without Celery."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import InternalError, NoAudio, SourceUnavailable, StoreUnavailable
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import Job, NewJob, dumps
from pipeline_jobs.jobs import patience
from pipeline_jobs.jobs.executor import Ending, Executor, Outcome
from pipeline_jobs.jobs.outputs import FOLDER
from pipeline_jobs.jobs.results import MAX_RESULT, fetch
from pipeline_jobs.pipelines import NoParams, Pipeline, Registry, Stage
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import TenantContext, current_tenant
from tests.integration.conftest import Cell
from tests.integration.recount import differences
from tests.waiting import until

StageFunction = Callable[[JobContext], Mapping[str, Any] | None]


class Bench:
    """Runs one pipeline of given stages through the executor."""

    def __init__(self, cell: Cell, folder: Path) -> None:
        self.cell, self.folder = cell, folder
        self.artifacts = ArtifactStore((folder / "artifacts").as_uri(), "http://x", lambda: "k")
        self.registry = Registry()
        self.executor = Executor(cell.store, self.registry, cell.settings, self.artifacts)

    def dispatched(self, *stages: StageFunction | Stage, max_attempts: int = 1) -> Job:
        named = (stage if isinstance(stage, Stage) else Stage(f"s{i}", stage) for i, stage in enumerate(stages))
        pipeline = Pipeline("p", tuple(named), NoParams, needs_url=False)
        self.registry.register(pipeline)
        self.cell.client.registry.register(pipeline)
        self.cell.slots(5)
        return self.cell.client.submit(NewJob(pipeline="p", tenant_id="acme", max_attempts=max_attempts))

    def run(self, *stages: StageFunction | Stage, **options: int) -> tuple[Job, Outcome]:
        job = self.dispatched(*stages, **options)
        outcome = self.executor.run(job.job_id, job.fence, "w1")
        return self.cell.client.get(job.job_id), outcome

    def published(self) -> list[str]:
        root = self.folder / "artifacts"
        names = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
        return [name for name in names if f"/{FOLDER}/" not in name]


@pytest.fixture
def bench(jobs: Cell, tmp_path: Path) -> Bench:
    return Bench(jobs, tmp_path)


def publish(context: JobContext) -> Mapping[str, Any]:
    path = context.workdir / "a.txt"
    path.write_text("hello")
    return {"link": context.publish(path, "a.txt")}


def publish_nothing(context: JobContext) -> Mapping[str, Any]:
    path = context.workdir / "empty.txt"
    path.touch()
    return {"link": context.publish(path, "empty.txt")}


@pytest.mark.parametrize("published", [publish, publish_nothing])
def test_what_a_run_published_goes_with_its_job(bench: Bench, published: StageFunction) -> None:
    job, _ = bench.run(published)
    assert len(bench.published()) == 1
    bench.cell.client.delete(job.job_id)
    assert bench.cell.store.take_trash() == [f"acme/main/{job.job_id}/{job.fence}"]


@pytest.mark.parametrize("published", [publish, publish_nothing])
def test_a_run_that_gave_up_after_a_finish_that_was_done_takes_no_file_of_the_completed_job(
    bench: Bench, published: StageFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Store.finish

    def answer_lost(store: Store, *args: Any, **kwargs: Any) -> None:
        done(store, *args, **kwargs)
        raise StoreUnavailable("its answer is lost")

    monkeypatch.setattr(patience, "FINISH_PATIENCE", 0.0)
    monkeypatch.setattr(Store, "finish", answer_lost)
    job, outcome = bench.run(published)
    assert (outcome.ending, job.status) == (Ending.GAVE_UP, JobStatus.COMPLETED)
    # What the worker's main process says of it when the store is back (its lease, longer than the run's patience, is good still).
    assert bench.cell.store.requeue(job.job_id, job.fence, "fault") is None
    assert (bench.cell.store.take_trash(), len(bench.published())) == ([], 1)


@pytest.mark.parametrize("published", [publish, publish_nothing])
@pytest.mark.parametrize("ended", ["failed", "cancelled", "deleted"])
def test_a_run_that_slept_while_its_job_was_ended_leaves_no_file(bench: Bench, published: StageFunction, ended: str) -> None:
    cell = bench.cell.with_settings(max_crashes=1)

    def is_lost(job_id: str) -> bool:
        cell.let_leases_end()
        cell.store.rescue()
        return cell.client.get(job_id).status is not JobStatus.RUNNING

    def sleeps(context: JobContext) -> None:
        if ended == "cancelled":
            cell.client.cancel(context.job_id)
        # Between the two steps the thread that watches the run may write its progress, which renews the lease.
        until(lambda: is_lost(context.job_id), "the job to be lost")
        if ended == "deleted":
            cell.client.delete(context.job_id)
        # What was there is thrown away, before it wakes up.
        assert cell.store.take_trash()
        cell.store.client.delete(cell.store.keys("trash"))

    job = bench.dispatched(sleeps, published)
    outcome = bench.executor.run(job.job_id, job.fence, "w1")
    # `fenced` too where the watch of the run was quicker than its `finish` to ask.
    assert outcome.ending in {Ending.FENCED, *([Ending(ended)] if ended != "deleted" else [])}
    for folder in cell.store.take_trash():
        bench.artifacts.delete_prefix(folder)
    assert bench.published() == []


def test_the_stages_run_in_order_for_their_tenant_and_hand_on_what_they_give(bench: Bench) -> None:
    def first(context: JobContext) -> Mapping[str, Any]:
        assert current_tenant() == TenantContext("acme")
        (context.workdir / "left behind").touch()
        return {"n": 1}

    job, outcome = bench.run(first, lambda context: {"n": context.data["n"] + 1, "stage": context.stage})
    assert outcome.ending is Ending.COMPLETED
    assert job.result == outcome.result == {"success": True, "data": {"n": 2, "stage": "s1"}}
    assert not list(bench.cell.settings.work_dir.iterdir())
    assert current_tenant() is None


def test_a_run_that_asks_for_no_folder_makes_none(bench: Bench) -> None:
    job, _ = bench.run(lambda context: {"n": 1}, lambda context: {"folders": len(list(bench.cell.settings.work_dir.glob("*")))})
    assert job.result == {"success": True, "data": {"n": 1, "folders": 0}}


def test_artifacts_are_pointed_to_counted_and_kept_apart_by_fence(bench: Bench) -> None:
    job, _ = bench.run(publish)
    assert job.artifacts == f"acme/main/{job.job_id}/{job.fence}"
    assert (job.artifact_bytes, bench.cell.store.tenant_bytes("acme")) == (5, 5)
    assert bench.published() == [f"{job.artifacts}/a.txt"]


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (NoAudio(), "no_audio", "The media has no audio to transcribe."),
        (InternalError("x"), "internal_error", "x"),
        (ZeroDivisionError("division by zero"), "internal_error", "ZeroDivisionError: division by zero"),
        (MemoryError(), "out_of_memory", "The job needed more memory than this server permits."),
    ],
)
def test_a_failing_stage_fails_the_job_with_its_code_and_leaves_no_artifact(bench: Bench, error: Exception, code: str, text: str) -> None:
    def fail(context: JobContext) -> None:
        raise error

    job, outcome = bench.run(publish, fail)
    assert (outcome.ending, job.status, job.error) == (Ending.FAILED, JobStatus.FAILED, text)
    assert job.error_detail == {"code": code, "message": text, "stage": "s1", "retryable": False}
    assert (bench.published(), job.artifacts) == ([], None)


def test_a_result_that_is_not_json_is_an_error_of_the_pipeline(bench: Bench) -> None:
    job, _ = bench.run(lambda context: {"x": {1, 2}})
    assert job.status is JobStatus.FAILED
    assert "JSON" in (job.error or "")


def test_a_retryable_failure_goes_back_until_the_attempts_are_used_up(bench: Bench) -> None:
    def down(context: JobContext) -> None:
        raise SourceUnavailable("down")

    job, outcome = bench.run(down, max_attempts=2)
    assert (outcome.ending, job.status, job.reason) == (Ending.REQUEUED, JobStatus.QUEUED, "retry")
    bench.cell.store.client.zadd(bench.cell.store.keys("delayed"), {job.job_id: 1})
    bench.cell.slots(5)
    again = bench.executor.run(job.job_id, job.fence + 1, "w1")
    ended = bench.cell.client.get(job.job_id)
    assert (again.ending, ended.status, ended.attempt) == (Ending.FAILED, JobStatus.FAILED, 2)
    assert ended.error_detail is not None
    assert ended.error_detail["code"] == "source_unavailable"


def test_a_cancel_reaches_the_stage_and_its_artifacts_go(bench: Bench) -> None:
    def wait(context: JobContext) -> None:
        bench.cell.client.cancel(context.job_id)
        while True:
            context.check_cancelled()
            threading.Event().wait(0.01)

    job, outcome = bench.run(publish, wait)
    assert (outcome.ending, job.status, bench.published()) == (Ending.CANCELLED, JobStatus.CANCELLED, [])


def test_a_finish_after_a_cancel_ends_cancelled_and_the_artifacts_go(bench: Bench) -> None:
    def cancel(context: JobContext) -> None:
        bench.cell.client.cancel(context.job_id)

    job, outcome = bench.run(publish, cancel)
    assert (outcome.ending, job.status, job.result) == (Ending.CANCELLED, JobStatus.CANCELLED, None)
    assert bench.cell.store.take_trash() == [f"acme/main/{job.job_id}/{job.fence}"]


@pytest.mark.parametrize("published", [publish, publish_nothing])
def test_a_run_whose_job_was_taken_away_leaves_nothing(bench: Bench, published: StageFunction) -> None:
    def slow(context: JobContext) -> None:
        # Of a machine that stood still a rescue lengthens the leases first.
        until(lambda: bench.cell.let_leases_end() or bench.cell.store.rescue(), "the run to be taken away")
        while True:
            context.check_cancelled()
            threading.Event().wait(0.01)

    job, outcome = bench.run(published, slow)
    assert (outcome.ending, job.status, job.crashes) == (Ending.FENCED, JobStatus.QUEUED, 1)
    assert bench.published() == []
    assert differences(bench.cell.store) == []


def test_a_hint_without_a_right_runs_nothing(bench: Bench) -> None:
    job = bench.dispatched(lambda context: None)
    ran = bench.executor.run(job.job_id, job.fence + 1, "w1")
    assert (ran.ending, ran.error) == (Ending.REFUSED, "stale")
    bench.executor.run(job.job_id, job.fence, "w1")
    assert bench.executor.run(job.job_id, job.fence, "w1") == Outcome(Ending.REFUSED, error="completed")


def test_a_worker_that_does_not_know_the_pipeline_gives_the_job_back_uncounted(bench: Bench) -> None:
    job = bench.cell.running()
    bench.cell.store.requeue(job.job_id, job.fence, "handback")
    outcome = bench.executor.run(job.job_id, job.fence + 1, "w1")
    assert (outcome.ending, outcome.error) == (Ending.REFUSED, "pipeline")
    waiting = bench.cell.client.get(job.job_id)
    assert (waiting.status, waiting.error_detail, waiting.handbacks) == (JobStatus.QUEUED, None, 1)


def test_a_finish_is_repeated_while_the_store_is_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    finish, calls = bench.cell.store.finish, []

    def flaky(*args: Any, **kwargs: Any) -> JobStatus | None:
        calls.append(args)
        if len(calls) < 3:
            raise StoreUnavailable
        return finish(*args, **kwargs)

    monkeypatch.setattr(bench.cell.store, "finish", flaky)
    job, outcome = bench.run(lambda context: None)
    assert (outcome.ending, len(calls)) == (Ending.COMPLETED, 3)
    assert job.status is JobStatus.COMPLETED


@pytest.mark.parametrize("character", ["x", "\u00e9", "\u6e2f"])
def test_a_result_that_is_too_large_fails_and_one_at_the_limit_is_kept(bench: Bench, character: str) -> None:
    around = len(dumps({"success": True, "data": {"text": ""}}))
    room = (MAX_RESULT - around) // len(character.encode())
    sizes = [room, room + 1]

    def large(context: JobContext) -> Mapping[str, Any]:
        return {"text": character * sizes.pop(0)}

    kept, _ = bench.run(large, max_attempts=3)
    assert kept.status is JobStatus.COMPLETED
    assert fetch(bench.artifacts, kept.job_id, kept.result)["data"]["text"] == character * room
    # One try: another would come to the same end.
    failed, outcome = bench.run(large, max_attempts=3)
    assert (failed.status, outcome.ending, failed.attempt) == (JobStatus.FAILED, Ending.FAILED, 1)
    assert failed.error_detail is not None
    assert failed.error_detail["code"] == "result_too_large"
    assert str(MAX_RESULT) in str(failed.error)
    assert failed.result is None
    assert differences(bench.cell.store) == []


def test_in_process_runs_keep_no_record_and_clean_up_after_their_time(bench: Bench) -> None:
    bench.dispatched(publish)
    job = bench.cell.client.prepare(NewJob(pipeline="p", tenant_id="acme"))
    result = bench.executor.run_in_process(job)
    assert result.success
    assert bench.published() == [f"acme/main/{job.job_id}/0/a.txt"]
    assert not bench.cell.store.client.exists(bench.cell.store.keys("job", job.job_id))
    shutil.rmtree(bench.folder / "artifacts")
