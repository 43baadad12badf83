from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline_jobs.worker import cores


@pytest.mark.parametrize(("quota", "expected"), [("200000 100000\n", 2.0), ("50000 100000\n", 0.5), ("max 100000\n", 8.0), ("", 8.0)])
def test_a_containers_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, expected: float) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    (tmp_path / "cpu.max").write_text(quota)
    assert cores.cores(tmp_path / "cpu.max") == expected
    assert cores.cores(tmp_path / "none") == 8


@pytest.mark.parametrize(("slots", "threads"), [(1, 8), (2, 4), (3, 2), (8, 1), (20, 1), (0, 8)])
def test_a_slot_has_its_part_of_the_cores_and_at_least_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slots: int, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert cores.share(slots, tmp_path / "none") == threads


def test_what_an_operator_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cores.VARIABLE, "3")
    cores.share_out(100)
    assert os.environ[cores.VARIABLE] == "3"
    monkeypatch.delenv(cores.VARIABLE)
    cores.share_out(10_000)
    assert os.environ[cores.VARIABLE] == "1"
