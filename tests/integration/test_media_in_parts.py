"""A long film through `media_in_parts`, in this process and the children that it starts: the result is that of `media`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from pipeline_jobs import testing
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.executor import Executor
from pipeline_jobs.media import in_parts
from pipeline_jobs.media.pipeline import IN_PARTS, MEDIA
from pipeline_jobs.pipelines import Pipeline
from pipeline_jobs.settings import load_settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.testing import Ran
from tests.acceptance.films import LONG_FPS, LONG_SECONDS, SAYINGS, folder_of, long_film, one_sentence, serving
from tests.integration.conftest import Cell
from tests.integration.recount import differences

CUT = {"whole_seconds": 10, "part_seconds": 7}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done in parts, part by part."""
    found: list[str] = []

    def noted(what: str, run: Callable[..., Mapping[str, Any]]) -> Callable[..., Mapping[str, Any]]:
        def part(*given: Any) -> Mapping[str, Any]:
            found.append(what)
            return run(*given)

        return part

    for name in ("film_part", "speech_part"):
        monkeypatch.setattr(in_parts, name, noted(name, getattr(in_parts, name)))
    return found


def run(pipeline: Pipeline, film: bytes, folder: Path, **params: Any) -> Ran:
    (folder / pipeline.name).mkdir()
    settings = load_settings({"PIPELINE_DATA_DIR": str(folder)})
    return testing.run(
        pipeline, {"language": "en", "speech_model": "moonshine", **params}, url="upload://film", uploads={"film": film}, quality="144p",
        settings=settings, workdir=folder / pipeline.name,
    )  # fmt: skip


def pictures(film: bytes) -> list[Fraction]:
    with av.open(io.BytesIO(film), "r") as opened:
        frames = opened.decode(video=0)
        return [frame.pts * frame.time_base for frame in frames if frame.pts is not None and frame.time_base is not None]


def told(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a client gets, but for the bytes of the film, which differ a little, and the links and the notes, which are the same then."""
    facts = {name: value for name, value in result["output_media"].items() if name != "bytes"}
    return {name: result[name] for name in result if name not in ("artifacts", "outputs", "provenance", "drive_url")} | {
        "output_media": facts
    }


def test_a_long_film_in_parts_is_the_film_as_a_whole(tmp_path: Path, asked: list[str]) -> None:
    film = long_film(tmp_path / "film.mp4")
    parted = run(IN_PARTS, film, tmp_path, **CUT)
    assert asked == ["film_part"] * 4 + ["speech_part"] * 3, "a sound, and three of each"
    whole = run(MEDIA, film, tmp_path)
    assert asked[7:] == []
    assert told(parted.result) == told(whole.result)
    assert parted.result["transcript"].lower().count("pipeline jobs") == SAYINGS
    assert pictures(parted.files["video.mp4"]) == pictures(whole.files["video.mp4"])
    assert parted.files["captions.vtt"] == whole.files["captions.vtt"]
    assert list(parted.result["provenance"]) == list(whole.result["provenance"])
    percents = [percent for _, percent, _ in parted.progress]
    assert percents == sorted(percents)


def test_a_short_one_is_not_cut(tmp_path: Path, asked: list[str]) -> None:
    ran = run(IN_PARTS, one_sentence(), tmp_path)
    assert asked == []
    assert ran.result["transcript"]
    assert ran.warnings == []


def test_a_job_goes_on_from_run_to_run_with_what_its_parts_gave(jobs: Cell, tmp_path: Path) -> None:
    """As workers run it, one run after the other, with the store and the artifact store between them."""
    (tmp_path / "www").mkdir()
    long_film(tmp_path / "www" / "film.mp4")
    jobs.client.registry.register(IN_PARTS)
    artifacts = ArtifactStore((tmp_path / "artifacts").as_uri(), "http://x", lambda: "k")
    executor = Executor(jobs.store, jobs.client.registry, jobs.settings, artifacts)
    params = {"language": "en", "speech_model": "moonshine", "whole_seconds": 10, "part_seconds": 10}
    said = []
    with serving(folder_of(tmp_path / "www")) as address:
        url = f"{address}/film.mp4"
        job = jobs.client.submit(NewJob(pipeline="media_in_parts", tenant_id="acme", url=url, quality="144p", params=params))
        while jobs.store.announce("c1", 2, []) is not None and (hint := jobs.store.client.rpop("jobs")):
            outcome = executor.run(json.loads(hint)["id"], json.loads(hint)["fence"], "c1")
            said.append(outcome.error or outcome.ending.value)
    ended = jobs.client.get(job.job_id)
    assert ended.status is JobStatus.COMPLETED, (ended.error, said)
    assert said == ["transcode: 3 parts", *["completed"] * 3, "recognise: 2 parts", *["completed"] * 2, "completed"]
    data = ended.result["data"]
    assert data["transcript"].lower().count("pipeline jobs") == SAYINGS
    times = [edge for segment in data["segments"] for edge in (segment["start"], segment["end"])]
    assert times == sorted(times), "no word twice"
    (film,) = (tmp_path / "artifacts").rglob("video.mp4")
    assert pictures(film.read_bytes()) == [Fraction(number, LONG_FPS) for number in range(int(LONG_SECONDS * LONG_FPS))]
    assert differences(jobs.store) == []
    assert not jobs.store.exists("splitting")
