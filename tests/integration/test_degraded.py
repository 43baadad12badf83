"""A stage that fails without failing its job, and the warnings of stages: in the result, as events, in a retry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.events import log
from pipeline_jobs.events.event_types import EventType
from pipeline_jobs.exceptions import (
    BadParameters,
    ConfigurationError,
    JobCancelled,
    NoAudio,
    OutOfMemory,
    PublishError,
    SourceUnavailable,
    StoreUnavailable,
)
from pipeline_jobs.job import Job
from pipeline_jobs.jobs import stage_runs
from pipeline_jobs.jobs.executor import Ending
from pipeline_jobs.pipelines import OnError, Pipeline, Stage
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.test_executor import Bench, publish
from tests.integration.test_faults import again, waits_uncounted

NO_AUDIO = "no_audio: The media has no audio to transcribe. (stage hear)"


@pytest.fixture
def bench(jobs: Cell, tmp_path: Path) -> Bench:
    return Bench(jobs, tmp_path)


def hearing(error: Exception | None, how: OnError | Callable[[Mapping[str, Any]], OnError] = "warn") -> Stage:
    """A stage that fails, in its first runs or in all; the later ones have "" from it then."""

    def hear(context: JobContext) -> Mapping[str, Any]:
        if error is not None:
            raise error
        return {"heard": "words"}

    return Stage("hear", hear, on_error=how, instead={"heard": ""})


def sum_up(context: JobContext) -> Mapping[str, Any]:
    return {"sum": len(context.data["heard"])}


def told(bench: Bench, job: Job) -> list[str]:
    """The warnings among the job's events."""
    page = log.read(bench.cell.store, job.job_id)
    return [event.data["message"] for event in page.events if event.type is EventType.WARNING]


def test_a_stage_that_may_fail_costs_a_warning_and_the_later_stages_go_on(bench: Bench) -> None:
    job, _ = bench.run(hearing(NoAudio()), sum_up)
    assert job.status is JobStatus.COMPLETED, job.error
    assert job.result["data"] == {"heard": "", "sum": 0, "warnings": [NO_AUDIO], "degraded": ["hear"]}
    assert told(bench, job) == [NO_AUDIO]
    assert [event.data["stage"] for event in log.read(bench.cell.store, job.job_id).events if event.type is EventType.WARNING] == ["hear"]


def test_one_that_is_skipped_is_told_by_an_event_only(bench: Bench) -> None:
    job, _ = bench.run(hearing(NoAudio(), "skip"), sum_up)
    assert job.result["data"] == {"heard": "", "sum": 0, "degraded": ["hear"]}
    assert told(bench, job) == [NO_AUDIO]


def test_the_params_of_a_job_may_choose(bench: Bench) -> None:
    job, _ = bench.run(hearing(NoAudio(), lambda params: "fail" if not params else "warn"), sum_up)
    assert (job.status, (job.error_detail or {})["code"]) == (JobStatus.FAILED, "no_audio")


@pytest.mark.parametrize("error", [BadParameters("params.language: nobody knows it"), JobCancelled()])
def test_a_mistake_of_the_request_and_a_stop_are_passed_over_by_no_stage(bench: Bench, error: Any) -> None:
    job, _ = bench.run(hearing(error), sum_up)
    assert job.status in (JobStatus.FAILED, JobStatus.CANCELLED)


def test_what_is_this_machines_fault_is_no_fault_of_a_stage_that_may_fail(bench: Bench) -> None:
    job, outcome = bench.run(hearing(StoreUnavailable()), sum_up)
    waits_uncounted(bench, job, outcome)


def test_what_may_pass_is_tried_again_before_the_job_goes_on_without_it(bench: Bench) -> None:
    job, outcome = bench.run(hearing(SourceUnavailable("down")), sum_up, max_attempts=2)
    assert (outcome.ending, told(bench, job)) == (Ending.REQUEUED, [])
    ended = again(bench, job)
    assert (ended.status, ended.result["data"]["degraded"], len(told(bench, ended))) == (JobStatus.COMPLETED, ["hear"], 1)


def test_an_error_that_nobody_expected_costs_no_more(bench: Bench) -> None:
    job, _ = bench.run(hearing(ZeroDivisionError("division by zero")), sum_up)
    assert job.result["data"]["warnings"] == ["internal_error: ZeroDivisionError: division by zero (stage hear)"]


def test_warnings_of_all_stages_are_in_the_result_whatever_it_picks(bench: Bench) -> None:
    stages = (
        Stage("a", lambda context: {"x": 1, "warnings": ["odd: A thing is odd.", "odd: Another one."]}),
        Stage("b", lambda context: {"x": 2, "warnings": []}),
        Stage("c", lambda context: {"warnings": ["odder: " + "o" * 1000] * 100}),
    )
    pipeline = Pipeline("picks", stages, needs_url=False, result=lambda data: {"x": data["x"]})
    bench.registry.register(pipeline)
    bench.cell.client.registry.register(pipeline)
    bench.cell.slots(5)
    job = bench.cell.submit(pipeline="picks", tenant_id="acme")
    bench.executor.run(job.job_id, job.fence, "w1")
    job = bench.cell.client.get(job.job_id)
    warnings = job.result["data"]["warnings"]
    assert (job.result["data"]["x"], warnings[:2]) == (2, ["odd: A thing is odd.", "odd: Another one."])
    assert [len(text) for text in warnings[2:]] == [stage_runs.MAX_WARNING] * stage_runs.MAX_WARNINGS
    assert told(bench, job) == warnings


def test_a_pipeline_that_calls_something_else_warnings_keeps_it(bench: Bench) -> None:
    job, _ = bench.run(lambda context: {"warnings": 3}, lambda context: {"warnings": {"a": 1}})
    assert job.result["data"] == {"warnings": {"a": 1}}
    assert told(bench, job) == []


def test_a_client_that_runs_the_job_again_has_the_failed_stage_run_again(bench: Bench) -> None:
    ran: list[str] = []

    def noted(name: str, error: list[Exception] | None = None) -> Stage:
        def run(context: JobContext) -> Mapping[str, Any]:
            ran.append(name)
            if error:
                raise error.pop()
            return {name: True}

        return Stage(name, run, on_error="warn" if error else "fail")

    job, _ = bench.run(noted("fetch"), noted("hear", [NoAudio()]), noted("sum"))
    assert (job.result["data"]["degraded"], ran) == (["hear"], ["fetch", "hear", "sum"])
    ran.clear()
    bench.cell.slots(5)
    retried = bench.cell.client.retry(job.job_id).job
    bench.executor.run(retried.job_id, retried.fence, "w1")
    ended = bench.cell.client.get(retried.job_id)
    assert (ended.result["data"], ran) == ({"fetch": True, "hear": True, "sum": True}, ["hear", "sum"])


def test_another_attempt_of_the_same_job_keeps_what_was_given_up_and_its_warning(bench: Bench) -> None:
    down = [SourceUnavailable("down")]

    def publishes(context: JobContext) -> Mapping[str, Any]:
        if down:
            raise down.pop()
        return {}

    job, _ = bench.run(hearing(OutOfMemory()), publishes, max_attempts=2)
    ended = again(bench, job)
    assert (ended.status, ended.result["data"]["degraded"], len(ended.result["data"]["warnings"])) == (JobStatus.COMPLETED, ["hear"], 1)
    assert len(told(bench, ended)) == 1, "it was told in the first attempt"


def test_while_the_artifact_store_is_away_the_stage_waits_with_the_work_done(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_runs, "STORE_PAUSE", 0.0)
    ran: list[str] = []
    folder = bench.folder / "artifacts"

    def work(context: JobContext) -> None:
        ran.append("work")
        folder.write_text("a file where a folder should be")

    def publishes(context: JobContext) -> Mapping[str, Any]:
        ran.append("publish")
        if len(ran) == 4:
            folder.unlink()
        return publish(context)

    job, outcome = bench.run(work, publishes)
    assert (outcome.ending, ran) == (Ending.COMPLETED, ["work", "publish", "publish", "publish"])
    assert (job.attempt, job.handbacks, bench.published()) == (1, 0, [f"{job.artifacts}/a.txt"])


def test_a_cancel_ends_the_wait_for_the_artifact_store(bench: Bench) -> None:
    (bench.folder / "artifacts").write_text("a file where a folder should be")

    def publishes(context: JobContext) -> Mapping[str, Any]:
        bench.cell.client.cancel(context.job_id)
        return publish(context)

    job, _ = bench.run(publishes)
    assert job.status is JobStatus.CANCELLED


def test_a_store_error_of_a_stage_that_may_fail_is_passed_over_where_the_store_is_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_runs, "STORE_PAUSE", 0.0)
    monkeypatch.setattr(stage_runs, "STORE_PATIENCE", 1.0)
    ran: list[str] = []

    def fails(context: JobContext) -> None:
        ran.append("drive")
        raise PublishError("this one cannot be written")

    job, _ = bench.run(Stage("drive", fails, on_error="warn"))
    assert ran == ["drive"]
    assert job.result["data"]["warnings"] == ["publish_failed: this one cannot be written (stage drive)"]


def test_progress_sent_twice_tells_a_warning_once(jobs: Cell) -> None:
    run = jobs.running()
    for _ in range(2):
        assert jobs.store.progress(run.job_id, run.fence, 10.0, "s", "odd: x", [("odd: x", "warning")]) == "ok"
    assert [event.type for event in log.read(jobs.store, run.job_id).events].count(EventType.WARNING) == 1


def test_a_word_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="on_error"):
        Pipeline("p", (Stage("a", lambda context: None, on_error="ignore"),), needs_url=False)  # type: ignore[arg-type]
