"""1,000 random histories of two pools and three tenants: in each pool no slot idles while anybody waits for it, no newcomer waits behind
others, no counter is off."""

from __future__ import annotations

import time

from hypothesis import Phase

from pipeline_jobs.settings import Settings
from tests.integration.histories import check_histories
from tests.integration.pool_histories import PoolHistory
from tests.integration.test_pools_model import FLOORS


def test_a_thousand_random_histories_of_two_pools(cell: Settings) -> None:
    seeded = time.time_ns()
    print(f"the seed is {seeded}")
    check_histories(PoolHistory, cell, 1000, FLOORS, seeded=seeded, phases=(Phase.generate, Phase.shrink))
