"""Jobs in parts in the history: what their parts ran is their slot time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_jobs.history.history import History
from pipeline_jobs.history.mover import Mover
from tests.integration.conftest import Cell
from tests.integration.fair_histories import pretend_it_took
from tests.integration.part_world import Parted
from tests.moved_jobs import rows_of


@pytest.fixture
def parted(jobs: Cell, tmp_path: Path) -> Iterator[Parted]:
    cell = jobs.with_settings(history_url=f"sqlite:///{tmp_path / 'history.db'}")
    yield Parted(cell, tmp_path)
    cell.cell.close()


HOUR = 3_600_000


def slot_hours(parted: Parted) -> int:
    """Of the one job, as it is in the history: what the test itself takes does not show."""
    history = parted.cell.cell.history
    assert isinstance(history, History)
    assert Mover(history).move() == 1
    (row,) = rows_of(history)
    return int(row["slot_ms"]) // HOUR


def test_what_the_parts_ran_is_slot_time_of_their_job(parted: Parted) -> None:
    """Also of a part's run that was lost."""
    parted.slots(1)
    parted.submit()
    parted.run_next()
    lost = parted.start_next()
    pretend_it_took(parted.cell, lost.job_id, 2 * HOUR)
    parted.cell.store.requeue(lost.job_id, lost.fence, "handback")
    third = f"{lost.job_id.rpartition('.')[0]}.3"
    parted.meanwhile["part 3"] = lambda context: pretend_it_took(parted.cell, third, 5 * HOUR)
    parted.run_all()
    assert slot_hours(parted) == 7


def test_what_they_ran_until_a_cancel_is(parted: Parted) -> None:
    parted.slots(2)
    job = parted.submit()
    parted.run_next()
    for hours in (2, 5):
        pretend_it_took(parted.cell, parted.start_next().job_id, hours * HOUR)
    parted.cell.client.cancel(job.job_id)
    assert slot_hours(parted) == 7
