"""Our prefork pool: what a dead child leaves behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from kombu.asynchronous import Hub, set_event_loop

from pipeline_jobs.worker.prefork import JobPool


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    set_event_loop(hub)
    yield hub
    hub.close()
    set_event_loop(None)


@pytest.fixture
def pool(hub: Hub) -> Iterator[JobPool]:
    pool = JobPool(1, synack=True, threads=False)
    pool.register_with_event_loop(hub)
    yield pool
    for proc in pool._pool:
        if proc._is_alive():
            os.kill(proc.pid, signal.SIGKILL)
            proc.join()


def kill(proc: Any) -> None:
    os.kill(proc.pid, signal.SIGKILL)
    proc.join()


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
