"""Runs random histories of a cell, the state machines of the models of fair shares and of pools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from hypothesis import Phase, seed
from hypothesis.stateful import RuleBasedStateMachine

from pipeline_jobs.settings import Settings
from tests.integration.drawn import run_machine
from tests.integration.sights import Floor, assert_not_blind

#: Histories of one run of Hypothesis, and the simplest one. It draws this many apart from each other; the next ones would be the same with
#: a part put somewhere else, five of each, and what one does not come to they do not.
DRAWN = 8


def check_histories(
    machine: type[RuleBasedStateMachine],
    cell: Settings,
    histories: int,
    floors: Mapping[str, Floor],
    *,
    seeded: object,
    phases: tuple[Phase, ...] = (Phase.generate,),
) -> None:
    """So many of 50 steps each, and that they are not blind. The same seed draws the same.

    :param machine: has `base` (settings of its cell) and `seen_of` (what each history came to), which are set here.
    :param phases: with `Phase.shrink` one that fails is made as short as it may be, which takes minutes.
    """
    # Nothing ends by itself, however long a busy machine takes for a history.
    base = cell.model_copy(
        update={
            "max_concurrent_jobs": 100, "announce_seconds": 1000.0, "lease_seconds": 10_000.0, "hint_seconds": 5000.0,
            "max_crashes": 1000, "max_run_seconds": 1e7,
        }
    )  # fmt: skip
    seen = [one for n in range(0, histories, DRAWN) for one in _run_some(machine, base, f"{seeded} {n}", phases)]
    assert_not_blind(seen, floors)


def _run_some(machine: type[RuleBasedStateMachine], base: Settings, seeded: str, phases: tuple[Phase, ...]) -> list[Counter[str]]:
    """:return: what each of them came to, without the simplest."""
    seen: list[Counter[str]] = []
    bound: Any = type("Bound", (machine,), {"seen_of": seen, "base": base})
    run_machine(seed(seeded)(bound), max_examples=DRAWN + 1, stateful_step_count=50, phases=phases)
    return seen[1:]
