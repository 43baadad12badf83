"""A signal that has come before its wait is something that a stage is given: what comes of it is no other job's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs import signals
from pipeline_jobs.jobs.executor import Executor
from pipeline_jobs.pipelines import NoParams, Pipeline, Stage, Wait
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell


def test_what_a_stage_made_of_an_early_signal_is_its_jobs_alone(jobs: Cell, tmp_path: Path) -> None:
    ran: list[str] = []

    def make(context: JobContext) -> Mapping[str, Any]:
        ran.append("make")
        return {"made": f"for {context.signals.get('name', 'nobody')}"}

    def draw(context: JobContext) -> Mapping[str, Any]:
        ran.append("draw")
        return {"drawn": f"{context.data['made']}, {context.data['name']}"}

    stages = (Stage("make", make, version="1"), Wait("name"), Stage("draw", draw, version="1"))
    jobs.client.registry.register(Pipeline("p", stages, NoParams, needs_url=False))
    executor = Executor(jobs.store, jobs.client.registry, jobs.settings, ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k"))

    def run(early: str | None, late: str | None = None) -> str:
        ran.clear()
        jobs.slots(5)
        job = jobs.client.submit(NewJob(pipeline="p"))
        for payload in (early, late):
            if payload:
                signals.send(jobs.client, job.job_id, "name", payload, "test")
            executor.run(job.job_id, jobs.client.get(job.job_id).fence, "w1")
        done = jobs.client.get(job.job_id)
        assert done.status is JobStatus.COMPLETED
        return str(done.result["data"]["drawn"])

    assert run(None, "ann") == "for nobody, ann"
    assert run("ann") == "for ann, ann", "the one before was given no name"
    assert run(None, "ann") == "for nobody, ann"
    assert ran == [], "what was the same was given"
    assert run("ann") == "for ann, ann"
    assert ran == []
    assert run("bob") == "for bob, bob"
