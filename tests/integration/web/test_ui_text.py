"""Text of clients and pipelines on the page: shown as text, whatever is in it, and linked only where a link can do no harm."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.job import Job
from pipeline_jobs.jobs.graph import Drawn, svg
from pipeline_jobs.operation.waits import reason
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.ui import words
from pipeline_jobs.web.ui.results import MAX_SEGMENTS, result_view, safe_link
from tests.cases import each

from .drawn import UI, harmless
from .world import NOON, World

PAYLOADS = (
    "<script data-mark>alert(1)</script>",
    '"><img data-mark src=x onerror=alert(1)>',
    "' autofocus data-mark onfocus='alert(1)",
    "{{ 7919 * 7907 }}{% raw %}",
    "</textarea></title><svg data-mark onload=alert(1)>",
    # A picture that looks like one of ours.
    '<svg data-mark viewBox="0 0 1 1"><use href="//x.example/#y"/>',
    "javascript:alert(1)",
    "//evil.example/",
)


@each(
    "page",
    [
        *(text for text in PAYLOADS if "data-mark" in text and "<" in text),
        '<svg viewBox="0 0 1 1" onload="x"></svg>',
        '<svg viewBox="0 0 1 1"><foreignObject><p>x</p></foreignObject></svg>',
        '<svg viewBox="0 0 1 1"><use href="#x"/></svg>',
        '<svg viewBox="0 0 1 1"><p>x</p></svg>',
        '<svg viewBox="0 0 1 1"><image href="/x.png"/></svg>',
        '<svg viewBox="0 0 1 1"><rect width="url(#x)"/></svg>',
        '<svg viewBox="0 0 1 1"><rect/></svg><svg viewBox="0 0 1 1"><a href="https://evil.example"><rect/></a></svg>',
        '<svg viewBox="0 0 1 1"><a href="/pipeline/ui/jobs/x" target="y"><rect/></a></svg>',
        '<svg viewBox="0 0 1 1"><a xlink:href="javascript:x"></a></svg>',
        '<svg viewBox="0 0 1 1"><animate attributeName="href"/></svg>',
        '<a href="//evil.example">x</a>',
        '<a href="javascript:x">x</a>',
        '<form><button formaction="javascript:x"></button></form>',
        '<p style="color:red">x</p>',
        '<base href="/">',
        '<meta http-equiv="refresh" content="0">',
    ],
)
def test_the_guard_sees_what_does_harm(page: str) -> None:
    with pytest.raises(AssertionError):
        harmless(page)


def test_the_guard_knows_the_server_s_own_pictures() -> None:
    harmless(
        svg(
            [Drawn("a<b>", "job_1_00000000", None, ()), Drawn("b", "job_1_00000001", JobStatus.FAILED, (0,))],
            lambda node: f"{UI}/jobs/{node.job_id}",
        )
    )


def fields_of(text: str, status: JobStatus) -> dict[str, Any]:
    data = dict.fromkeys(("transcript", "summary", "drive_url", "title", "language", "speech_model"), text) | {
        "keywords": [text, 5, None], "warnings": [text], "segments": [{"start": 1, "text": text}, {"start": text}, text, None],
        "artifacts": {text: text, "ok": f"https://x.example/?q={text}"}, "media": {"video": {"width": text}}, text: {text: [text]},
    }  # fmt: skip
    return {
        "status": status, "pipeline": text, "url": text, "quality": text, "stage": text, "message": text,
        "reason": text, "error": text, "error_detail": {"code": text, "message": text, "stage": text}, "tags": (text,),
        "metadata": {text: text}, "params": {text: text}, "progress": 5.0, "started_at": NOON, "completed_at": NOON, "retry_of": text,
        "result": {"success": True, "data": data},
    }  # fmt: skip


@pytest.mark.parametrize("text", PAYLOADS)
def test_a_job_s_texts_stay_texts(client: FlaskClient, world: World, text: str) -> None:
    job = world.put()
    for status, path in product(JobStatus, (f"/jobs/{job.job_id}", "/jobs", "")):
        world.write(job.job_id, **fields_of(text, status))
        answer = client.get(UI + path)
        assert answer.status_code == 200
        harmless(answer.text)


@pytest.mark.parametrize("text", PAYLOADS)
def test_what_was_typed_stays_text(client: FlaskClient, text: str) -> None:
    fields = dict.fromkeys(("url", "quality", "tenant_id", "workspace_id", "priority", "tags", "params", "token"), text)
    answer = client.post(UI + "/submit", data={"pipeline": "media", **fields}, headers={"Origin": "http://localhost"})
    assert answer.status_code == 422
    harmless(answer.text)
    for path in (
        "/jobs?tenant_id={}",
        "/jobs?status={}",
        "/jobs?tag={}",
        "?tenant_id={}",
        "/submit?pipeline={}",
        "/submit?workspace_id={}",
        "/jobs/{}",
    ):
        answer = client.get(UI + path.format(text))
        # An id with a slash is no route of the page.
        if answer.mimetype != "application/problem+json":
            harmless(answer.text)
    answer = client.post(UI + "/tenants/acme/limits", data={"weight": text}, headers={"Origin": "http://localhost"})
    assert answer.status_code == 422
    harmless(answer.text)


@pytest.mark.parametrize(
    "result",
    [
        None,
        5,
        "x",
        [],
        {},
        {"data": None},
        {"data": []},
        {"success": True, "data": {}},
        {"data": {"artifacts": [1], "segments": {}, "media": 5}},
    ],
)
def test_any_result_can_be_shown(client: FlaskClient, world: World, result: Any) -> None:
    job = world.write(world.put(status=JobStatus.COMPLETED).job_id, pipeline="gone", result=result)
    assert client.get(f"{UI}/jobs/{job.job_id}").status_code == 200


def test_links_lead_to_our_files_or_the_web(client: FlaskClient) -> None:
    with client.application.test_request_context():
        ours = "/pipeline/artifacts/acme/main/job_1_00000000/1/video.mp4?signature=x"
        assert safe_link("http://127.0.0.1:8000" + ours) == ours
        assert safe_link(ours) == ours
        assert safe_link("https://bucket.example/video.mp4") == "https://bucket.example/video.mp4"
        bad = (
            "javascript:alert(1)",
            " javascript:alert(1)",
            "java\nscript:x",
            "data:text/html,x",
            "//x.example",
            "/etc",
            "http://",
            "http://[",
            "",
            5,
        )
        assert [safe_link(address) for address in bad] == [None] * len(bad)


def test_media_of_ours_is_played_and_a_long_transcript_is_cut(client: FlaskClient) -> None:
    ours = "/pipeline/artifacts/acme/main/job_1_00000000/1/"
    data = {
        "segments": [{"start": n, "text": "x"} for n in range(MAX_SEGMENTS + 7)],
        "artifacts": {"media": ours + "video.mp4?signature=x", "captions": ours + "captions.vtt?signature=x"},
        "drive_url": "https://elsewhere.example/video.mp4",
    }
    job = Job("job_1_00000000", JobStatus.COMPLETED, "media", "acme", "main", NOON, result={"data": data})
    with client.application.test_request_context():
        view = result_view(job)
    assert view is not None
    assert view.media is not None
    assert (view.media.href, view.media.player) == (ours + "video.mp4?signature=x", "video")
    assert view.captions is not None
    assert (len(view.segments), view.more_segments) == (MAX_SEGMENTS, 7)
    assert [link.player for link in view.links] == ["video", None, None]


def test_times_and_sizes_in_words() -> None:
    assert [words.span(s) for s in (None, 0.04, 0.4, 3.0, 12.3, 59.9, 80, 3600, 7500, 273_600)] == [
        "-", "0 s", "0.4 s", "3 s", "12 s", "1 min", "1 min 20 s", "1 h", "2 h 5 min", "3 d 4 h",
    ]  # fmt: skip
    assert [words.size(n) for n in (None, 0, 512, 1500, 150_000, 2e9, 9e15)] == [
        "-",
        "0 B",
        "512 B",
        "1.5 kB",
        "150 kB",
        "2.0 GB",
        "9000 TB",
    ]
    assert [words.clock(s) for s in (7.9, 67, 3723, -1, "x", None, float("inf"))] == [
        "0:07",
        "1:07",
        "1:02:03",
        "0:00",
        "0:00",
        "0:00",
        "0:00",
    ]
    assert words.utc(NOON) == "2025-01-03 12:00:00 UTC"
    assert words.ago(NOON).endswith(" ago")
    assert [words.sentence(text) for text in ("", "a GPU", "Z")] == ["", "A GPU", "Z"]
    assert reason("brand_new") == "Brand new."
    assert [words.number(n) for n in (None, 12345, 0.5, 2.0)] == ["-", "12,345", "0.5", "2"]


def test_a_result_that_no_form_was_made_for_is_shown_all_the_same(world: World) -> None:
    """A length that no float can hold."""
    job = world.put(status=JobStatus.COMPLETED, result={"success": True, "data": {"media": {"duration": 10**400}}})
    assert world.make_client().get(f"{UI}/jobs/{job.job_id}").status_code == 200
