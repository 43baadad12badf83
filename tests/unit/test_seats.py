"""What children note in the memory that they share with their worker."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pipeline_jobs.job import Job
from pipeline_jobs.states import JobStatus
from pipeline_jobs.worker import seats as module
from pipeline_jobs.worker.seats import ChildSeat, Held, Seats

LONG = "x" * 128


def job(job_id: str = "a", fence: int = 7) -> Job:
    return Job(
        job_id=job_id, status=JobStatus.RUNNING, pipeline="p" * 64, tenant_id="t" * 64, workspace_id="w" * 64, created_at=1, fence=fence
    )


@pytest.fixture
def seats() -> Seats:
    return Seats()


def sit(seats: Seats, number: int | None = 3, goes_on: bool = True) -> ChildSeat:
    return ChildSeat(seats, number, lambda: goes_on)


def test_what_a_child_asks_for_is_noted_before_it_asks_and_what_it_has_when_it_knows(seats: Seats) -> None:
    seat, pid = sit(seats), os.getpid()
    assert seats.of(pid) == Held(pid)
    first = seat.asks()
    assert seats.of(pid) == Held(pid, asking=first)
    seat.has(job(LONG, 2**53 - 1))
    held = seats.of(pid)
    assert held is not None
    assert (held.job_id, held.fence, held.run, held.asking, held.tenant_id) == (LONG, 2**53 - 1, first, "", "t" * 64)
    assert (held.workspace_id, held.pipeline, held.runs, seat.following) == ("w" * 64, "p" * 64, (first,), None)
    second = seat.asks_for_next()
    held = seats.of(pid)
    assert held is not None
    assert (held.job_id, held.runs) == (LONG, (first, second))
    seat.has(job("b"))
    held = seats.of(pid)
    assert held is not None
    assert (held.job_id, held.runs, seat.following, seats.handed_over()) == ("b", (second,), job("b"), 1)
    seat.has_none()
    assert seats.of(pid) == Held(pid)


def test_the_next_job_is_run_once_and_is_that_of_its_id_only(seats: Seats) -> None:
    seat = sit(seats)
    seat.asks()
    seat.has(job())
    seat.asks_for_next()
    seat.has(job("b"))
    assert (seat.handed("b"), seat.begin(), seat.handed("b"), seat.handed("a")) == (None, job("b"), job("b"), None)
    assert seat.begin() is None
    seat.sit_down()
    assert seat.handed("b") is None


def test_a_child_that_dies_in_the_middle_of_a_write_has_what_it_had(seats: Seats, monkeypatch: pytest.MonkeyPatch) -> None:
    seat, pid = sit(seats), os.getpid()
    run = seat.asks()

    def dies() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_fence", dies)
    with pytest.raises(KeyboardInterrupt):
        seat.has(job())
    assert seats.of(pid) == Held(pid, asking=run)


@pytest.mark.parametrize("stop", [lambda seats: seats.stop(os.getpid()), lambda seats: seats.stop_all(True)], ids=["it", "all"])
def test_a_child_that_is_stopped_asks_for_no_next_job_and_keeps_the_one_it_has(seats: Seats, stop: Any) -> None:
    seat, other = sit(seats), sit(seats, 4)
    run = seat.asks()
    seat.has(job())
    stop(seats)
    assert seat.asks_for_next() == ""
    held = seats.read(3)
    assert (held.job_id, held.runs) == ("a", (run,))
    # The next message finds it as it was; a worker that leaves stops it then, too.
    seats.stop_all(False)
    seat.sit_down()
    seat.asks()
    seat.has(job())
    assert seat.asks_for_next() != ""
    assert other.asks_for_next() != ""


def test_a_child_that_may_not_go_on_or_has_no_seat_asks_for_no_next_job(seats: Seats) -> None:
    for seat in (sit(seats, goes_on=False), sit(seats, None)):
        assert len(seat.asks()) == 16
        seat.has(job())
        assert seat.asks_for_next() == ""


def test_a_child_is_not_taken_for_one_that_had_its_pid_before(seats: Seats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 12)
    sit(seats).asks()
    run = sit(seats, 9).asks()
    assert [seats.read(number).pid for number in (3, 9)] == [0, 12]
    held = seats.of(12)
    assert held is not None
    assert held.runs == (run,)
    assert (seats.of(11), seats.of(None)) == (None, None)
