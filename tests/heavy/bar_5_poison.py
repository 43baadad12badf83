"""Bar 5: 50 poison jobs beside 1,000 good ones; default leases."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

from tests.heavy.bodies import MODULE
from tests.heavy.poison import run_poison
from tests.stack import MakeStack


def test_fifty_poison_jobs(make_stack: MakeStack) -> None:
    stack = make_stack(
        modules=MODULE, max_concurrent_jobs=16, announce_seconds=1.0, lease_seconds=60.0, rescue_seconds=5.0, hint_seconds=15.0
    )
    stack.maintenance()
    workers = [stack.worker(name, "--autoscale=8,8") for name in ("one", "two")]
    figures = run_poison(stack, poison=50, good=1000, seed=int(os.environ.get("SEED", "5")))
    print(json.dumps(asdict(figures), indent=2))
    assert figures.wrong == []
    assert [worker.poll() for worker in workers] == [None, None]
