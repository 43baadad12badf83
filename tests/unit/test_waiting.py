"""To wait with a limit, also in a process that stands still meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import waiting
from tests.waiting import until


class Time:
    """A clock that goes on when it is told to, and with each pause."""

    def __init__(self, pauses: Iterator[float]) -> None:
        self.now, self._pauses = 1000.0, pauses

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += next(self._pauses, seconds)


def clock(monkeypatch: pytest.MonkeyPatch, *pauses: float) -> Time:
    time = Time(iter(pauses))
    monkeypatch.setattr(waiting, "time", time)
    monkeypatch.setattr(waiting, "_never", time)
    return time


def test_it_gives_what_came_and_fails_with_what_was_there_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    time = clock(monkeypatch)
    assert until(lambda: time.now > 1030 and "come", "it") == "come"
    began = time.now
    with pytest.raises(AssertionError, match=r"^waited 60 s for it; last: \[\]$"):
        until(list, "it")
    assert time.now - began == pytest.approx(60, abs=0.2)


def test_what_came_while_this_process_stood_still_in_a_look_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    time = clock(monkeypatch)

    def stands_still_as_it_looks() -> bool:
        there = time.now > 1000
        time.now += 0 if there else 3600
        return there

    assert until(stands_still_as_it_looks, "it")


def test_a_time_in_which_all_stood_still_is_not_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    time = clock(monkeypatch, 3600, 0.05, 3600)
    assert until(lambda: time.now > 8240, "what takes others 40 s more")
