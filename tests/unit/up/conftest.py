"""A supervisor whose processes end with the test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_jobs.up.supervisor import Supervisor


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / "logs", tmp_path, {**os.environ, "PYTHONUNBUFFERED": "1"})
    yield made
    made.stop(grace_seconds=0.0)
