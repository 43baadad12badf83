"""Processes that die at every named place, with each kind of broker. In `make test` one of both is drawn, and some places may be spared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.failpoints import check_places


@pytest.mark.parametrize("other_broker", [False, True], ids=["broker is the store", "broker apart"])
def test_whatever_dies_at_a_named_place_nothing_is_lost_and_nothing_ends_twice(tmp_path: Path, other_broker: bool) -> None:
    check_places(tmp_path, other_broker=other_broker)
