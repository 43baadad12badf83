"""Who gives way to whom, by a clock that stands still. With a server: `test_turns.py`; with a store: `test_stands_back.py`."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import thread_time
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline_jobs.web.server import giving_way
from pipeline_jobs.web.server.accounts import USED_SECONDS, Used
from pipeline_jobs.web.server.giving_way import (
    CHARGE_SECONDS,
    CLAIM_SECONDS,
    COUNTS_TIMES,
    MARGIN,
    MOST_CLAIMED,
    MOST_WAITING,
    TIMES,
    WAIT_SECONDS,
    Told,
    Way,
    give_way,
    stand_back,
)
from tests.waiting import until


class Clock:
    """Time passes when it is told to, or by so much at each look."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self._step = 1000.0, step

    def __call__(self) -> float:
        self.now += self._step
        return self.now


def connection(group: str, *, is_known: bool = True, waits: bool = False) -> Any:
    return SimpleNamespace(group=group, is_known=is_known, waits=waits, sock=SimpleNamespace(cost=0.0))


def way(clock: Clock, told: Told | None = None, place: int = 0, *, parked: Mapping[str, int] | None = None) -> Way:
    """Of a process in which `greedy` has used half of the time. :param parked: how many requests of each wait for a thread."""
    made = Way(told or Told(), place, lambda group: (parked or {}).get(group, 0), clock)
    made.used.add("greedy", USED_SECONDS / 2, clock.now)
    return made


def gives_way(at: Way, clock: Clock, group: str = "greedy") -> bool:
    """A request of this one would wait now."""
    return at._must_wait(group, clock.now)


def during(at: Way, conn: Any, look: Callable[[], Any]) -> Any:
    """What is seen while a request of this connection is at work."""
    with at_work(at, conn):
        return look()


@contextmanager
def at_work(at: Way, conn: Any) -> Iterator[None]:
    """A request of this connection is, and gives way to nobody."""
    going = at._begins(conn)
    try:
        yield
    finally:
        at._is_over(going)


class Thread:
    """A request that makes three steps, in a thread of its own."""

    def __init__(self, at: Way, group: str) -> None:
        self.steps: list[int] = []
        self._thread = threading.Thread(target=at.served, args=(connection(group), self._run), daemon=True)
        self._thread.start()

    def _run(self, _: Any) -> None:
        for number in range(3):
            give_way()
            self.steps.append(number)

    def ended(self) -> list[int]:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.steps


def test_who_has_used_much_makes_no_step_while_another_is_at_work() -> None:
    at = way(Clock())

    def look() -> Thread:
        greedy = Thread(at, "greedy")
        until(lambda: at.waiting == 1, "the greedy one to wait")
        assert greedy.steps == []
        return greedy

    assert during(at, connection("b"), look).ended() == [0, 1, 2]
    assert at.waiting == 0


def test_between_two_steps_of_a_long_request_another_goes_first() -> None:
    at, begun, come = way(Clock()), threading.Event(), threading.Event()
    steps: list[int] = []

    def long(_: Any) -> None:
        steps.append(1)
        begun.set()
        assert come.wait(60)
        give_way()
        steps.append(2)

    greedy = threading.Thread(target=at.served, args=(connection("greedy"), long), daemon=True)
    greedy.start()
    assert begun.wait(60)

    def look() -> None:
        come.set()
        until(lambda: at.waiting == 1, "the greedy one to wait")
        assert steps == [1]

    during(at, connection("b"), look)
    greedy.join(60)
    assert steps == [1, 2]


def test_whoever_uses_as_much_or_little_waits_for_nobody() -> None:
    clock = Clock()
    at = way(clock)
    assert during(at, connection("b"), lambda: gives_way(at, clock))
    assert not gives_way(at, clock), "alone"
    assert not during(at, connection("greedy"), lambda: gives_way(at, clock)), "for its own"
    assert not during(at, connection("b"), lambda: gives_way(at, clock, "c")), "one that has used nothing"
    assert not during(at, connection("greedy"), lambda: gives_way(at, clock, "b")), "for one that has used more"
    at.used.add("b", USED_SECONDS * (0.5 / TIMES - 0.9 * MARGIN), clock.now)
    assert not during(at, connection("b"), lambda: gives_way(at, clock)), "for one that has used nearly as much"
    clock.now += 5 * USED_SECONDS
    assert not during(at, connection("c"), lambda: gives_way(at, clock)), "it was long ago"


def test_whoever_has_many_that_wait_gives_way_to_one_that_has_used_as_much_too() -> None:
    """It would use more, if it were given more: the other has no more to do."""
    clock, told, parked = Clock(), Told(), {"greedy": MOST_WAITING}
    here, there = way(clock, told, 0, parked=parked), way(clock, told, 1, parked=parked)
    for at in (here, there):
        at.used.add("b", USED_SECONDS / 2, clock.now)

    def seen() -> list[bool]:
        return [during(at, connection("b"), lambda: gives_way(here, clock)) for at in (here, there)]

    assert seen() == [False, False]
    parked["greedy"] += 1
    assert seen() == [True, True]
    parked["b"] = MOST_WAITING + 1
    assert seen() == [False, False], "both have"
    del parked["b"]
    here.used.add("b", COUNTS_TIMES * USED_SECONDS / 2, clock.now)
    assert seen() == [False, True], "much more was used there"


def test_the_processes_tell_each_other_who_is_at_work() -> None:
    clock, told = Clock(), Told()
    here, there = way(clock, told, 0), way(clock, told, 1)
    assert during(there, connection("b"), lambda: gives_way(here, clock))
    assert not gives_way(here, clock)
    assert not during(there, connection("greedy"), lambda: gives_way(here, clock)), "of its own there"
    fresh = Way(told, 2, lambda group: 0, clock)
    assert during(fresh, connection("b"), lambda: gives_way(here, clock))
    assert not during(fresh, connection("greedy"), lambda: gives_way(here, clock)), "of its own, where it has used nothing"
    # Both are at work there: it is the one that has used less who counts.
    assert during(there, connection("greedy"), lambda: during(there, connection("b"), lambda: gives_way(here, clock)))
    assert during(there, connection("b"), lambda: during(there, connection("greedy"), lambda: gives_way(here, clock)))
    there.used.add("b", USED_SECONDS, clock.now)
    assert not during(there, connection("b"), lambda: gives_way(here, clock))


def test_another_process_is_heard() -> None:
    """Through memory that both have."""
    told, clock = Told(), Clock()
    at = way(clock, told)
    asked, answered = os.pipe(), os.pipe()
    if not (child := os.fork()):
        there = way(clock, told, 1)
        with at_work(there, connection("b")):
            os.write(asked[1], b"x")
            os.read(answered[0], 1)
        os._exit(0)
    os.read(asked[0], 1)
    assert gives_way(at, clock)
    os.write(answered[1], b"x")
    os.waitpid(child, 0)
    assert not gives_way(at, clock)


def test_a_process_that_died_at_work_holds_up_nobody() -> None:
    clock, told = Clock(), Told()
    at = way(clock, told)
    with at_work(way(clock, told, 1), connection("b")):
        assert gives_way(at, clock)
        clock.now += 1.1 * CLAIM_SECONDS
        assert not gives_way(at, clock)
        third = way(clock, told, 2)
        third.used.add("c", USED_SECONDS, clock.now)
        assert not during(third, connection("c"), lambda: gives_way(at, clock)), "another one tells of somebody who has used more"


def test_nobody_waits_for_one_that_waits_itself() -> None:
    clock = Clock()
    at = way(clock)

    def look() -> tuple[bool, bool]:
        before = gives_way(at, clock)
        stand_back()
        return before, gives_way(at, clock)

    assert during(at, connection("b"), look) == (True, False)
    assert not during(at, connection("b", waits=True), lambda: gives_way(at, clock)), "for its client"
    assert not during(at, connection("127.0.0.1", is_known=False), lambda: gives_way(at, clock)), "one whom nobody knows"


@pytest.mark.parametrize("seconds", [0.1 * CLAIM_SECONDS, 2 * CLAIM_SECONDS])
def test_a_hostile_neighbour_that_uses_little_and_is_always_at_work_has_its_part_of_the_time_only(seconds: float) -> None:
    clock, told = Clock(), Told()
    here, there = way(clock, told, 0), way(clock, told, 1)
    waited = looked = 0.0
    for _ in range(1000):

        def look() -> tuple[bool, bool]:
            seen = gives_way(here, clock), gives_way(there, clock)
            clock.now += seconds
            for at in (here, there):
                at.used.add("greedy", seconds / 2, clock.now)
            # Others come and go meanwhile.
            assert not during(here, connection("c", waits=True), lambda: gives_way(here, clock, "c"))
            return seen

        own, others = during(here, connection("hostile"), look)
        assert own == others
        waited, looked = waited + own * min(seconds, CLAIM_SECONDS), looked + seconds
    assert here.first.part("hostile", clock.now) > 0, "one that was at work for too long went first, too"
    assert 0.8 * min(MOST_CLAIMED, CLAIM_SECONDS / seconds) < waited / looked < 1.1 * MOST_CLAIMED


def test_a_request_that_does_not_end_goes_first_for_a_while_only() -> None:
    clock = Clock()
    at = way(clock)

    def look() -> tuple[bool, bool]:
        before = gives_way(at, clock)
        clock.now += 1.1 * CLAIM_SECONDS
        return before, gives_way(at, clock)

    assert during(at, connection("b"), look) == (True, False)


def test_a_wait_ends_even_if_another_stays_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giving_way, "CLAIM_SECONDS", 1000.0)
    monkeypatch.setattr(giving_way, "LOOK_SECONDS", 0.0)
    clock = Clock(WAIT_SECONDS / 10)
    at = way(clock)
    begun = clock.now
    assert during(at, connection("b"), lambda: Thread(at, "greedy").ended()) == [0, 1, 2]
    # One before it begins, and one a step.
    assert 4 * WAIT_SECONDS <= clock.now - begun < 9 * WAIT_SECONDS


def test_those_that_wait_are_nobodys_reason_to_wait() -> None:
    """Or three of them could wait for each other in a ring."""
    clock = Clock()
    at = way(clock)
    at.used.add("most", 2 * USED_SECONDS, clock.now)
    seen: list[bool] = []

    def look() -> Thread:
        greedy = Thread(at, "greedy")
        until(lambda: at.waiting == 1, "the greedy one to wait")
        at._going = [going for going in at._going if going.group != "b"]
        seen.append(gives_way(at, clock, "most"))
        return greedy

    assert during(at, connection("b"), look).ended() == [0, 1, 2]
    assert seen == [False]


@pytest.mark.parametrize("seed", range(20))
def test_whoever_has_used_least_never_waits_and_somebody_always_goes_on(seed: int) -> None:
    """Whatever the tenants have used, of any that are at work together."""
    draw, clock = random.Random(seed), Clock()
    at = way(clock)
    names = [f"t{number}" for number in range(draw.randint(1, 6))]
    for name in names:
        at.used.add(name, draw.random() * USED_SECONDS, clock.now)

    def among(left: list[str]) -> None:
        if left:
            during(at, connection(left[0]), lambda: among(left[1:]))
            return
        least = min(names, key=lambda name: at.used.part(name, clock.now))
        waiting = {name for name in names if gives_way(at, clock, name)}
        assert least not in waiting
        limit = (at.used.part(least, clock.now) + MARGIN) * TIMES
        assert waiting == {name for name in names if at.used.part(name, clock.now) > limit}

    among(names)


def test_what_was_used_is_forgotten_by_and_by() -> None:
    used = Used()
    for _ in range(100):
        used.add("a", 0.05, 0.0)
    assert used.part("a", 0.0) == pytest.approx(5 / USED_SECONDS)
    assert used.part("a", USED_SECONDS) == pytest.approx(5 / USED_SECONDS / 2.718281828)
    assert used.part("b", 0.0) == 0.0


def test_what_a_request_costs_the_store_is_used_too() -> None:
    clock = Clock()
    at, conn = way(clock), connection("a")
    at.served(conn, lambda conn: setattr(conn.sock, "cost", 1.5))
    assert at.used.part("a", clock.now) >= 1.5 / USED_SECONDS
    # Outside of a request nobody waits for anybody.
    give_way()
    stand_back()


def test_a_long_request_is_charged_on_its_way() -> None:
    clock = Clock()
    at = Way(Told(), 0, lambda group: 0, clock)

    def long(_: Any) -> None:
        before = thread_time()
        while thread_time() == before:
            pass
        give_way()
        assert at.used.part("a", clock.now) == 0, "it is not long yet"
        clock.now += CHARGE_SECONDS
        give_way()
        assert at.used.part("a", clock.now) > 0

    _, spent = at.served(connection("a"), long)
    assert at.used.part("a", clock.now) == pytest.approx(spent / USED_SECONDS)
