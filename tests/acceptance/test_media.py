"""A real clip through the real stack; and sources that are none."""

from __future__ import annotations

import functools
import http.server
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests

from pipeline_jobs.media.pipeline import MEDIA
from pipeline_jobs.states import JobStatus
from tests.stack import ROOT, Api, Stack
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


@pytest.fixture(scope="module")
def parts(make_shared_stack: MakeStack) -> tuple[Stack, Api, subprocess.Popen[bytes]]:
    """The API and a worker, for the tests that end none of them."""
    stack = make_shared_stack()
    api = stack.api()
    stack.settings = stack.settings.model_copy(update={"public_url": api.url})
    return stack, api, stack.worker("jobs", "--autoscale=2,1")


@pytest.fixture
def stack(parts: tuple[Stack, Api, subprocess.Popen[bytes]]) -> Iterator[Stack]:
    yield parts[0]
    parts[0].cancel_all()


@pytest.fixture
def api(parts: tuple[Stack, Api, subprocess.Popen[bytes]]) -> Api:
    return parts[1]


@pytest.fixture
def worker(parts: tuple[Stack, Api, subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    return parts[2]


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


@pytest.mark.parametrize("clip", ["harbor.mp4", "harbor.wav"])
def test_a_clip_becomes_a_transcript_a_summary_and_files_that_open(stack: Stack, api: Api, media: str, clip: str) -> None:
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


def test_what_is_no_media_fails_with_its_own_code_and_the_worker_lives(stack: Stack, worker: subprocess.Popen[bytes], media: str) -> None:
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


@pytest.fixture
def stalling(media: str) -> Iterator[tuple[str, threading.Event]]:
    """A film of which only the beginning comes; set once it has come."""
    begun, over = threading.Event(), threading.Event()

    class Stalls(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write((SAMPLES / "harbor.mp4").read_bytes()[:10_000])
            self.wfile.flush()
            begun.set()
            over.wait(120)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stalls)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/a.mp4", begun
    over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def child_of(worker: subprocess.Popen[bytes]) -> psutil.Process:
    """The process that handles the media of the one job that runs."""
    (child,) = children_of(worker)
    return child


def children_of(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    below = psutil.Process(worker.pid).children(recursive=True)
    return [one for one in below if not gone(one) and "pipeline_jobs.media.stage_child" in one.cmdline()]


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_decoder_that_crashes_fails_its_job_and_no_process_of_the_pool(
    stack: Stack, worker: subprocess.Popen[bytes], media: str, stalling: tuple[str, threading.Event]
) -> None:
    job = stack.submit(pipeline="media", url=stalling[0])
    assert stalling[1].wait(60)
    child = child_of(worker)
    pool = child.ppid()
    assert not {name for name in child.environ() if name.startswith(("PIPELINE_", "CELERY"))}
    child.send_signal(signal.SIGSEGV)
    ended = stack.until_status(job.job_id, JobStatus.FAILED)
    assert ended.error_detail is not None
    assert (ended.error_detail["code"], ended.error_detail["stage"], ended.crashes) == ("decoder_crashed", "fetch", 0)
    assert f"job_id={job.job_id}" in next(line for line in stack.log("jobs").splitlines() if "the media child ended" in line)
    after = stack.submit(pipeline="media", url=f"{media}/harbor.wav", quality="144p")
    assert stack.until_status(after.job_id, JobStatus.COMPLETED, JobStatus.FAILED, seconds=120).status is JobStatus.COMPLETED
    assert psutil.pid_exists(pool)
    assert not list(stack.settings.work_dir.glob("[!.]*"))


def test_no_process_is_left_behind(make_stack: MakeStack, stalling: tuple[str, threading.Event]) -> None:
    stack = make_stack()
    worker = stack.worker("jobs", "--autoscale=1,1")
    url, begun = stalling

    seen: list[psutil.Process] = []

    def of_the_next_run() -> psutil.Process:
        assert begun.wait(60)
        begun.clear()
        # A run may ask for its film more than once.
        seen.append(until(lambda: next((one for one in children_of(worker) if one not in seen), None), "the next run's process"))
        return seen[-1]

    cancelled = stack.submit(pipeline="media", url=url)
    child = of_the_next_run()
    stack.client.cancel(cancelled.job_id)
    stack.until_status(cancelled.job_id, JobStatus.CANCELLED)
    until(lambda: gone(child), "the process of a cancelled job's media to be gone")
    stack.submit(pipeline="media", url=url)
    child = of_the_next_run()
    psutil.Process(child.ppid()).kill()
    until(lambda: gone(child), "that of a killed pool process to be gone")
    # The job runs again.
    child = of_the_next_run()
    worker.kill()
    until(lambda: gone(child), "that of a killed worker to be gone")


#: A worker on a kernel that has neither Landlock nor seccomp: a filter of its own says so of both.
OLD_KERNEL = """
import errno, os, sys
from pipeline_jobs.media import jail
jail._libc.prctl(38, 1, 0, 0, 0)
jail._seccomp([jail._Rule(number, errno.ENOSYS) for number in (444, 277 if os.uname().machine == "aarch64" else 317)])
from celery.__main__ import main
sys.argv[0] = "celery"
main()
"""


def test_a_worker_tries_the_walls_as_it_starts_and_says_where_there_are_none(make_stack: MakeStack, media: str) -> None:
    stack = make_stack(self_test=True)
    api = stack.api()
    stack.worker("walled", "--autoscale=1,1")
    assert "self_test" not in stack.log("walled")
    stack.run(
        "open", sys.executable, "-c", OLD_KERNEL, "-A", "celery_app", "worker", "-n", "open@test", "--loglevel=INFO", "--autoscale=1,1"
    )
    until(lambda: "open@test ready" in stack.log("open"), "the worker")
    said = "this kernel has no Landlock and seccomp"
    assert said in stack.log("open")

    def warned() -> str:
        parts = api.get("/health/ready").json()["parts"]
        return str(parts["workers"].get("warning", ""))

    until(lambda: said in warned(), "the warning")
    assert warned().startswith("open@test: ")
    assert "walled@test" not in warned()
    job = stack.submit(pipeline="media", url=f"{media}/harbor.wav", quality="144p")
    assert stack.until_status(job.job_id, JobStatus.COMPLETED, JobStatus.FAILED, seconds=120).status is JobStatus.COMPLETED
