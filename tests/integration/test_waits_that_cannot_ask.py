"""A wait whose question cannot be made: a mistake of the pipeline's author, which ends the job and does not go round for ever."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.events.job_log import read_one
from pipeline_jobs.exceptions import NoAudio
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.executor import Ending, Executor
from pipeline_jobs.pipelines import NoParams, Pipeline, Stage, Wait
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell


def make(context: JobContext) -> Mapping[str, Any]:
    return {"sum": 42}


def refuses(data: Mapping[str, Any]) -> str:
    raise NoAudio("there is nothing to be asked")


@pytest.fixture
def ran(jobs: Cell, tmp_path: Path) -> Callable[[Any], Job]:
    """A job that has come to a wait with this prompt."""

    def run(prompt: Any) -> Job:
        stages = (Stage("make", make), Wait("approval", prompt=prompt))
        jobs.client.registry.register(Pipeline("p", stages, NoParams, needs_url=False))
        artifacts = ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k")
        jobs.slots(5)
        job = jobs.client.submit(NewJob(pipeline="p"))
        job = jobs.client.get(job.job_id)
        outcome = Executor(jobs.store, jobs.client.registry, jobs.settings, artifacts).run(job.job_id, job.fence, "w1")
        assert outcome.ending is Ending.FAILED
        return jobs.client.get(job.job_id)

    return run


@pytest.mark.parametrize(
    ("prompt", "code", "said"),
    [
        (lambda data: f"Is {data['total']} right?", "internal_error", "KeyError: 'total'"),
        (lambda data: data["sum"], "internal_error", "TypeError"),
        (refuses, "no_audio", "nothing to be asked"),
    ],
)
def test_a_question_that_cannot_be_made_fails_the_job(jobs: Cell, ran: Callable[[Any], Job], prompt: Any, code: str, said: str) -> None:
    job = ran(prompt)
    assert job.status is JobStatus.FAILED
    detail = job.error_detail or {}
    assert (detail["code"], detail["stage"]) == (code, "approval")
    assert said in detail["message"]
    if code == "internal_error":
        assert any("Traceback" in line.message for line in read_one(jobs.store, job.job_id).lines), "its author finds it in the log"
