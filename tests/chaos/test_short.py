"""The short form of the chaos run. Its full form: `make chaos`."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tests.chaos.plan import SHORT, make_plan
from tests.chaos.run import kinds, run
from tests.chaos.system import TIMES, System

JOBS, SECONDS = 350, 45


def test_nothing_is_lost_and_nothing_ends_twice_whatever_is_killed(tmp_path: Path) -> None:
    """Another seed each time; `CHAOS_SEED` repeats one."""
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    plan = make_plan(seed, JOBS, SECONDS, SHORT, lease_seconds=TIMES["lease_seconds"])
    outcome = run(plan, tmp_path, System(workers=2, maintenance=1))
    assert outcome.verdict.ok, f"CHAOS_SEED={seed}, see {tmp_path}:\n{outcome.verdict.text()}"
    assert kinds(outcome) == SHORT
    assert len(outcome.evidence.accepted) == JOBS
    assert len(outcome.evidence.bodies) >= JOBS * 0.9
