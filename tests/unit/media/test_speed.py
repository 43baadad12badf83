"""How long a source may hold a slot: whatever it does, no longer than its size takes at the floor of speed."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_jobs.exceptions import SourceTooSlow
from pipeline_jobs.media import speed
from pipeline_jobs.media.speed import Speed

MIB = 1024**2


def borne(pieces: Iterable[tuple[float, int]], first_seconds: float = 0.0) -> tuple[float, int]:
    """Seconds until a source that sends these bytes after these seconds is given up (or has ended), and how much it brought."""
    now, total = 0.0, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "time", SimpleNamespace(monotonic=lambda: now))
        watch = Speed("the source", first_seconds)
        for seconds, size in pieces:
            now += seconds
            try:
                watch.check()
            except SourceTooSlow:
                break
            total += size
            watch.came += size
    return now, total


@pytest.mark.parametrize("rate", [0, 1200, 20 * 1024, speed.FLOOR // 2])
def test_a_source_below_the_floor_is_given_up_soon(rate: int) -> None:
    """1.2 KiB/s passed each look for itself: 2 GiB at that speed are 20 days, in every slot."""
    held, _ = borne([(1, rate)] * 100_000)
    assert held <= 2 * speed.SLOW_SECONDS + 2


def test_a_quick_beginning_buys_no_more_than_its_bytes_do() -> None:
    held, came = borne([(1, 100 * MIB), *[(1, 2 * 1024)] * 100_000])
    assert held <= speed.SLOW_SECONDS + came / speed.FLOOR + 1


def test_nor_a_silence_afterwards() -> None:
    held, _ = borne([(1, 100 * MIB), *[(1, 0)] * 100_000])
    assert held <= 2 * speed.SLOW_SECONDS + 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 50), st.integers(0, 8 * MIB)), max_size=60), st.sampled_from([0.0, 120.0]))
def test_whatever_a_source_does_it_is_borne_no_longer_than_its_size_takes_at_the_floor(
    pieces: list[tuple[float, int]], first_seconds: float
) -> None:
    held, came = borne(pieces, first_seconds)
    looked = max((seconds for seconds, _ in pieces), default=0)
    assert held <= first_seconds + speed.SLOW_SECONDS + came / speed.FLOOR + looked


@settings(deadline=None)
@given(st.lists(st.floats(0.1, 50), max_size=60), st.integers(1, 64))
def test_a_source_above_the_floor_is_never_given_up(waits: list[float], times: int) -> None:
    pieces = [(wait, int(wait * times * speed.FLOOR) + 1) for wait in waits]
    assert borne(pieces)[1] == sum(size for _, size in pieces)
