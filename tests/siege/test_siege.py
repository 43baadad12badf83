"""The siege itself: one attack for a moment, with the whole stack; the times are not judged here."""

from __future__ import annotations

from pathlib import Path

from tests.siege import __main__ as siege
from tests.siege.ground import STORE_BYTES, ground
from tests.siege.victim import KINDS


def test_an_attack_is_laid_and_told(tmp_path: Path) -> None:
    with ground(tmp_path) as at:
        outcome = siege.lay(at, "wrong_keys", seconds=0.5, rounds=1)
    assert outcome.ended == []
    assert set(outcome.ours) <= {"200", "201", "204"}
    assert outcome.theirs.keys() & {"401", "429"}, "the attackers never came"
    assert not any(status.startswith("5") for status in outcome.theirs)
    assert all(outcome.calm[kind] > 0 and outcome.attack[kind] > 0 for kind in KINDS)
    assert outcome.title in siege.table([outcome], 0.5, 1)


def test_what_is_not_as_it_should_be_is_said() -> None:
    outcome = siege.Outcome("x", "X", "C0")
    outcome.calm, outcome.attack = dict.fromkeys(KINDS, 30.0), {**dict.fromkeys(KINDS, 90.0), "list": 91.0}
    outcome.ours["503"], outcome.theirs["507"], outcome.ended, outcome.peak = 1, 2, ["beat"], STORE_BYTES + 1
    said = " ".join(outcome.wrong())
    assert all(word in said for word in ("list 91 ms", "B was answered {'503': 1}", "{'507': 2}", "beat ended", "over its limit"))
    assert "post" not in said
    outcome = siege.Outcome("x", "X", "C0", dict.fromkeys(KINDS, 5.0), dict.fromkeys(KINDS, 60.0))
    assert outcome.wrong() == []


def test_there_are_eighteen_attacks() -> None:
    assert len(siege.NAMES) == 18
