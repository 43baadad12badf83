"""Secrets that are drawn once and kept in a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_jobs.access.secret_files import kept_secret
from pipeline_jobs.exceptions import ConfigurationError

DRAW = """
import pathlib, sys
from pipeline_jobs.access.secret_files import kept_secret
sys.stdin.readline()
print(kept_secret(pathlib.Path(sys.argv[1])))
"""


def test_it_is_drawn_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret"
    first = kept_secret(path)
    assert len(first) == 43
    assert kept_secret(path) == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert kept_secret(tmp_path / "other") != first


@pytest.mark.parametrize("turn", range(3))
def test_processes_that_draw_at_once_agree(tmp_path: Path, turn: int) -> None:
    path = tmp_path / "secret"
    drawers = [
        subprocess.Popen([sys.executable, "-c", DRAW, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for drawer in drawers:
        assert drawer.stdin
        drawer.stdin.write("go\n")
        drawer.stdin.flush()
    drawn = {drawer.communicate(timeout=60)[0].strip() for drawer in drawers}
    assert drawn == {path.read_text()}
    assert [drawer.returncode for drawer in drawers] == [0] * 6
    assert list(tmp_path.iterdir()) == [path]


def test_the_one_who_is_later_takes_what_the_earlier_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process links between our look and our link."""
    path = tmp_path / "secret"
    looked = iter([False])
    monkeypatch.setattr(Path, "exists", lambda self: next(looked))
    path.write_text("of the other")
    assert kept_secret(path) == "of the other"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="set PIPELINE_DATA_DIR to a folder that can be written"):
        kept_secret(tmp_path / "file" / "secret")
    with pytest.raises(ConfigurationError, match="is empty: remove it"):
        kept_secret(tmp_path / "file")
