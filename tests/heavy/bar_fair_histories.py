"""1,000 random histories of fair shares: no slot idles while anybody is eligible, no newcomer waits behind others, no counter is off."""

from __future__ import annotations

from pipeline_jobs.settings import Settings
from tests.integration.test_fairness_model import check_histories


def test_a_thousand_random_histories(cell: Settings) -> None:
    check_histories(cell, 1000, derandomize=False)
