"""A stage is tried again as it says, and takes no longer than it says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs import testing
from pipeline_jobs.context import JobContext, StageTimeout
from pipeline_jobs.exceptions import ConfigurationError, JobCancelled, MachineFault, NoAudio, SourceUnavailable
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.jobs.faults import Judge
from pipeline_jobs.jobs.stage_runs import run_stages
from pipeline_jobs.pipelines import Pipeline, RetryPolicy, Stage, TryAgain
from pipeline_jobs.settings import Settings

AT_ONCE = RetryPolicy(max_attempts=3, backoff_seconds=0.0)


def one(run: Callable[[JobContext], Any], **how: Any) -> Pipeline:
    return Pipeline("p", (Stage("a", run, **how), Stage("b", after)), needs_url=False)


def after(context: JobContext) -> dict[str, bool]:
    context.progress(0.5)
    context.check_cancelled()
    return {"after": True}


class Tries:
    """A stage that fails as often as it is told."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.tries = iter(errors), 0

    def __call__(self, context: JobContext) -> dict[str, int]:
        self.tries += 1
        for error in self.errors:
            raise error
        return {"tries": self.tries}


def for_ever(context: JobContext) -> Iterator[int]:
    while True:
        context.progress(0.5)


def test_an_error_that_may_pass_is_tried_again() -> None:
    ran = testing.run(one(Tries(SourceUnavailable("away"), SourceUnavailable("still away")), retry=AT_ONCE))
    assert ran.result == {"tries": 3, "after": True}
    said = [message for stage, _, message in ran.progress if message and stage == "a"]
    assert said == ["try 2 of 3 after source_unavailable: away", "try 3 of 3 after source_unavailable: still away"]


@pytest.mark.parametrize(
    ("error", "policy", "tries"),
    [
        (SourceUnavailable(), AT_ONCE, 3),
        (SourceUnavailable(), None, 1),
        (SourceUnavailable(), RetryPolicy(max_attempts=3, backoff_seconds=0, permanent=frozenset({"source_unavailable"})), 1),
        (NoAudio(), AT_ONCE, 1),
        (ZeroDivisionError(), AT_ONCE, 1),
    ],
)
def test_how_often_a_stage_is_tried(error: Exception, policy: RetryPolicy | None, tries: int) -> None:
    stage = Tries(*[error] * 9)
    with pytest.raises(type(error)):
        testing.run(one(stage, retry=policy))
    assert stage.tries == tries


def test_a_cancel_ends_the_wait_for_the_next_try() -> None:
    stage = Tries(*[SourceUnavailable()] * 9)
    with pytest.raises(JobCancelled):
        testing.run(one(stage, retry=RetryPolicy(max_attempts=3, backoff_seconds=1e6, max_backoff_seconds=1e6)), cancel_in="a")
    assert stage.tries == 1


def test_a_fault_of_the_machine_is_no_failed_try(tmp_path: Path) -> None:
    stage = Tries(*[SourceUnavailable()] * 9)
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    judge = Judge(blocked / "work", 0, ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k"))
    with pytest.raises(MachineFault):
        run_stages(one(stage, retry=AT_ONCE), _context(tmp_path), judge=judge)
    assert stage.tries == 1


def test_a_stage_that_is_late_because_nothing_can_be_stored_is_not_to_blame(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("no folder")
    judge = Judge(tmp_path / "work", 0, ArtifactStore((tmp_path / "store").as_uri(), "http://x", lambda: "k"))
    with pytest.raises(MachineFault):
        judge.judge(StageTimeout())


def test_a_stage_that_takes_too_long_fails() -> None:
    with pytest.raises(StageTimeout, match=r"longer than 0.001 s"):
        testing.run(one(for_ever, timeout=0.001))


def test_it_is_tried_again_and_the_limit_is_of_each_try() -> None:
    stage = Tries()

    def first_late(context: JobContext) -> Any:
        return for_ever(context) if stage(context)["tries"] == 1 else {"tries": stage.tries}

    assert testing.run(one(first_late, timeout=0.001, retry=AT_ONCE)).result == {"tries": 2, "after": True}


def test_the_next_stage_has_its_own_time() -> None:
    """Also where the late one is passed over."""
    ran = testing.run(one(for_ever, timeout=0.001, on_error="warn"))
    assert ran.result["after"] is True
    assert ran.warnings == ["stage_timeout: the stage took longer than 0.001 s (stage a)"]


def test_a_limit_is_over_with_its_stage() -> None:
    def second(context: JobContext) -> dict[str, object]:
        return {"ends": context.limit._ends}

    stages = (Stage("a", lambda context: None, timeout=1000.0), Stage("b", second))
    assert testing.run(Pipeline("p", stages, needs_url=False)).result == {"ends": None}


def test_a_stage_that_ends_too_late_and_looked_at_nothing_has_ended() -> None:
    def blind(context: JobContext) -> None:
        while not context.limit.due:
            pass

    assert testing.run(one(blind, timeout=0.001)).result == {"after": True}


def test_a_stage_that_is_late_can_clean_up() -> None:
    cleaned = []

    def stage(context: JobContext) -> None:
        try:
            for_ever(context)
        finally:
            context.progress(0.9)
            context.check_cancelled()
            cleaned.append(True)

    with pytest.raises(StageTimeout):
        testing.run(one(stage, timeout=0.001))
    assert cleaned == [True]


def test_no_except_of_the_stage_swallows_it() -> None:
    def stage(context: JobContext) -> None:
        while not context.limit.raised:
            try:
                context.progress(0.5)
            except Exception:
                continue

    with pytest.raises(StageTimeout):
        testing.run(one(stage, timeout=0.001))


def test_a_limit_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        one(after, timeout=0)


def _context(folder: Path) -> JobContext:
    ran = testing.Ran()
    return JobContext(
        job_id="job_1_00000000", tenant_id="acme", workspace_id="main", url=None, quality=None, params={}, workdir=folder,
        settings=Settings(), reporter=ran, publish=ran.publish,
    )  # fmt: skip


def test_the_wait_before_a_late_attempt_is_a_number() -> None:
    """A stage may be tried very often: the doubled wait would be more than a float holds."""
    policy = RetryPolicy(max_attempts=10_000, backoff_seconds=1.0, max_backoff_seconds=60.0)
    assert [policy.delay(attempt) for attempt in (1, 2, 1_025, 9_999)] == [1.0, 2.0, 60.0, 60.0]


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_a_wait_that_no_record_can_have_is_refused_where_it_is_asked_for(seconds: float) -> None:
    """Told only as the job is put back, it would end the run without a word, and the job after three of them as `worker_lost`."""
    with pytest.raises(ValueError, match="delay_seconds"):
        TryAgain("later", seconds)
