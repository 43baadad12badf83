"""What is due to whom: by weight, never more than one can use, and nothing is left over while somebody can use it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_jobs.operation.due_shares import Standing, forecast, with_due


def standing(
    name: str, weight: float = 1.0, queued: int = 100, running: int = 0, limit: int | None = None, paused: bool = False
) -> Standing:
    return Standing(name, weight, limit, paused, queued, running)


def due(slots: int, *all_of: Standing) -> dict[str, float]:
    return {one.tenant_id: one.due for one in with_due(slots, all_of)}


def test_slots_are_due_by_weight() -> None:
    assert due(10, standing("a", 3), standing("b", 1), standing("c", 1)) == {"a": 6, "b": 2, "c": 2}
    assert due(0, standing("a"), standing("b")) == {"a": 0, "b": 0}
    assert due(4) == {}


def test_what_one_cannot_use_is_the_others() -> None:
    assert due(10, standing("a", queued=1), standing("b", limit=3), standing("c")) == {"a": 1, "b": 3, "c": 6}
    assert due(10, standing("a", paused=True, running=2), standing("b")) == {"a": 2, "b": 8}
    # A neighbour that asks for much gets no more for that.
    assert due(10, standing("greedy", queued=10**6), standing("small", queued=5)) == {"greedy": 5, "small": 5}


def test_a_forecast_changes_one_of_them_and_nothing_else() -> None:
    now = with_due(12, [standing("a"), standing("b"), standing("c", 2)])
    then = {one.tenant_id: one.due for one in forecast(12, now, "a", {"weight": 3})}
    assert then == {"a": 6, "b": 2, "c": 4}
    assert {one.tenant_id: one.due for one in forecast(12, now, "a", {"limit": 1})} == pytest.approx({"a": 1, "b": 3.67, "c": 7.33})
    assert forecast(12, now, "ghost", {"weight": 9}) == now


@settings(deadline=None)
@given(
    slots=st.integers(0, 200),
    all_of=st.lists(
        st.builds(
            Standing,
            st.just("t"),
            st.floats(0.01, 100),
            st.none() | st.integers(0, 50),
            st.booleans(),
            st.integers(0, 500),
            st.integers(0, 50),
        ),
        max_size=8,
    ),
)
def test_any_tenants_get_what_they_can_use_and_no_slot_twice(slots: int, all_of: list[Standing]) -> None:
    named = [replace(one, tenant_id=f"t{number}") for number, one in enumerate(all_of)]
    found = with_due(slots, named)
    total = sum(one.due for one in found)
    wanted = sum(one.most for one in found)
    assert [one.tenant_id for one in found] == [one.tenant_id for one in named]
    assert all(-0.01 <= one.due <= one.most + 0.01 for one in found)
    assert total == pytest.approx(min(slots, wanted), abs=0.1)
