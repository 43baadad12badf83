"""Bar 4 of "Truth": 200 jobs of a pipeline that one of two workers knows, both under load, beside the same with one worker."""

from __future__ import annotations

import json
from dataclasses import asdict

from tests.heavy.fleet import ALL, COMMON, KNOWS, run_fleet
from tests.stack import MakeStack

#: How much later than with one worker a job may start, in seconds.
LATER = 2.0


def test_jobs_that_one_of_two_workers_knows(make_stack: MakeStack) -> None:
    stack = make_stack(modules=ALL, max_concurrent_jobs=8, announce_seconds=1.0, lease_seconds=60.0, rescue_seconds=5.0, hint_seconds=15.0)
    stack.maintenance()
    stack.worker(KNOWS, "--autoscale=4,4", PIPELINE_MODULES=ALL)
    alone = run_fleet(stack, rare_jobs=200, load=200, load_seconds=0.2, slots=4)
    stack.worker("other", "--autoscale=4,4", PIPELINE_MODULES=COMMON)
    both = run_fleet(stack, rare_jobs=200, load=400, load_seconds=0.2, slots=8)
    print(json.dumps({"one worker": asdict(alone), "two, one of which knows it": asdict(both)}, indent=2))
    assert alone.wrong == both.wrong == []
    assert min(both.load_by.values()) > 0
    assert set(both.load_by) == {KNOWS, "other"}
    assert both.start["p99"] <= alone.start["p99"] + LATER
