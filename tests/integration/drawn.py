"""Runs state machines of Hypothesis that draw the same wherever they run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def run_machine(machine: type[RuleBasedStateMachine], **profile: Any) -> None:
    """:param profile: of `hypothesis.settings`, what is not the same for all state machines."""
    with same_draws():
        run_state_machine_as_test(
            machine, settings=settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), **profile)
        )


@contextmanager
def same_draws() -> Iterator[None]:
    """One draw in twenty of Hypothesis is a constant out of those of our modules that the process has imported by then, from the same seed
    too. So a history that failed in a long run, behind tests that had imported others, was never drawn where its test ran alone.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(providers, "_get_local_constants", Constants)
        providers.CONSTANTS_CACHE.cache.clear()
        try:
            yield
        finally:
            providers.CONSTANTS_CACHE.cache.clear()
