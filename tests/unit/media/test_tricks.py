"""Hostile files and servers, in this process: each ends with its own code, without taking the memory. `bar_hostile_media`: in a worker."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from pipeline_jobs.exceptions import StageError
from pipeline_jobs.media import download, fetch, probe, render, speed, transcode
from tests.tricks.table import TRICKS, Trick
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import FakeSite

#: Codes that say nothing of what is wrong.
VAGUE = {"internal_error", "stage_failed", "media_failed", "out_of_memory", "worker_lost"}
MEMORY_KB = 700_000


def test_there_are_enough_of_them() -> None:
    assert len({trick.name for trick in TRICKS}) == len(TRICKS) >= 50
    assert not any(trick.codes & VAGUE for trick in TRICKS)


def peak() -> int:
    """Of this process's memory, in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("trick", [trick for trick in TRICKS if trick.name != "an endless page"], ids=lambda trick: trick.name)
def test_it_ends_with_its_own_code(
    trick: Trick, site: FakeSite, make_context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", (10.0, 3.0))
    monkeypatch.setattr(speed, "SLOW_SECONDS", 0.5 if trick.patient else 60.0)
    url, before = trick.install(site, tmp_path), peak()
    limits = {"PIPELINE_MEDIA_MAX_BYTES": "20000000", "PIPELINE_MEDIA_MAX_SECONDS": "120", "PIPELINE_MEDIA_MAX_PIXELS": "2073600"}
    context = make_context(url, quality="144p", params={"preset": "film"}, **limits)
    try:
        for stage in (fetch, probe, transcode, render):
            context.data.update(stage.run(context))
        code, text = "completed", ""
    except StageError as error:
        code, text = error.code, error.message
    assert code in trick.codes, (code, text)
    assert len(text) < 300
    assert "Traceback" not in text
    # A peak of what ran in this process before is not this trick's.
    assert peak() < max(MEMORY_KB, before + MEMORY_KB // 4)
