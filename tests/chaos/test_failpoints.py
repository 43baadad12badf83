"""Processes that die at every named place, once with hints pushed by the scripts, once with hints published by the processes."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from pipeline_jobs.failpoints import NAMES
from tests.chaos.failpoints import ELSEWHERE, deaths, run_failpoints

#: On a busy machine a worker may see too few jobs in one run to come to its place: then once more.
RUNS = 8


@pytest.mark.parametrize("other_broker", [False, True], ids=["broker is the store", "broker apart"])
def test_whatever_dies_at_a_named_place_nothing_is_lost_and_nothing_ends_twice(tmp_path: Path, other_broker: bool) -> None:
    """Another seed each time; `CHAOS_SEED` repeats one."""
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    left = set(NAMES) - ELSEWHERE - (set() if other_broker else {"submit.before_publish"})
    for number in range(RUNS):
        folder = tmp_path / str(number)
        outcome = run_failpoints(folder, seed + number, other_broker=other_broker)
        assert outcome.verdict.ok, f"CHAOS_SEED={seed + number}, see {folder}:\n{outcome.verdict.text()}"
        assert len(outcome.evidence.purged) > 0
        left -= set(deaths(folder))
        if not left:
            return
    raise AssertionError(f"nobody died at {left} in {RUNS} runs")
