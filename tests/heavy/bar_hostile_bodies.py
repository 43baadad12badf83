"""The fourth bar: 2,000 generated hostile bodies, each time others; none is answered 5xx."""

from __future__ import annotations

import random

from tests.acceptance.test_hostile_bodies import besiege
from tests.stack import MakeStack


def test_two_thousand_hostile_bodies(make_stack: MakeStack) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}: {dict(besiege(make_stack(), 2_000, seed))}")
