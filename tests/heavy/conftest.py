"""The stack of the acceptance tests, in which workers die now and then, and their small disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_jobs.settings import Settings
from tests.acceptance.conftest import SHORT_LEASE, disk, stacks_on
from tests.stack import MakeStack

__all__ = ["disk", "make_stack"]


@pytest.fixture
def make_stack(cell: Settings, tmp_path: Path) -> Iterator[MakeStack]:
    with stacks_on(cell, tmp_path) as make:
        yield lambda **changes: make(**{**SHORT_LEASE, **changes})
