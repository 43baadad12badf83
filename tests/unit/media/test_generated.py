"""Some of the generated hostile files, each through a job's child; `bar_hostile_media` has 300, through a worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_jobs.exceptions import StageError
from pipeline_jobs.media import stages
from pipeline_jobs.media.stages import InChild
from tests.tricks.generated import Opened, hostile
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import FakeSite

#: 220: a tag that is no Unicode.
NUMBERS = (*range(0, 300, 26), 220)
LIMITS = {
    "PIPELINE_MEDIA_MAX_BYTES": "2000000", "PIPELINE_MEDIA_MAX_SECONDS": "20", "PIPELINE_MEDIA_MAX_PIXELS": "307200",
    "PIPELINE_JOB_MEMORY_BYTES": str(768 * 1024**2),
}  # fmt: skip
#: Those say that something of ours went wrong.
OURS = {"internal_error", "worker_lost", "stage_failed"}


@pytest.mark.parametrize("number", NUMBERS)
def test_it_ends_with_a_code_and_opens_nothing(number: int, site: FakeSite, make_context: MakeContext, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("tell nobody")
    canary = FakeSite()
    body = hostile(number, secret, canary.url("/canary.mp4"))
    context = make_context(site.file("/a.mp4", body, "video/mp4"), quality="144p", **LIMITS)
    code, text = "completed", ""
    with Opened(secret) as opened:
        try:
            for stage in (stages.fetch, InChild("probe"), InChild("transcode"), stages.transcribe):
                context.data.update(stage(context))
        except StageError as error:
            code, text = error.code, error.message
        context.closing.close()
        assert opened.times() == 0
    canary.close()
    assert canary.requests == []
    assert code not in OURS
    assert len(text) < 300
    assert "nobody" not in str(context.data)
