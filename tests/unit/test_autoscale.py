"""Our autoscaler: limits that change live, and no child taken with a job."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from celery.worker import state

from pipeline_jobs.worker.autoscale import Autoscaler


class Pool:
    num_processes = 4

    def __init__(self) -> None:
        self.shrunk: list[int] = []

    def shrink(self, n: int) -> None:
        self.shrunk.append(n)

    def grow(self, n: int) -> None:
        self.num_processes += n


class Request:
    id = "x"


@pytest.fixture
def scaler() -> Iterator[Autoscaler]:
    worker = SimpleNamespace(max_concurrency=4, consumer=SimpleNamespace(_update_prefetch_count=lambda n: None))
    yield Autoscaler(Pool(), 4, 1, worker=worker)
    state.reserved_requests.clear()
    state.active_requests.clear()


def test_a_changed_maximum_is_the_consumers_limit_too(scaler: Autoscaler) -> None:
    scaler.update(max=6, min=1)
    assert (scaler.max_concurrency, scaler.worker.max_concurrency) == (6, 6)


def test_the_pool_does_not_shrink_while_a_job_is_on_its_way_to_a_child(scaler: Autoscaler) -> None:
    on_its_way, running = Request(), Request()
    state.reserved_requests.update([on_its_way, running])
    state.active_requests.add(running)
    scaler._shrink(1)
    assert scaler.pool.shrunk == []
    state.active_requests.add(on_its_way)
    scaler._shrink(1)
    assert scaler.pool.shrunk == [1]


def test_jobs_that_run_on_over_a_lost_connection_still_need_their_process(scaler: Autoscaler) -> None:
    requests = [Request() for _ in range(3)]
    state.reserved_requests.update(requests)
    state.active_requests.update(requests)
    state.reserved_requests.clear()
    assert scaler.qty == 3
