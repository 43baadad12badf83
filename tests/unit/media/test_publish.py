from __future__ import annotations

import json

import pytest

from pipeline_jobs.exceptions import PublishError
from pipeline_jobs.media import publish
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import FakeReporter

SEGMENTS = [{"start": 0.0, "end": 2.4, "text": "Hello & <b>welcome</b>."}, {"start": 3725.5, "end": 3726.0, "text": "Bye --> bye."}]
DATA = {"output": "video.mp4", "transcript": "Hello. Bye.", "summary": "Hello.", "segments": SEGMENTS}


def test_the_film_and_the_texts_are_published(make_context: MakeContext, published: dict[str, bytes], reporter: FakeReporter) -> None:
    context = make_context(data=DATA)
    (context.workdir / "video.mp4").write_bytes(b"film")
    done = publish.run(context)
    outputs = done.pop("outputs")
    assert {name: row["type"] for name, row in outputs.items()} == {
        "media": "video/mp4", "transcript": "text/plain", "captions": "text/vtt", "segments": "application/json",
    }  # fmt: skip
    assert outputs["media"] == {"link": "link:video.mp4", "type": "video/mp4", "bytes": 4, "duration": None}
    assert done == {
        "artifacts": {
            "media": "link:video.mp4", "transcript": "link:transcript.txt",
            "captions": "link:captions.vtt", "segments": "link:segments.json",
        },
        "drive_url": "link:video.mp4",
    }  # fmt: skip
    assert published["video.mp4"] == b"film"
    assert published["transcript.txt"] == b"Hello. Bye.\n"
    assert json.loads(published["segments.json"]) == SEGMENTS
    assert reporter.percents == [0.0, 12.5, 25.0, 37.5, 100.0]


def test_captions_are_webvtt() -> None:
    assert publish.captions(SEGMENTS) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:02.400\nHello &amp; &lt;b&gt;welcome&lt;/b&gt;.\n\n"
        "01:02:05.500 --> 01:02:06.000\nBye --&gt; bye.\n"
    )
    assert publish.captions([]) == "WEBVTT\n"


def test_a_store_that_fails_ends_the_stage(make_context: MakeContext) -> None:
    def broken(path: object, name: str) -> str:
        raise PublishError

    context = make_context(data=DATA)
    context.publish = broken
    (context.workdir / "video.mp4").write_bytes(b"film")
    with pytest.raises(PublishError):
        publish.run(context)
