"""A real clip through the real stack; and sources that are none."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from pipeline_jobs.media.pipeline import MEDIA
from pipeline_jobs.states import JobStatus
from tests.stack import ROOT, Stack
from tests.waiting import until

MakeStack = Callable[..., Stack]
SAMPLES = ROOT / "samples"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test's own output is enough."""


@pytest.fixture
def media(tmp_path: Path) -> Iterator[str]:
    """A loopback web server with the clips and with things that are none."""
    folder = tmp_path / "www"
    folder.mkdir()
    for clip in ("harbor.mp4", "harbor.wav"):
        (folder / clip).write_bytes((SAMPLES / clip).read_bytes())
    (folder / "page.html").write_text("<html><body>no film here</body></html>")
    (folder / "cut.mp4").write_bytes((SAMPLES / "harbor.mp4").read_bytes()[:60_000])
    (folder / "empty.mp4").write_bytes(b"")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


@pytest.mark.parametrize("clip", ["harbor.mp4", "harbor.wav"])
def test_a_clip_becomes_a_transcript_a_summary_and_files_that_open(make_stack: MakeStack, media: str, clip: str) -> None:
    stack = make_stack()
    api = stack.api()
    stack.settings = stack.settings.model_copy(update={"public_url": api.url})
    stack.worker("jobs", "--autoscale=2,1")
    job = api.post("/pipeline/jobs", {"url": f"{media}/{clip}", "quality": "144p", "tenant_id": "acme"}).json()
    path = f"/pipeline/jobs/{job['job_id']}"

    def ended() -> bool:
        return api.get(path).json()["status"] in ("completed", "failed")

    until(ended, "the end", seconds=120)
    body = api.get(path).json()
    assert body["status"] == "completed", body["error"]
    told = [event["data"] for event in api.get(f"{path}/events").json()["events"]]
    assert [stage for stage in dict.fromkeys(data["stage"] for data in told) if stage] == [stage.name for stage in MEDIA.stages]
    percents = [data["progress"] for data in told]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    spoken = words((SAMPLES / "harbor.txt").read_text())
    data = body["result"]["data"]
    assert len(spoken & words(data["transcript"])) > 0.8 * len(spoken)
    assert data["summary"]
    opened = requests.get(data["drive_url"], timeout=30)
    assert opened.ok
    assert len(opened.content) > 1000
    assert requests.get(data["drive_url"].replace("signature=", "signature=x"), timeout=30).status_code == 404
    assert not list(stack.settings.work_dir.glob("[!.]*"))
    assert api.delete(path).json()["status"] == "deleted"
    assert requests.get(data["drive_url"], timeout=30).status_code == 404


def test_what_is_no_media_fails_with_its_own_code_and_the_worker_lives(make_stack: MakeStack, media: str) -> None:
    stack = make_stack()
    worker = stack.worker("jobs", "--autoscale=2,1")
    expected = {
        "missing.mp4": "source_not_found",
        "page.html": "not_media",
        "cut.mp4": "media_damaged",
        "empty.mp4": "source_empty",
    }
    submitted = {stack.submit(pipeline="media", url=f"{media}/{name}", max_attempts=1).job_id: name for name in expected}
    for job_id, name in submitted.items():
        ended = stack.until_status(job_id, JobStatus.FAILED, JobStatus.COMPLETED, seconds=120)
        assert ended.error_detail is not None, name
        assert (name, ended.error_detail["code"]) == (name, expected[name])
        assert ended.error
        assert "Traceback" not in ended.error
    assert worker.poll() is None
    assert not list(stack.settings.work_dir.glob("[!.]*"))


def test_private_addresses_are_refused_unless_allowed(make_stack: MakeStack, media: str) -> None:
    stack = make_stack(allow_private_urls=False)
    stack.worker("jobs", "--autoscale=2,1")
    ended = stack.until_status(stack.submit(pipeline="media", url=f"{media}/harbor.wav").job_id, JobStatus.FAILED, JobStatus.COMPLETED)
    assert ended.error_detail is not None
    assert ended.error_detail["code"] == "source_forbidden"
