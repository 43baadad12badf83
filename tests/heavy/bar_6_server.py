"""Bar 6: the server full, and the server down for 60 s; default times."""

from __future__ import annotations

import json
from dataclasses import asdict

from tests.heavy.bodies import MODULE
from tests.heavy.servers import run_away, run_full
from tests.servers import Server
from tests.stack import MakeStack

DEFAULTS = {"announce_seconds": 1.0, "lease_seconds": 60.0, "rescue_seconds": 5.0, "hint_seconds": 15.0, "cancel_grace_seconds": 15.0}


def test_full(make_stack: MakeStack, own: Server) -> None:
    stack = make_stack(redis_url=own.url, modules=MODULE, max_concurrent_jobs=8, **DEFAULTS)
    api = stack.api()
    stack.maintenance()
    for name in ("one", "two"):
        stack.worker(name, "--autoscale=4,4")
    figures = run_full(stack, own, api, running=8, waiting=100, posts=50)
    print(json.dumps(asdict(figures), indent=2))
    assert figures.wrong == []


def test_away_for_a_minute(make_stack: MakeStack, own: Server) -> None:
    stack = make_stack(redis_url=own.url, modules=MODULE, max_concurrent_jobs=8, **DEFAULTS)
    api = stack.api()
    stack.maintenance()
    for name in ("one", "two"):
        stack.worker(name, "--autoscale=4,4")
    figures = run_away(stack, own, api, jobs=100, seconds=60)
    print(json.dumps(asdict(figures), indent=2))
    assert figures.wrong == []
