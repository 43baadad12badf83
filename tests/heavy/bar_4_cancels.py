"""Bar 4: 1,000 cancels, 200 of them in the race with the finish; default settings."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

from tests.heavy.bodies import MODULE
from tests.heavy.cancels import run_cancels
from tests.stack import MakeStack

#: What the settings' defaults promise, in seconds: a stage that cooperates, one that must be killed.
BOUNDS = (15.0, 45.0)


def test_a_thousand_cancels(make_stack: MakeStack) -> None:
    stack = make_stack(
        modules=MODULE, max_concurrent_jobs=16, announce_seconds=1.0, lease_seconds=60.0, cancel_grace_seconds=15.0, rescue_seconds=5.0,
        hint_seconds=15.0,
    )  # fmt: skip
    stack.maintenance()
    for name in ("one", "two"):
        stack.worker(name, "--autoscale=8,8")
    seed = int(os.environ.get("SEED", "4"))
    figures = run_cancels(stack, slots=16, plain=760, racing=200, forced=40, bystanders=300, seed=seed, bounds=BOUNDS)
    print(json.dumps(asdict(figures), indent=2))
    assert figures.wrong == []
    assert (figures.cancels, figures.races) == (1000, 200)
    assert figures.forced["n"] == 40
    assert 0 < figures.races_won < 200, "all races went one way: they were none"
