"""Places that requests and streams hold: one tenant leaves some to the others, and processes share what each counts by itself."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, cast

import pytest

from pipeline_jobs.web.access.throttle import BURST, Failures
from pipeline_jobs.web.http.places import Places
from pipeline_jobs.web.http.waiting import WaitingRoom
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.processes import Processes


class Announced:
    """A store in which so many API processes are announced."""

    def __init__(self, count: int) -> None:
        self.count = count

    def announce_api(self, process: str, life_ms: int) -> int:
        return self.count


def processes(count: int) -> Processes:
    made = Processes(cast(Any, Announced(count)))
    made.announce()
    return made


def rests() -> None:
    """No thread's count is kept here."""


def take(room: WaitingRoom, held: ExitStack, tenant_id: str, times: int) -> int:
    """How many of so many requests found a place."""
    return sum(held.enter_context(room.place(tenant_id)) for _ in range(times))


def test_one_tenant_waits_with_half_of_the_places_and_each_next_one_finds_some() -> None:
    room = WaitingRoom(12, rests)
    with ExitStack() as held:
        assert [take(room, held, tenant, 40) for tenant in ("greedy", "b", "c", "d")] == [6, 3, 2, 1]
        with pytest.raises(Refused) as refused, room.required("e"):
            pass
        assert refused.value.status == 503
    with ExitStack() as held:
        assert take(room, held, "b", 40) == 6, "places were not given back"
        with pytest.raises(Refused) as refused, room.required("b"):
            pass
        assert refused.value.status == 429
        with room.required("c"):
            pass


def test_the_only_place_is_anybodys() -> None:
    room = WaitingRoom(1, rests)
    with room.place("a") as first, room.place("b") as second:
        assert (first, second) == (True, False)
    assert not room._taken


def test_the_streams_of_a_tenant_are_counted_over_all_processes() -> None:
    places = Places(rests, 100, 5, processes(2))
    taken = [places.take("a") for _ in range(3)]
    with pytest.raises(Refused):
        places.take("a")
    assert len(taken) == 3


def test_so_are_the_wrong_keys_of_an_address() -> None:
    failures = Failures(share=processes(4).share)
    for number in range(1, BURST // 4 + 1):
        assert failures.wait("a") == 0
        assert failures.add("a") is (number == BURST // 4)
    assert failures.wait("a") > 0


def test_a_share_is_never_nothing_and_one_process_has_all() -> None:
    assert Processes(cast(Any, Announced(9))).share(7) == 7
    assert processes(9).share(7) == 1
