"""Our prefork pool: what a dead child leaves behind."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from billiard import Pipe
from billiard.exceptions import WorkerLostError
from billiard.pool import ApplyResult
from kombu.asynchronous import Hub, set_event_loop

from pipeline_jobs.job import Job
from pipeline_jobs.states import JobStatus
from pipeline_jobs.worker import prefork
from pipeline_jobs.worker.prefork import JobPool
from pipeline_jobs.worker.seats import ChildSeat, Seats

JOB = Job(job_id="now", status=JobStatus.RUNNING, pipeline="p", tenant_id="acme", workspace_id="main", created_at=1, fence=3)


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    set_event_loop(hub)
    yield hub
    hub.close()
    set_event_loop(None)


@pytest.fixture
def pool(hub: Hub) -> Iterator[JobPool]:
    prefork._keep_what_is_loaded.cache_clear()
    pool = JobPool(1, synack=True, threads=False)
    pool.register_with_event_loop(hub)
    yield pool
    gc.unfreeze()
    for proc in pool._pool:
        if proc._is_alive():
            os.kill(proc.pid, signal.SIGKILL)
            proc.join()


def kill(proc: Any) -> None:
    os.kill(proc.pid, signal.SIGKILL)
    proc.join()


def test_what_a_worker_has_loaded_is_no_work_for_the_garbage_collector_at_a_fork(pool: JobPool) -> None:
    assert gc.get_freeze_count() > 10_000


def test_the_numbers_of_closed_pipes_are_forgotten(pool: JobPool, hub: Hub) -> None:
    [proc] = pool._pool
    assert pool._fileno_to_outq[proc.outqR_fd] is proc
    kill(proc)
    # A job was only partly written to it: its pipes can't be used again.
    pool.on_partial_read(SimpleNamespace(_accepted=True, _writer=lambda: None), proc)
    assert proc not in pool._fileno_to_outq.values()
    assert proc not in pool._fileno_to_synq.values()
    # The reconnect listens on no number that may be another's by now.
    hub.reset()
    pool.register_with_event_loop(hub)
    assert proc.outqR_fd not in hub.readers


def test_a_child_is_listened_to_until_it_has_ended_though_its_job_was_forgotten(pool: JobPool) -> None:
    """It waits until somebody has read what it says."""
    reader, writer = Pipe(duplex=False)
    told: list[Any] = []
    child = SimpleNamespace(outq=SimpleNamespace(_reader=reader), _is_alive=lambda: not told)
    results = pool._result_handler
    results.cache, results.fileno_to_outq, results.on_state_change = {}, {reader.fileno(): child}, told.append
    writer.send((1, ("done",)))
    results.on_stop_not_started()
    assert told == [(1, ("done",))]
    reader.close()
    writer.close()


@pytest.mark.parametrize("seat", ["asks", "has", "empty"])
def test_a_child_that_died_before_it_said_what_it_took_has_lost_it_if_its_seat_says_so(
    pool: JobPool, monkeypatch: pytest.MonkeyPatch, seat: str
) -> None:
    seats = Seats()
    monkeypatch.setattr(prefork, "_seats", lambda: seats)
    child = ChildSeat(seats, 0, lambda: True)
    if seat != "empty":
        child.asks()
    if seat == "has":
        child.has(JOB)
    accepted: list[int] = []
    job = ApplyResult(pool._cache, None, accept_callback=lambda pid, when: accepted.append(pid))
    pool.on_partial_read(job, SimpleNamespace(pid=os.getpid(), exitcode=-9, dead=True))
    if seat == "empty":
        # Another child has it: none has asked for it.
        assert (list(pool.outbound_buffer), job.ready(), accepted) == ([job], False, [])
    else:
        assert (list(pool.outbound_buffer), job.ready(), accepted) == ([], True, [os.getpid()])
        assert isinstance(job._value.exception.exc, WorkerLostError)


def timed(seats: Seats, *, since: float, asks: bool = False) -> ChildSeat:
    """A child that began its job so many seconds ago."""
    seat = ChildSeat(seats, 0, lambda: True)
    seat.asks()
    seat.has(JOB)
    seat._write(replace(seat.held, since=time.monotonic() - since))
    if asks:
        seat.asks_for_next()
    return seat


@pytest.mark.parametrize(
    ("since", "asks", "over"),
    [(9.0, False, False), (11.0, False, True), (11.0, True, False)],
    ids=["next", "own", "ends"],
)
def test_a_time_limit_of_celerys_is_that_of_the_job_that_the_child_has_now(
    pool: JobPool, hub: Hub, monkeypatch: pytest.MonkeyPatch, since: float, asks: bool, over: bool
) -> None:
    seats, told = Seats(), list[Any]()
    monkeypatch.setattr(prefork, "_seats", lambda: seats)
    seat = timed(seats, since=since, asks=asks)
    result = SimpleNamespace(worker_pids=lambda: [seat.held.pid], _timeout=10.0, ready=lambda: False)
    monkeypatch.setitem(pool._cache, 1, result)
    pool.on_hard_timeout = told.append
    pool.on_soft_timeout = told.append
    pool._on_hard_timeout(1)
    assert told == ([result] if over else [])
    assert (1 in pool._tref_for_id) is not over
    pool._on_soft_timeout(1, 10.0, None, hub)
    assert len(told) == 2 * over
    # Looked at with the child stopped: it keeps the job for which it is killed.
    assert (seat.asks_for_next() == "") is (since > 10.0)
    del pool._cache[1]


def test_the_numbers_that_a_new_child_has_by_now_stay(pool: JobPool) -> None:
    [proc] = pool._pool
    other = SimpleNamespace(_is_alive=lambda: False)
    pool._fileno_to_outq[proc.outqR_fd] = other
    kill(proc)
    pool.on_partial_read(SimpleNamespace(_accepted=True, _writer=lambda: None), proc)
    assert pool._fileno_to_outq[proc.outqR_fd] is other


def test_a_reconnect_goes_over_a_child_whose_end_was_seen(pool: JobPool, hub: Hub) -> None:
    [proc] = pool._pool
    kill(proc)
    pool._untrack_child_process(proc, hub)
    hub.reset()
    pool.register_with_event_loop(hub)
    assert proc._sentinel_poll is None
