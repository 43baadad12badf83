"""Cancels at random moments and in the race with the finish: one wins, for good, and nobody else is hit. In full: `tests/heavy`."""

from __future__ import annotations

from functools import partial

from tests.heavy.bodies import MODULE
from tests.heavy.cancels import run_cancels
from tests.stack import MakeStack


def test_sixty_cancels_hit_their_jobs_and_no_others(make_stack: MakeStack) -> None:
    stack = make_stack(modules=MODULE, max_concurrent_jobs=6)
    stack.together(stack.maintenance, partial(stack.worker, "jobs", "--autoscale=6,6"))
    figures = run_cancels(stack, slots=6, plain=36, racing=20, forced=4, bystanders=20, seed=1, bounds=None)
    assert figures.wrong == []
    assert (figures.cancels, figures.races) == (60, 20)
    assert figures.at_once + figures.accepted + figures.too_late == 60
    assert figures.forced["n"] == 4
