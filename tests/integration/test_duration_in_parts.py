"""How long a job took that ran in parts, as the metric has it: its own runs, and not what its parts did meanwhile."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pipeline_jobs.context import JobContext
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.fair_histories import pretend_it_took
from tests.integration.part_world import Parted

#: In ms.
MINUTE = 60_000


def test_its_runs_before_and_after_the_parts_are_added_up(jobs: Cell, tmp_path: Path) -> None:
    parted = Parted(jobs, tmp_path)

    def lasts(minutes: int, context: JobContext) -> None:
        pretend_it_took(jobs, context.job_id, minutes * MINUTE)

    parted.meanwhile = {"split": partial(lasts, 40), "part 1": partial(lasts, 5), "join": partial(lasts, 20)}
    parted.slots(4)
    job = parted.submit()
    parted.run_all()
    assert parted.seen(job).status is JobStatus.COMPLETED
    assert round(int(jobs.store.record("counters")["duration_sum|acme|main"]) / MINUTE) == 60
