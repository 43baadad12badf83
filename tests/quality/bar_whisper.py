"""The extra `[whisper]`, really installed: a Spanish clip is found to be Spanish, and transcribed behind the walls with times of words."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline_jobs.media import stages
from tests.quality.models import whisper
from tests.quality.texts import FOREIGN
from tests.quality.voices import say
from tests.unit.media.conftest import MakeContext
from tests.unit.media.conftest import make_context as make_context
from tests.unit.media.conftest import published as published
from tests.unit.media.conftest import reporter as reporter
from tests.unit.media.fakes import word_share


def test_another_language_is_found_and_transcribed_behind_the_walls(make_context: MakeContext, tmp_path: Path) -> None:
    model = whisper(tmp_path)
    context = make_context(data={"speech": "speech.wav", "speech_start": 0.0}, PIPELINE_WHISPER_MODEL=str(model))
    shutil.copy(say("espeak-es", FOREIGN["es"], tmp_path), context.workdir / "speech.wav")
    context.stage = "transcribe"
    with context.closing:
        said = stages.transcribe(context)
    assert (said["speech_model"], said["spoken_language"], said["warnings"]) == ("whisper-base", "es", [])
    words = json.loads((context.workdir / said["words"]).read_text())
    assert [word["text"] for word in words] == said["transcript"].split()
    assert all(0 < word["confidence"] <= 1 and word["start"] <= word["end"] for word in words)
    assert word_share(FOREIGN["es"], said["transcript"]) > 0.6
    ends = [(segment["start"], segment["end"]) for segment in said["segments"]]
    assert all(end <= begin for (_, end), (begin, _) in pairwise(ends))


def test_a_part_that_is_not_the_official_one_is_told(tmp_path: Path) -> None:
    model = whisper(tmp_path)
    with (model / "model.bin").open("r+b") as file:
        file.seek(1000)
        file.write(b"x")
    with pytest.raises(ValueError, match=r"model\.bin"):
        whisper(tmp_path)
