"""The example pipeline `sleep`: what it does on demand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples import demo_pipelines
from examples.demo_pipelines import SLEEP, Flaky
from pipeline_jobs.context import JobContext, Reporter
from pipeline_jobs.exceptions import InvalidInput, JobCancelled, StageError
from pipeline_jobs.pipelines import registry
from pipeline_jobs.settings import load_settings


class Reports(Reporter):
    """Keeps what was reported; from the n-th look on the job is cancelled."""

    def __init__(self, cancelled_after: int = 10**9) -> None:
        self.said: list[tuple[str, float, str | None]] = []
        self.looks_left = cancelled_after

    def report(self, stage: str, percent: float, message: str | None) -> None:
        self.said.append((stage, percent, message))
        self.check()

    def warn(self, stage: str, text: str) -> None:
        """These pipelines have nothing to warn of."""

    def check(self) -> None:
        self.looks_left -= 1
        if self.looks_left < 0:
            raise JobCancelled


def run(tmp_path: Path, reports: Reports | None = None, **params: Any) -> dict[str, Any]:
    settings = load_settings({"PIPELINE_DATA_DIR": str(tmp_path)})
    context = JobContext(
        job_id="job_1_a", tenant_id="acme", workspace_id="main", url=None, quality=None, params=SLEEP.check_params(params),
        workdir=tmp_path, settings=settings, reporter=reports or Reports(), publish=lambda path, name: name,
    )  # fmt: skip
    for stage in SLEEP.stages:
        context.stage, context.span = stage.name, SLEEP.spans()[stage.name]
        context.data.update(stage.run(context) or {})
    return dict(SLEEP.result(context.data))


def test_it_is_registered_under_its_name_and_needs_no_url() -> None:
    assert registry.get("sleep") is SLEEP
    assert not SLEEP.needs_url


def test_it_sleeps_and_gives_back_the_echo(tmp_path: Path) -> None:
    result = run(tmp_path, seconds=0.1, echo={"a": [1, None, "ä"]})
    assert 0.1 <= result["slept"] < 60
    assert result["echo"] == {"a": [1, None, "ä"]}


def test_its_progress_is_said_at_each_step(tmp_path: Path) -> None:
    reports = Reports()
    run(tmp_path, reports, steps=4)
    assert [percent for _, percent, _ in reports.said] == [22.5, 45.0, 67.5, 90.0]
    assert reports.said[0] == ("sleep", 22.5, "step 1 of 4")


def test_it_stops_when_it_is_cancelled(tmp_path: Path) -> None:
    with pytest.raises(JobCancelled):
        run(tmp_path, Reports(cancelled_after=1), seconds=3600, steps=1)


def test_it_ignores_a_cancel_on_demand(tmp_path: Path) -> None:
    assert run(tmp_path, Reports(cancelled_after=0), ignore_cancel=True, echo=1)["echo"] == 1


def test_it_fails_on_demand_with_an_error_that_another_attempt_may_not_have(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no luck") as caught:
        run(tmp_path, fail="no luck")
    assert not caught.value.retryable
    with pytest.raises(Flaky, match="no luck") as flaky:
        run(tmp_path, fail="no luck", retryable=True)
    assert flaky.value.retryable


def test_it_fails_so_many_times(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(Flaky):
            run(tmp_path, fail="no luck", retryable=True, fail_times=2)
    assert run(tmp_path, fail="no luck", retryable=True, fail_times=2, echo="at last")["echo"] == "at last"


def test_it_crashes_on_demand_in_the_middle(tmp_path: Path) -> None:
    code = f"import pathlib; from tests.unit.test_demo_pipelines import run; run(pathlib.Path({str(tmp_path)!r}), crash=True, steps=2)"
    root = Path(demo_pipelines.__file__).parents[1]
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=False)
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"seconds": -1}, "params.seconds"),
        ({"seconds": float("inf")}, "params.seconds"),
        ({"steps": 0}, "params.steps"),
        ({"secs": 1}, "params.secs"),
    ],
)
def test_wrong_parameters_are_named(params: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        SLEEP.check_params(params)
    assert caught.value.field == field
