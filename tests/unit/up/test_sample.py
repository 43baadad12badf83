"""The sample job over a real HTTP server that answers like the API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.up import sample
from tests.stack import ROOT


class FakeApi(ThreadingHTTPServer):
    """Gives the prepared answers to GET one after the other, and keeps what was posted."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posted: list[Any] = []
        self.post_answer: tuple[int, Any] = (201, {})
        self.get_answers: list[tuple[int, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeApi

    def do_POST(self) -> None:
        assert self.path == "/pipeline/jobs"
        self.server.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(*self.server.post_answer)

    def do_GET(self) -> None:
        assert self.path == "/pipeline/jobs/job_1_a"
        self._answer(*self.server.get_answers.pop(0))

    def _answer(self, status: int, body: Any) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def job(status: str, progress: float = 0.0) -> dict[str, Any]:
    return {"job_id": "job_1_a", "status": status, "progress": progress}


def test_files_are_served_on_loopback_and_no_longer_afterwards(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"media")
    with sample.serve(tmp_path) as url:
        assert url.startswith("http://127.0.0.1:")
        assert requests.get(f"{url}/clip.mp4", timeout=60).content == b"media"
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/clip.mp4", timeout=60)


def test_they_are_served_where_the_readme_says_or_elsewhere_if_that_port_is_taken(tmp_path: Path) -> None:
    assert f"http://127.0.0.1:{sample.PORT}/welcome.mp4" in (ROOT / "README.md").read_text("utf-8")
    # Whoever has the port: us, or a stack that runs here.
    with sample.serve(tmp_path) as first, sample.serve(tmp_path) as second:
        assert not second.endswith(f":{sample.PORT}")
        assert {requests.get(one, timeout=60).status_code for one in (first, second)} == {200}


def test_a_missing_clip_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"the sample clip .*none\.mp4 is missing"):
        sample.check_clip(tmp_path / "none.mp4")


def test_the_job_is_submitted_as_the_tenant_demo(api: FakeApi) -> None:
    api.post_answer = (201, job("queued"))
    assert sample.submit(api.url, "http://127.0.0.1:1/clip.mp4") == job("queued")
    assert api.posted == [{"url": "http://127.0.0.1:1/clip.mp4", "tenant_id": "demo"}]


def test_a_refused_job_is_told_in_the_apis_words(api: FakeApi) -> None:
    api.post_answer = (503, {"detail": "the store is full"})
    with pytest.raises(sample.ApiRefused, match=r"POST /pipeline/jobs answered 503: .*the store is full"):
        sample.submit(api.url, "http://127.0.0.1:1/clip.mp4")


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_a_job_is_followed_until_it_has_ended(api: FakeApi, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setattr(sample, "POLL_SECONDS", 0)
    api.get_answers = [(200, job("running", 10.0)), (200, job("running", 60.0)), (200, job(end, 100.0))]
    shown: list[dict[str, Any]] = []
    assert sample.follow(api.url, job("queued"), show=shown.append, alive=lambda: None) == job(end, 100.0)
    assert [one["progress"] for one in shown] == [0.0, 10.0, 60.0, 100.0]


def test_a_lost_job_is_said(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "POLL_SECONDS", 0)
    api.get_answers = [(404, {"title": "no such job"})]
    with pytest.raises(sample.ApiRefused, match="job_1_a answered 404"):
        sample.follow(api.url, job("queued"), show=lambda _: None, alive=lambda: None)


def test_following_ends_when_a_process_has_died(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "POLL_SECONDS", 0)

    def dead() -> None:
        raise RuntimeError("the worker died")

    with pytest.raises(RuntimeError, match="the worker died"):
        sample.follow(api.url, job("queued"), show=lambda _: None, alive=dead)
