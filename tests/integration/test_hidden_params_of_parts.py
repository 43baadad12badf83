"""What the model of a pipeline hides (`SecretStr`) reaches the parts of a job as it reaches its stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from pipeline_jobs.pipelines import Map, Pipeline, Stage
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.part_world import Parted


class Params(BaseModel):
    token: SecretStr


def test_a_part_has_the_secret_of_its_job_and_its_log_does_not(jobs: Cell, tmp_path: Path) -> None:
    parted, given = Parted(jobs, tmp_path), list[Any]()

    def hear(context: Any, part: Any) -> None:
        given.append(dict(context.params))
        print(given[-1])

    stages = (Stage("fetch", parted.fetch), Map("hear", parted.split, hear, lambda context, results: {"all": []}))
    jobs.client.registry.register(Pipeline("tells", stages, Params, needs_url=False))
    parted.slots(4)
    job = parted.submit(pipeline="tells", params={"token": "hunter2!"})
    parted.run_all()
    assert parted.seen(job).status is JobStatus.COMPLETED
    assert given == [{"token": "hunter2!"}] * 5
    said = "".join(jobs.store.lines("logs", job.job_id))
    assert said.count("{'token': '***'}") == 5
    assert "hunter" not in said
