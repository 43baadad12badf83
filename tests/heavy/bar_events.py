"""The bar of the event streams: 100 clients that drop and come back at random over 1,000 jobs see every event once and in order.

Meanwhile the server and the API are killed and started again, several times. The short form is in `tests/acceptance/test_streams.py`.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.events_load import run_streams
from tests.servers import Server
from tests.stack import MakeStack
from tests.waiting import until

JOBS = 1000
#: When which of the two is killed, by the share of the jobs that has ended.
KILLS = ((0.1, "server"), (0.25, "api"), (0.4, "server"), (0.55, "api"), (0.7, "server"), (0.85, "api"))


def test_a_hundred_clients_over_a_thousand_jobs(make_stack: MakeStack, tmp_path: Path) -> None:
    own = Server(tmp_path / "own-server").start()
    try:
        stack = make_stack(
            redis_url=own.url,
            announce_seconds=1000.0,
            events_per_tenant=1_000_000,
            http_streams=120,
            http_streams_per_tenant=120,
            max_concurrent_jobs=1000,
        )
        api = stack.api()
        host, _, port = api.url.removeprefix("http://").partition(":")

        def kill(share: Callable[[], float]) -> None:
            for when, what in KILLS:
                until(lambda when=when: share() >= when, f"{when:.0%} of the jobs to end", 1200)
                if what == "server":
                    own.kill()
                    own.start()
                else:
                    process = stack._processes[-1]
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    stack.api(int(port))

        seed = int(os.environ.get("SEED", "6"))
        verdict = run_streams(
            stack.client, lambda: (host, int(port)), jobs=JOBS, on_jobs=80, jobs_each=50, on_feed=20, seed=seed, meanwhile=kill
        )
        print(json.dumps({"seed": seed, "jobs": JOBS, "kills": len(KILLS), **asdict(verdict)}, indent=2))
        assert verdict.wrong == []
        assert (verdict.clients, verdict.streams) == (100, 80 * 50 + 20)
        assert verdict.connections > 2 * verdict.streams, "nobody came back: nothing was tried"
    finally:
        own.stop()
