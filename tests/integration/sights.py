"""What random histories came to. A model that draws histories in which nothing meets proves nothing, and nobody sees it: so it is counted.

Hypothesis turns rules off at random in each history ("swarm testing"). With a rule for each event, 14 of 34 histories of fair shares had
no job, 22 had no moment at which two tenants waited for a slot, and in 32 no run ended. So a history has one rule, which draws an event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from hypothesis import strategies as st

Happens = TypeVar("Happens", bound=Callable[..., None])


class Event(NamedTuple):
    """A method of the history, and what it is given."""

    name: str
    given: dict[str, Any]


class Events:
    """What may happen in a history, and how often."""

    def __init__(self) -> None:
        self._given: dict[str, dict[str, st.SearchStrategy[Any]]] = {}
        #: Each name as often as it is likely.
        self._names: list[str] = []

    def add(self, times: int = 1, /, **given: st.SearchStrategy[Any]) -> Callable[[Happens], Happens]:
        """Decorates a method that may be the next to happen, so many times as likely as another."""

        def added(method: Happens) -> Happens:
            self._given[method.__name__] = given
            self._names += [method.__name__] * times
            return method

        return added

    def any(self) -> st.SearchStrategy[Event]:
        """One of them."""
        return st.sampled_from(self._names).flatmap(self._drawn)

    def _drawn(self, name: str) -> st.SearchStrategy[Event]:
        return st.builds(Event, st.just(name), st.fixed_dictionaries(self._given[name]))


class Floor(NamedTuple):
    """So often at least is something seen in at least this share of the histories."""

    times: int
    share: float


def assert_not_blind(histories: list[Counter[str]], floors: Mapping[str, Floor]) -> None:
    """:raises AssertionError: too few of the histories came to what they are to try."""
    blind = {}
    for sight, floor in floors.items():
        came = sum(seen[sight] >= floor.times for seen in histories)
        if came < floor.share * len(histories):
            blind[sight] = f"{came} of {len(histories)} histories, {floor}"
    assert not blind, blind
