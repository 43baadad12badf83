"""A server that is full, and one that is away for some seconds: said to clients, survived by workers. In full: `tests/heavy`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.heavy.bodies import MODULE
from tests.heavy.servers import run_away, run_full
from tests.servers import Server
from tests.stack import Stack

MakeStack = Callable[..., Stack]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """A server that may be filled and killed."""
    server = Server(tmp_path / "own").start()
    yield server
    server.stop()


def test_on_a_full_server_new_jobs_are_refused_running_ones_end_and_no_worker_dies(make_stack: MakeStack, own: Server) -> None:
    stack = make_stack(redis_url=own.url, modules=MODULE, max_concurrent_jobs=4, hint_seconds=2.0)
    api = stack.api()
    stack.maintenance()
    stack.worker("jobs", "--autoscale=4,4")
    figures = run_full(stack, own, api, running=4, waiting=6, posts=5)
    assert figures.wrong == []
    assert set(figures.answers) <= {"503 store_unavailable", "503 store_full"}
    assert figures.crashed == 0


def test_with_the_server_away_for_ten_seconds_every_job_completes_and_the_workers_come_back(make_stack: MakeStack, own: Server) -> None:
    stack = make_stack(redis_url=own.url, modules=MODULE, max_concurrent_jobs=4, lease_seconds=30.0)
    api = stack.api()
    stack.maintenance()
    stack.worker("jobs", "--autoscale=4,4")
    figures = run_away(stack, own, api, jobs=8, seconds=10)
    assert figures.wrong == []
    assert set(figures.answers) == {"503 store_unavailable"}
