"""The short form of the chaos run. Its full form: `make chaos`."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tests.chaos.clock import LIBRARY
from tests.chaos.journal import KILLS
from tests.chaos.plan import EVERYTHING, SHORT, make_plan
from tests.chaos.run import kinds, run
from tests.chaos.system import TIMES, System

JOBS, SECONDS = 400, 35
#: Without libfaketime no clock is stepped; `test_around.py` says so.
FAULTS = {kind: count for kind, count in SHORT.items() if LIBRARY or kind != "clock_step"}


def test_nothing_is_lost_and_nothing_ends_twice_whatever_is_killed(tmp_path: Path) -> None:
    """Another seed each time; `CHAOS_SEED` repeats one."""
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    plan = make_plan(seed, JOBS, SECONDS, FAULTS, lease_seconds=TIMES["lease_seconds"], mix=EVERYTHING)
    outcome = run(plan, tmp_path, System(workers=2, gpu=1, maintenance=2, mixed=True, around=True, forked=True))
    assert outcome.verdict.ok, f"CHAOS_SEED={seed}, see {tmp_path}:\n{outcome.verdict.text()}"
    assert kinds(outcome) == FAULTS
    accepted = {line["token"] for line in outcome.evidence.client if line["what"] == "accepted"}
    assert accepted >= {job.token for job in plan.jobs}
    assert any(body.over == KILLS for body in outcome.evidence.bodies)
    assert outcome.evidence.hops
    assert any("~" in body.job_id for body in outcome.evidence.bodies)
    assert len(outcome.evidence.bodies) >= JOBS * 0.9
