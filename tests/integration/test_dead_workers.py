"""What a dead worker leaves: its slots, its leases, and the place of its jobs in the queue."""

from __future__ import annotations

import time

import pytest

from pipeline_jobs.job import Job
from pipeline_jobs.jobs.waits import why
from tests.integration.conftest import Cell
from tests.integration.recount import differences

OLD, NEW, ELSEWHERE = "jobs@node/0a", "jobs@node/0b", "jobs@other/0c"


def fall_silent(cell: Cell, worker: str, ago_ms: int = 5_000) -> None:
    """A worker's announcement, and the last renewal of its leases, lie so far back."""
    client, keys = cell.store.client, cell.store.keys
    now = int(time.time() * 1000)
    client.zadd(keys("workers"), {worker: now - ago_ms + 3_000})
    for job_id in client.zrange(keys("leases"), 0, -1):
        if client.hget(keys("job", job_id), "worker") == worker:
            client.zadd(keys("leases"), {job_id: now - ago_ms + int(cell.settings.lease_seconds * 1000)})


def lease_left_ms(cell: Cell, run: Job) -> float:
    return float(cell.store.client.zscore(cell.store.keys("leases"), run.job_id) or 0) - time.time() * 1000


@pytest.fixture
def cell(jobs: Cell) -> Cell:
    return jobs.with_settings(max_concurrent_jobs=2, lease_seconds=60.0, announce_seconds=1.0)


def test_leases_of_dead_workers_do_not_count_against_the_cap(cell: Cell) -> None:
    cell.slots(2, OLD)
    for _ in range(2):
        cell.start(cell.submit().job_id, worker=OLD)
    waiting = cell.submit()
    fall_silent(cell, OLD)
    cell.slots(2, ELSEWHERE)
    assert cell.client.get(waiting.job_id).reason == "dispatched"
    one, other = cell.submit(), cell.submit()
    assert [one.reason, other.reason] == ["dispatched", "fair_share"]
    waits = why(cell.store, other.job_id)
    assert waits is not None
    assert (waits["limit"], waits["current"]) == (2, 2)
    assert differences(cell.store) == []


def test_a_new_incarnation_ends_the_leases_of_a_dead_one_of_its_node(cell: Cell) -> None:
    cell.slots(2, OLD)
    run = cell.start(cell.submit().job_id, worker=OLD)
    other = cell.submit()
    cell.slots(1, ELSEWHERE)
    elsewhere = cell.start(other.job_id, worker=ELSEWHERE)
    fall_silent(cell, OLD)
    fall_silent(cell, ELSEWHERE)
    # Its first beat finds that the other one is gone, the next one does something about it.
    cell.slots(2, NEW)
    cell.slots(2, NEW)
    # Three beats are left to it, in case that it lives and the server was away.
    assert lease_left_ms(cell, run) <= 3_000
    assert lease_left_ms(cell, elsewhere) > 50_000


@pytest.mark.parametrize("what", ["announces itself", "leaves, and renews its leases"])
def test_a_restart_that_overlaps_is_healthy(cell: Cell, what: str) -> None:
    cell.slots(2, OLD)
    run = cell.start(cell.submit().job_id, worker=OLD)
    leaving = what != "announces itself"
    cell.store.announce(OLD, 0 if leaving else 2, [(run.job_id, run.fence)], leaving=leaving)
    for _ in range(2):
        cell.slots(2, NEW)
    assert lease_left_ms(cell, run) > 50_000


def test_an_older_incarnation_that_was_only_slow_renews_in_time(cell: Cell) -> None:
    cell.slots(2, OLD)
    run = cell.start(cell.submit().job_id, worker=OLD)
    fall_silent(cell, OLD)
    for _ in range(2):
        cell.slots(2, NEW)
        cell.store.rescue()
    assert cell.store.announce(OLD, 2, [(run.job_id, run.fence)]) == ["ok"]
    cell.slots(2, NEW)
    assert lease_left_ms(cell, run) > 50_000
    assert differences(cell.store) == []
