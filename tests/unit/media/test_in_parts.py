"""What the worker's own process does of a film in parts, and what it believes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import ConfigurationError, InternalError, MediaDamaged
from pipeline_jobs.job import FOR_PARTS
from pipeline_jobs.media import in_parts
from pipeline_jobs.media.pipeline import IN_PARTS, MEDIA
from pipeline_jobs.pipelines import Missing, PartError, registry
from pipeline_jobs.settings import Settings
from tests.unit.media.conftest import MakeContext


class Says:
    """In the place of the job's child."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, list[str]()

    def __call__(self, what: str) -> Any:
        def run(context: JobContext) -> Any:
            self.asked.append(what)
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        return run


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Says:
    child = Says({})
    monkeypatch.setattr(in_parts, "InChild", child)
    return child


@pytest.fixture
def film(make_context: MakeContext) -> JobContext:
    media = {"duration": 700.0, "video": {"width": 64}, "container": "mp4"}
    context = make_context(data={"media": media, "speech": "speech.wav", "output_media": {"duration": 700.0}})
    context.params = IN_PARTS.check_params({})
    return context


def test_a_short_film_asks_nobody(film: JobContext, says: Says) -> None:
    film.data["media"]["duration"] = film.data["output_media"]["duration"] = 600.0
    assert (list(in_parts.cut_film(film)), in_parts.listen(film), list(in_parts.cut_speech(film))) == ([], {}, [])
    film.data["media"]["duration"], film.data["speech"] = None, None
    assert (list(in_parts.cut_film(film)), in_parts.listen(film)) == ([], {})
    assert in_parts.join_speech(film, []) == {}
    film.data["media"].update(duration=700.0, video=None)
    assert list(in_parts.cut_film(film)) == []
    assert says.asked == []
    in_parts.join_film(film, [])
    assert says.asked == ["transcode"]


def test_what_fails_before_there_are_parts_is_done_as_a_whole(film: JobContext, says: Says) -> None:
    says.answer = MediaDamaged()
    film.data["speech_parts"] = 3
    assert (list(in_parts.cut_film(film)), in_parts.listen(film), list(in_parts.cut_speech(film))) == ([], {}, [])
    assert says.asked == ["film_parts:cut", "speech_parts:plan", "speech_parts:cut_sound"]


def test_a_part_is_given_what_the_child_has_cut(film: JobContext, says: Says) -> None:
    cut = [{"kind": "sound", "file": "sound"}, {"kind": "picture", "file": "picture-0"}]
    says.answer = {"parts": cut, "cut": 2}
    for name in ("sound", "picture-0", "hear-0.wav", "hear-0.json", "hear-1.wav", "hear-1.json"):
        (film.workdir / name).touch()
    assert list(in_parts.cut_film(film)) == [(one, [film.workdir / one["file"]]) for one in cut]
    film.data["speech_parts"] = 2
    assert [[path.name for path in files] for _, files in in_parts.cut_speech(film)] == [
        ["hear-0.wav", "hear-0.json"],
        ["hear-1.wav", "hear-1.json"],
    ]


@pytest.mark.parametrize("name", ["../secret", "secret", "picture-1", "picture-2", "source", None, "picture-1/x"])
def test_a_file_that_is_none_of_its_own_is_given_to_no_part(film: JobContext, says: Says, tmp_path: Path, name: object) -> None:
    (tmp_path / "secret").touch()
    (film.workdir / "secret").touch()
    (film.workdir / "source").touch()
    (film.workdir / "picture-1").symlink_to(tmp_path / "secret")
    says.answer = {"parts": [{"kind": "picture", "file": name}]}
    with pytest.raises(InternalError):
        list(in_parts.cut_film(film))


@pytest.mark.parametrize("parts", [None, "many", [{}] * (in_parts.MAX_PARTS + 1)])
def test_parts_that_cannot_be_are_refused(film: JobContext, says: Says, parts: object) -> None:
    says.answer = {"parts": parts, "cut": in_parts.MAX_PARTS + 1}
    film.data["speech_parts"] = 2
    with pytest.raises(InternalError):
        list(in_parts.cut_film(film))
    with pytest.raises(InternalError):
        list(in_parts.cut_speech(film))
    with pytest.raises(InternalError):
        in_parts.film_part(film, {"kind": "analyse"})


def test_what_a_part_failed_of_is_left_to_the_stage_behind(film: JobContext) -> None:
    given = in_parts.join_speech(film, [{"cues": []}, PartError("worker_lost", "killed")])
    assert json.loads((film.workdir / given["recognised"]).read_text()) == [{"cues": []}, None]


def test_only_jobs_that_name_it_need_workers_that_know_parts() -> None:
    assert (IN_PARTS.start()["schema"], MEDIA.start()) == (FOR_PARTS, {})
    assert [name for name, about in IN_PARTS.params.model_fields.items() if not about.description] == []
    assert {stage.name for stage in MEDIA.stages} - {stage.name for stage in IN_PARTS.stages} == set()


def test_it_does_not_run_where_media_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert IN_PARTS.self_test is not None
    assert IN_PARTS.self_test(Settings()) == ""
    monkeypatch.setitem(registry.missing, "media", Missing("media", (), failed="the walls do not hold"))
    with pytest.raises(ConfigurationError, match="do not hold"):
        IN_PARTS.self_test(Settings())
