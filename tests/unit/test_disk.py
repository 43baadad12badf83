"""How much of a disk is kept free."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from pipeline_jobs import disk
from pipeline_jobs.settings import load_settings

GIB = 1024**3
Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(("total", "kept"), [(1, 2), (10, 2), (40, 2), (100, 5), (1000, 50), (50_000, 50)])
def test_a_twentieth_is_kept_free_at_least_2_gib_at_most_50(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, total: int, kept: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(total * GIB, 0, total * GIB))
    assert disk.reserve(tmp_path) == kept * GIB


def test_a_folder_that_is_not_there_yet_is_on_the_disk_of_those_above_it(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    assert disk.reserve(folder) == disk.reserve(tmp_path)
    assert 0 < disk.free(folder) <= shutil.disk_usage(tmp_path).total


def test_an_operator_may_say_how_much(tmp_path: Path) -> None:
    assert load_settings({}).disk_reserve(tmp_path) == disk.reserve(tmp_path)
    assert load_settings({"PIPELINE_DISK_RESERVE_BYTES": "0"}).disk_reserve(tmp_path) == 0
    assert load_settings({"PIPELINE_DISK_RESERVE_BYTES": "7"}).disk_reserve(tmp_path) == 7
