"""Random histories in which everything meets, as they are drawn: 500 with scripts as they are, 500 with scripts that stop early.

`HISTORIES=50` for fewer. The short form is `tests/integration/test_everything_model.py`, whose histories are the same each time.
"""

from __future__ import annotations

import os
from contextlib import nullcontext

import pytest

from pipeline_jobs.settings import Settings
from tests.integration.conftest import tired_scripts
from tests.integration.test_everything_model import TIRED, check_everything


@pytest.mark.parametrize("tired", [False, True], ids=["", "with scripts that stop early"])
def test_many_random_histories_of_everything(cell: Settings, tired: bool) -> None:
    with tired_scripts(TIRED) if tired else nullcontext():
        check_everything(cell, tired, int(os.environ.get("HISTORIES", "500")), derandomize=False)
