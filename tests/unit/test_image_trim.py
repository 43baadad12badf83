"""`docker/trim.py`: a rule that finds nothing ends the build; copies of a library become names of one. Its effect: `make docker-test`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.test_docker import ROOT


@pytest.fixture
def trim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with a folder of its own in place of the environment's packages."""
    spec = importlib.util.spec_from_file_location("image_trim", ROOT / "docker/trim.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "image_trim", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PACKAGES", tmp_path)
    return module


def test_a_rule_that_finds_nothing_ends_the_build_and_says_which(trim: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some/tests").mkdir()
    assert trim.Rule("tests", ("**/tests",)).found() == [tmp_path / "some/tests"]
    with pytest.raises(SystemExit, match=r"nothing matches other/\*\.wav \(sounds\)"):
        trim.Rule("tests and sounds", ("**/tests",)).found() + trim.Rule("sounds", ("other/*.wav",)).found()


def test_a_rule_keeps_what_it_names(trim: ModuleType, tmp_path: Path) -> None:
    for name in ("s3", "ec2", "sqs"):
        (tmp_path / name).mkdir()
    assert {path.name for path in trim.Rule("services", ("*/",), frozenset({"s3"})).found()} == {"ec2", "sqs"}


def test_copies_of_a_library_become_names_of_one(trim: ModuleType, tmp_path: Path) -> None:
    for name, content in {"liba.so": "a", "liba.so.0": "a", "liba.so.0.9": "a", "libb.so": "b"}.items():
        (tmp_path / name).write_text(content)
    trim.one_file_for_copies(tmp_path)
    assert {path.name: path.readlink().name for path in tmp_path.iterdir() if path.is_symlink()} == dict.fromkeys(
        ("liba.so.0", "liba.so.0.9"), "liba.so"
    )
    assert [(tmp_path / name).read_text() for name in ("liba.so", "liba.so.0.9", "libb.so")] == ["a", "a", "b"]


def test_every_rule_says_why(trim: ModuleType) -> None:
    assert [rule for rule in (*trim.RULES, trim.THEIRS) if len(rule.why) < 10 or not rule.patterns] == []
