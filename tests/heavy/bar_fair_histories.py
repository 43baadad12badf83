"""1,000 random histories of fair shares: no slot idles while anybody is eligible, no newcomer waits behind others, no counter is off."""

from __future__ import annotations

import time

from hypothesis import Phase

from pipeline_jobs.settings import Settings
from tests.integration.fair_histories import History
from tests.integration.histories import check_histories
from tests.integration.test_fairness_model import FLOORS


def test_a_thousand_random_histories(cell: Settings) -> None:
    seeded = time.time_ns()
    print(f"the seed is {seeded}")
    check_histories(History, cell, 1000, FLOORS, seeded=seeded, phases=(Phase.generate, Phase.shrink))
