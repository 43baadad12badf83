"""Artifacts in a bucket, on a real S3 server on loopback (rclone's): what a folder on a disk does, and copies from there to Drive."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from pipeline_jobs.exceptions import PublishError, StoreUnavailable
from pipeline_jobs.files import artifacts
from pipeline_jobs.files.artifacts import ArtifactStore, RunArtifacts
from pipeline_jobs.files.copies import Copier
from pipeline_jobs.files.drive import Drive
from pipeline_jobs.settings import Settings
from tests.google_drive import GoogleDrive
from tests.integration.conftest import Cell
from tests.stack import free_port
from tests.waiting import until

RCLONE = Path(sys.executable).with_name("rclone")
KEY = ("an-access-key", "a-secret-key")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address; there is a bucket `media`."""
    folder, port = tmp_path_factory.mktemp("s3"), free_port()
    (folder / "media").mkdir()
    command = [str(RCLONE), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", ",".join(KEY), "--config", "", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            until(lambda: _answers(port), "the S3 server")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/", timeout=60).status_code in (400, 403)
    except requests.ConnectionError:
        return False


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    for name, value in (
        ("AWS_ENDPOINT_URL", s3), ("AWS_ACCESS_KEY_ID", KEY[0]), ("AWS_SECRET_ACCESS_KEY", KEY[1]), ("AWS_DEFAULT_REGION", "us-east-1"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    artifacts.check_root("s3://media/jobs")
    return ArtifactStore("s3://media/jobs", "http://api", lambda: "key")


def test_files_are_stored_read_and_removed(bucket: ArtifactStore, tmp_path: Path) -> None:
    film = tmp_path / "video.mp4"
    film.write_bytes(bytes(range(256)) * 5000)
    run = RunArtifacts(bucket, "acme/main/job_1/1")
    link = run.publish(film, "video.mp4")
    path = run.write(b"{}", "result.json")
    assert bucket.verify("acme/main/job_1/1/video.mp4", link.rpartition("=")[2])
    assert bucket.stat("acme/main/job_1/1/video.mp4").size == film.stat().st_size
    with bucket.open("acme/main/job_1/1/video.mp4") as file:
        file.seek(1_000_000)
        assert file.read(256) == film.read_bytes()[1_000_000:1_000_256]
    assert bucket.read(path) == b"{}"
    assert bucket.fault() is None
    for missing in ("acme/main/job_2/1/video.mp4", "acme/main/job_1"):
        with pytest.raises(FileNotFoundError):
            bucket.stat(missing)
    assert bucket.delete_older("*/*/*/1", 3600) == 0
    for _ in range(2):
        bucket.delete_prefix("acme/main/job_1")
    assert not bucket.exists("acme/main/job_1/1/video.mp4")


def test_a_bucket_that_refuses_says_so(bucket: ArtifactStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    wrong = ArtifactStore("s3://media/wrong", "http://api", lambda: "key")
    wrong._fs.clear_instance_cache()
    wrong = ArtifactStore("s3://media/wrong", "http://api", lambda: "key")
    with pytest.raises(PublishError):
        wrong.write(b"x", "acme/main/job_1/1/a")
    with pytest.raises(StoreUnavailable):
        wrong.stat("acme/main/job_1/1/a")
    wrong._fs.clear_instance_cache()


def test_copies_to_google_drive_are_made_from_a_bucket(bucket: ArtifactStore, jobs: Cell, tmp_path: Path) -> None:
    content = bytes(range(256)) * 3000
    bucket.write(content, "acme/main/job_9/1/video.mp4")
    with GoogleDrive() as google:
        drive = Drive.of(Settings(**google.settings(tmp_path)))
        assert drive
        (one,) = drive.draw_ids(1)
        event = {
            "webhook_type": "job.completed", "copies_drawn": f'{{"video.mp4":"{one}"}}', "artifacts": "acme/main/job_9/1",
            "tenant_id": "acme", "job_id": "job_9", "order": "1",
        }  # fmt: skip
        jobs.store.client.hset(jobs.store.keys("webhook_event", "e"), mapping=event)
        Copier(jobs.store, bucket, drive).deliver("e", event)
        assert google.contents() == {"job_9_video.mp4": content}


class OtherServer(BaseHTTPRequestHandler):
    """Has one file, and gives the checksum of another text with it, as servers do that give that of the whole with a part."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        for name, value in (("Content-Length", "6"), ("ETag", '"e"'), ("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")):
            self.send_header(name, value)
        self.send_header("x-amz-checksum-crc32", "AAAAAA==")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(b"a film")

    def log_message(self, format: str, *args: Any) -> None:
        return


def test_a_checksum_that_was_not_asked_for_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherServer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        for name, value in (
            ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}"), ("AWS_ACCESS_KEY_ID", KEY[0]),
            ("AWS_SECRET_ACCESS_KEY", KEY[1]), ("AWS_DEFAULT_REGION", "us-east-1"),
        ):  # fmt: skip
            monkeypatch.setenv(name, value)
        try:
            # Another address, which is not one of the things by which connections are kept.
            ArtifactStore("s3://media/jobs", "http://api", lambda: "key")._fs.clear_instance_cache()
            other = ArtifactStore("s3://media/jobs", "http://api", lambda: "key")
            assert other.read("acme/main/job_1/1/video.mp4") == b"a film"
            other._fs.clear_instance_cache()
        finally:
            server.shutdown()
            thread.join()
