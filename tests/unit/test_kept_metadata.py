"""What is kept of the metadata of packages is what they say, wherever they lie."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests import kept_metadata


def test_a_package_in_a_folder_that_is_looked_at_by_now_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(metadata.entry_points(group="kept.of.tests")) == []
    folder = tmp_path / "kept_of_tests-1.2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: kept-of-tests\nVersion: 1.2\n")
    (folder / "entry_points.txt").write_text("[kept.of.tests]\none = os:getpid\n")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [str(tmp_path), *sys.path])
        (point,) = metadata.entry_points(group="kept.of.tests")
        assert (point.value, metadata.version("kept-of-tests")) == ("os:getpid", "1.2")
    assert list(metadata.entry_points(group="kept.of.tests")) == []
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("kept-of-tests")


def test_each_question_is_asked_once() -> None:
    asked: list[Any] = []

    def ask(*names: str, **params: str) -> int:
        asked.append((names, params))
        return len(asked)

    once = kept_metadata._once(ask)
    assert [once("a"), once("a"), once("a", group="b"), once("a", group="b"), once("b")] == [1, 1, 2, 2, 3]
