"""How long a job held slots, as the history has it: the slots of its parts are its own, also of those that did not end well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.history.mover import Mover
from pipeline_jobs.job import Job
from pipeline_jobs.pipelines import RetryPolicy, TryAgain
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.part_world import Parted
from tests.moved_jobs import rows_of

WORDS = ("one", "two", "three")


class World:
    """Three parts, two tries each; a run of a part has held its slot for three seconds."""

    def __init__(self, cell: Cell, folder: Path) -> None:
        self.cell = cell
        self.parted = Parted(cell, folder / "artifacts", words=WORDS, retry=RetryPolicy(max_attempts=2, backoff_seconds=0))
        for number in range(len(WORDS)):
            self.parted.meanwhile[f"part {number}"] = self.held_for_long
        self.parted.slots(1)

    def held_for_long(self, context: JobContext) -> None:
        store = self.cell.store
        (run,) = store.members("leases")
        store.client.hset(store.keys("job", run), "started_at", store.now() - 3_000)

    def row(self, job: Job) -> dict[str, Any]:
        history = self.cell.cell.history
        assert history is not None
        Mover(history).move()
        (row,) = [one for one in rows_of(history) if one["job_id"] == job.job_id]
        return row


@pytest.fixture
def world(jobs: Cell, tmp_path: Path) -> Iterator[World]:
    cell = jobs.with_settings(history_url=f"sqlite:///{tmp_path / 'history.db'}")
    yield World(cell, tmp_path)
    cell.cell.close()


def test_the_slots_of_parts_are_their_jobs(world: World) -> None:
    job = world.parted.submit()
    world.parted.run_all()
    assert world.parted.seen(job).status is JobStatus.COMPLETED
    assert world.row(job)["slot_ms"] // 1000 == 9


def test_so_are_those_of_a_try_that_failed(world: World) -> None:
    failed: list[str] = []

    def fail_once(context: JobContext) -> None:
        world.held_for_long(context)
        if not failed:
            failed.append(context.stage)
            raise TryAgain

    world.parted.meanwhile["part 1"] = fail_once
    job = world.parted.submit()
    world.parted.run_all()
    assert world.parted.seen(job).status is JobStatus.COMPLETED
    assert world.row(job)["slot_ms"] // 1000 == 12


def test_a_part_that_outlives_its_job_brings_nothing_back(world: World) -> None:
    store = world.cell.store
    job = world.parted.submit()
    world.parted.run_next()
    part = world.parted.start_next()
    world.cell.client.cancel(job.job_id)
    assert world.row(job)["status"] == "cancelled"
    world.cell.client.delete(job.job_id)
    store.finish(part.job_id, part.fence, JobStatus.CANCELLED)
    assert store.record("job", job.job_id) == {}, "no figure makes a record"
    assert world.parted.left() == []
