"""A long film in parts on a real worker of two slots: nothing of it is lost between them."""

from __future__ import annotations

import io
from pathlib import Path

import av

from pipeline_jobs.events.log import read_all
from pipeline_jobs.states import JobStatus
from tests.acceptance.films import AGAIN, SAYINGS, folder_of, long_film, serving
from tests.stack import MakeStack
from tests.unit.media.fakes import word_share


def test_a_long_film_is_made_on_two_slots_and_is_whole(make_stack: MakeStack, tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    long_film(tmp_path / "www" / "film.mp4")
    stack = make_stack()
    stack.maintenance()
    stack.worker("jobs", "--autoscale=2,2")
    params = {"language": "en", "speech_model": "moonshine", "whole_seconds": 10, "part_seconds": 7}
    with serving(folder_of(tmp_path / "www")) as address:
        job = stack.submit(pipeline="media_in_parts", url=f"{address}/film.mp4", quality="144p", params=params)
        done = stack.until_status(job.job_id, JobStatus.COMPLETED, JobStatus.FAILED, seconds=600)
    assert done.status is JobStatus.COMPLETED, done.error
    said = [event.data.get("message") for event in read_all(stack.client.store, job.job_id)]
    assert {"transcode: 4 parts", "recognise: 3 parts"} <= {message for message in said if message}
    data = done.result["data"]
    assert word_share(" ".join([AGAIN] * SAYINGS), data["transcript"]) == 1.0
    times = [(one["start"], one["end"]) for one in data["segments"]]
    assert times == sorted(times)
    (film,) = (stack.settings.data_dir / "artifacts").rglob("video.mp4")
    with av.open(io.BytesIO(film.read_bytes()), "r") as opened:
        pictures = [frame.time for frame in opened.decode(video=0)]
    assert pictures == [number / 10 for number in range(len(pictures))]
    assert abs(len(pictures) / 10 - data["media"]["duration"]) <= 0.1
    assert stack.client.store.members("splitting") == []
