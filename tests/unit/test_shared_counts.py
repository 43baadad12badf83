"""Counters that forked processes share: each is counted once, and none is lost or left with the process that counted it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from pipeline_jobs.operation.shared_counts import Histogram, Row, SharedCounts, histogram


def in_a_child(work: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def add(row: Row, *keys: tuple[str, ...]) -> None:
    row.count(*map(row.place, keys))


def test_what_any_process_counts_every_one_shows() -> None:
    shared = SharedCounts(3)
    for number in range(3):
        in_a_child(lambda number=number: add(shared.row(number), ("a", "x"), ("b", str(number))))  # type: ignore[misc]
    assert shared.totals() == {("a", "x"): 3, ("b", "0"): 1, ("b", "1"): 1, ("b", "2"): 1}


def test_who_takes_the_place_of_a_process_that_ended_goes_on_from_its_counts() -> None:
    shared = SharedCounts(2, row_bytes=64)
    assert shared.free_row([]) == 0
    for _ in range(10):
        in_a_child(lambda: add(shared.row(0), ("a",)))
    assert shared.totals() == {("a",): 10}
    assert (shared.free_row([0]), shared.free_row([1]), shared.free_row([0, 1])) == (1, 0, None)


def test_threads_of_a_process_lose_no_count() -> None:
    shared = SharedCounts()
    row = shared.row(0)
    threads = [threading.Thread(target=lambda: [add(row, ("a", "é"), ("b",)) for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared.totals() == {("a", "é"): 8000, ("b",): 8000}


def test_a_full_row_says_so_once_and_counts_what_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    shared = SharedCounts(2, row_bytes=128)
    row = shared.row(0)
    for number in range(20):
        add(row, (f"key{number}",), ("key0",))
    assert shared.totals()[("key0",)] == 21
    assert set(shared.totals()) < {(f"key{number}",) for number in range(20)}
    assert capsys.readouterr().err.count("more kinds of counters") == 1
    assert shared.row(1)._places == {}, "the next row is another process's"


def test_a_histogram_adds_up() -> None:
    shared = SharedCounts()
    row: Row = shared.row(0)
    for seconds in (0.05, 0.1, 0.5, 7):
        Histogram(row, "h", ("x",), (0.1, 1)).observe(seconds)
    samples = {
        (sample.name, sample.labels.get("le")): sample.value for sample in histogram(shared.totals(), "h", "h", "", ["l"], (0.1, 1)).samples
    }
    assert samples == {("h_bucket", "0.1"): 2, ("h_bucket", "1"): 3, ("h_bucket", "+Inf"): 4, ("h_count", None): 4, ("h_sum", None): 7.65}
