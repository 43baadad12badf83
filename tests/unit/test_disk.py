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


def test_a_disk_that_was_too_full_takes_nothing_until_there_is_an_eighth_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else each upload that goes, or each one that is purged, would let the next one in for a moment."""
    left = iter((900, 800, 799, 800, 899, 900, 800, 799, 10_000))
    monkeypatch.setattr(disk, "free", lambda path: next(left))
    room = disk.Room(lambda path: 800)
    assert [room.lacks(tmp_path) is None for _ in range(9)] == [True, True, False, False, False, True, True, False, True]


def test_what_is_too_large_for_the_room_keeps_nothing_else_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(disk, "free", lambda path: 900)
    room = disk.Room(lambda path: 800)
    assert [room.lacks(tmp_path, size) is None for size in (101, 100, 0)] == [False, True, True]


def test_without_a_reserve_only_the_disks_end_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(disk, "free", lambda path: 0)
    room = disk.Room(lambda path: 0)
    assert [room.lacks(tmp_path, size) is None for size in (0, 1, 0)] == [True, False, True]
