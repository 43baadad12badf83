"""The same histories are drawn whatever the process has imported."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import Phase, seed
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.integration.drawn import run_machine


def drawn() -> list[tuple[str, int]]:
    """What the histories of a machine come to."""
    said: list[tuple[str, int]] = []

    @seed("drawn")
    class Machine(RuleBasedStateMachine):
        @rule(pick=st.integers(0, 2**20))
        def one(self, pick: int) -> None:
            said.append(("one", pick))

        @rule(pick=st.integers(0, 2**20))
        def other(self, pick: int) -> None:
            said.append(("other", pick))

    run_machine(Machine, max_examples=9, stateful_step_count=30, phases=(Phase.generate,))
    return said


def test_a_module_that_is_imported_changes_no_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = drawn()
    assert len(before) > 100
    later = ModuleType("imported_later")
    later.__file__ = str(tmp_path / "imported_later.py")
    Path(later.__file__).write_text(f"NUMBERS = {list(range(1000, 1200))}\n")
    monkeypatch.setitem(sys.modules, later.__name__, later)
    # Hypothesis takes what lies in a folder of tests for nobody's.
    monkeypatch.setattr(providers, "is_local_module_file", lambda file: file == later.__file__)
    assert 1000 in providers._get_local_constants().integers
    assert drawn() == before
