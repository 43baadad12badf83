"""Processes that die at every named place, with hints pushed by the scripts or published by the processes: which of these is drawn.

With both: `tests/heavy/bar_failpoints.py`.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from tests.chaos.failpoints import check_all_places


def test_whatever_dies_at_a_named_place_nothing_is_lost_and_nothing_ends_twice(tmp_path: Path) -> None:
    other_broker = secrets.choice((False, True))
    print(f"the broker is {'apart' if other_broker else 'the store'}")
    check_all_places(tmp_path, other_broker=other_broker)
