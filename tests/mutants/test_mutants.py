"""The machinery of the mutants, and a few of them. All of them: `python -m tests.mutants`."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants import guards, machine
from tests.mutants import main as mutants
from tests.mutants.guards import GUARDS, Guard
from tests.mutants.machine import Stale, check_unchanged, copy_of_tree, remove, try_guard

#: One of each kind (a script, a process, a run); the rest is for `python -m tests.mutants`.
FEW = (
    "finish: the fence",
    "worker/lease: the job still runs when its process is killed",
    "jobs/executor: a failed run leaves no artifact",
)
BY_NAME = {guard.name: guard for guard in GUARDS}


def test_every_guard_has_a_name_of_its_own_and_stands_once_in_its_file() -> None:
    assert len(BY_NAME) == len(GUARDS) >= 15
    with copy_of_tree() as tree:
        for guard in GUARDS:
            before = (tree / guard.file).read_text()
            remove(guard, tree)
            assert (tree / guard.file).read_text() != before
            (tree / guard.file).write_text(before)
            assert all((tree / test).is_file() for test in guard.tests)


def test_every_mutant_of_a_module_is_a_program(tmp_path: Path) -> None:
    """One that knows not its own names proves nothing: any test of it fails."""
    for number, guard in enumerate(GUARDS):
        if guard.file.endswith(".py"):
            text = (machine.ROOT / guard.file).read_text("utf-8").replace(guard.old, guard.new)
            (tmp_path / f"{number}.py").write_text(text, "utf-8")
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--no-cache",
        "--select",
        "F821",
        "--output-format",
        "json",
        str(tmp_path),
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    wrong = {Path(one["filename"]).stem: one["message"] for one in json.loads(found.stdout)}
    assert {GUARDS[int(number)].name: message for number, message in wrong.items()} == {}


def test_a_file_that_fails_without_any_mutant_is_named() -> None:
    """Of one guard: those of `FEW` pass without theirs in this very run."""
    assert check_unchanged((guard("", ""), guard("", "", "tests/unit/test_states.py::no_such_test")), 2).keys() == {
        "tests/unit/test_states.py::no_such_test"
    }


@pytest.mark.parametrize("name", FEW)
def test_a_mutant_is_caught(name: str) -> None:
    guard = BY_NAME[name]
    verdict = try_guard(guard)
    assert verdict.word == "caught", verdict.output
    assert verdict.by.startswith(guard.tests)


def test_the_test_that_caught_it_the_last_time_is_tried_first_and_the_others_if_it_does_not() -> None:
    caught_by = json.loads(mutants.CAUGHT.read_text("utf-8"))
    assert all(name in BY_NAME and by.partition("::")[0] in BY_NAME[name].tests for name, by in caught_by.items())
    word, mutant = (
        "tests/unit/test_states.py::test_celerys_word",
        guard("return _STATES[job.status]", "return ''", "tests/unit/test_states.py"),
    )
    assert try_guard(mutant, word).by.startswith(word)
    assert try_guard(mutant, "tests/unit/test_states.py::test_that_is_gone").by not in ("", word)


def guard(old: str, new: str, tests: str = "tests/unit/test_states.py::test_celerys_word") -> Guard:
    return Guard("x", "pipeline_jobs/worker/backend.py", old, new, (tests,))


def test_an_edit_that_changes_nothing_survives_and_one_that_is_no_program_is_not_called_caught() -> None:
    assert try_guard(guard("class JobBackend(ChordJoin):", "class JobBackend( ChordJoin):")).word == "survived"
    assert try_guard(guard("class JobBackend(ChordJoin):", "class JobBackend ChordJoin:")).word == "broken"
    assert try_guard(guard("return _STATES[job.status]", "return _STATEZ[job.status]")).word == "broken"


def test_a_guard_that_was_rewritten_is_said_not_skipped(tmp_path: Path) -> None:
    (tmp_path / "pipeline_jobs/worker").mkdir(parents=True)
    (tmp_path / "pipeline_jobs/worker/backend.py").write_text("twice twice")
    for text in ("not there", "twice"):
        with pytest.raises(Stale):
            remove(guard(text, "x"), tmp_path)


def test_a_mutant_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LIMIT_SECONDS", 0.01)
    assert try_guard(guard("class JobBackend(ChordJoin):", "class JobBackend( ChordJoin):")).word == "hung"


def test_a_word_that_no_guard_has_runs_no_tests(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def check_nothing(guards: tuple[Guard, ...], jobs: int) -> dict[str, machine.Verdict]:
        raise AssertionError("the tests were run")

    monkeypatch.setattr(mutants, "check_unchanged", check_nothing)
    with pytest.raises(SystemExit) as ended:
        mutants.main(["-k", "no such guard"])
    assert ended.value.code == 2
    assert "no guard has 'no such guard' in its name" in capsys.readouterr().err


def test_no_name_of_a_file_is_given_twice() -> None:
    """The second would hide the first: its mutants would be tried against the wrong tests."""
    tree = ast.parse(Path(guards.__file__ or "").read_text("utf-8"))
    parts = (part for line in tree.body if isinstance(line, ast.Assign) for target in line.targets for part in ast.walk(target))
    names = [part.id for part in parts if isinstance(part, ast.Name)]
    assert len(names) > 100
    assert [name for name, times in Counter(names).items() if times > 1] == []
