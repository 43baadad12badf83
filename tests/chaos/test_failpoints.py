"""Processes that die at named places, with hints pushed by the scripts or published by the processes: which of these is drawn.

Mostly one run, in which somebody dies at nearly each place. With both, until somebody has died at each: `tests/heavy/bar_failpoints.py`.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from tests.chaos.failpoints import check_places

#: Of eight or nine places at which somebody may die, so many need nobody. In ten runs each place had its deaths in five of them at least.
SPARED = 3


def test_whatever_dies_at_a_named_place_nothing_is_lost_and_nothing_ends_twice(tmp_path: Path) -> None:
    other_broker = secrets.choice((False, True))
    print(f"the broker is {'apart' if other_broker else 'the store'}")
    check_places(tmp_path, other_broker=other_broker, spared=SPARED)
