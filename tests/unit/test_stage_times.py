"""How stages end, for the metrics of a worker."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline_jobs.exceptions import JobCancelled, MediaDamaged, StopRun
from pipeline_jobs.jobs.stage_times import Timed
from pipeline_jobs.stage import Parked, Split


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        (lambda: Split.__new__(Split), "ok"),
        (lambda: Parked.__new__(Parked), "ok"),
        (JobCancelled, "error"),
        (MediaDamaged, "error"),
    ],
    ids=["its parts are to run", "it waits for a signal", "a cancel", "an error"],
)
def test_a_run_that_ends_so_that_its_job_goes_on_later_is_no_error(ending: Any, outcome: str) -> None:
    told: list[tuple[str, str, str]] = []
    with pytest.raises((StopRun, MediaDamaged)), Timed(lambda *seen: told.append(seen[:3]), "film", "hear"):
        raise ending()
    assert told == [("film", "hear", outcome)]
