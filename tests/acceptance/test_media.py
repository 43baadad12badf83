"""A real clip through the real stack; and sources that are none."""

from __future__ import annotations

import functools
import http.server
import io
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import av
import psutil
import pysubs2
import pytest
import requests
from PIL import Image

from pipeline_jobs.events import log as events
from pipeline_jobs.media.outputs.catalogue import PRESETS
from pipeline_jobs.media.pipeline import MEDIA
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from tests.google_drive import GoogleDrive
from tests.living import lives, running
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
    for clip in ("harbor.mp4", "harbor.wav", "welcome.mp4"):
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
def google() -> Iterator[GoogleDrive]:
    """Where results of the tenant `acme` are copied."""
    with GoogleDrive() as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def parts(
    make_shared_stack: MakeStack, google: GoogleDrive, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Stack, Api, subprocess.Popen[bytes]]:
    """The API and a worker, for the tests that end none of them."""
    stack = make_shared_stack(**google.settings(tmp_path_factory.mktemp("key")), max_drive_bytes_per_tenant=0)
    stack.client.set_limits("acme", TenantLimits(max_drive_bytes=10**9), actor=None)
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


@pytest.mark.parametrize(
    ("clip", "quality", "tenant", "preset"), [("welcome.mp4", "1080p", "acme", "film"), ("harbor.wav", "144p", "plain", "podcast")]
)
def test_a_clip_becomes_a_transcript_a_summary_and_files_that_open(
    stack: Stack, api: Api, media: str, google: GoogleDrive, clip: str, quality: str, tenant: str, preset: str
) -> None:
    """The first one is the brief's sample request (and a preset), with the brief's answers, field by field."""
    asked = {"url": f"{media}/{clip}", "quality": quality, "tenant_id": tenant, "workspace_id": "main"}
    made = api.post("/pipeline/jobs", {**asked, "params": {"preset": preset}})
    job = made.json()
    brief = {**asked, "job_id": job["job_id"], "status": "queued", "created_at": job["created_at"]}
    none_yet = dict.fromkeys(("started_at", "completed_at", "result", "error"))
    assert (made.status_code, {**job, **brief, **none_yet, "progress": 0.0}) == (201, job)
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
    spoken = words((SAMPLES / clip).with_suffix(".txt").read_text())
    data = body["result"]["data"]
    assert {**body, **brief, "status": "completed", "progress": 100.0, "error": None} == body
    assert job["created_at"] < body["started_at"] < body["completed_at"]
    assert (body["result"]["success"], data["transcript"] != "", data["summary"] != "") == (True, True, True)
    assert len(spoken & words(data["transcript"])) > 0.8 * len(spoken)
    film = data["artifacts"]["media"]
    opened = requests.get(film, timeout=60)
    assert opened.ok
    assert len(opened.content) > 1000
    assert requests.get(film.replace("signature=", "signature=x"), timeout=60).status_code == 404
    copied = google.contents(tenant)
    if tenant == "acme":
        assert copied[f"{job['job_id']}_video.mp4"] == opened.content
        assert data["drive_url"] == body["drive_url"]
        assert data["drive_url"].startswith("https://drive.google.com/file/d/")
    else:
        assert (data["drive_url"], body["drive_url"], copied) == (film, None, {})
    assert set(PRESETS[preset]) <= set(data["outputs"]), data.get("warnings")
    opened_by_others(data["outputs"])
    # What it weighs is the tenant's: each file once (`vtt` are the `captions`).
    sizes = {row["link"]: row["bytes"] for row in data["outputs"].values()}
    results = list(stack.settings.data_dir.glob(f"artifacts/{tenant}/**/result.json"))
    assert stack.client.get(job["job_id"]).artifact_bytes == sum(sizes.values()) + sum(file.stat().st_size for file in results)
    links = [link for row in data["outputs"].values() for link in row.get("files", {"": row["link"]}).values()]
    assert not list(stack.settings.work_dir.glob("[!.]*"))
    assert api.delete(path).json()["status"] == "deleted"
    assert {requests.get(link, timeout=60).status_code for link in links} == {404}
    assert google.contents(tenant) == copied


def opened_by_others(outputs: dict[str, Any]) -> None:
    """Each output is what its row says to a reader that is none of ours."""
    for name, row in outputs.items():
        got = requests.get(row["link"], timeout=60)
        assert got.ok, name
        assert (row["duration"] is None) == (name not in ("media", "hls", "audio", "waveform")), name
        if "files" not in row:
            assert len(got.content) == row["bytes"], name
        if name in ("srt", "vtt", "ass"):
            assert sum(len(event.plaintext.split()) for event in pysubs2.SSAFile.from_string(got.text)) > 20, name
        elif row["type"] == "image/jpeg":
            with Image.open(io.BytesIO(got.content)) as picture:
                assert picture.size == (640, 360)
        elif row["type"] == "application/json":
            assert json.loads(got.text), name
        elif row["type"] in ("video/mp4", "audio/mp4"):
            with av.open(io.BytesIO(got.content), "r") as film:
                assert (film.duration or 0) / av.time_base == pytest.approx(row["duration"], abs=0.2)
    if "storyboard" in outputs:
        watched(outputs["storyboard"]["link"])
        streamed(outputs["hls"]["link"])


def watched(link: str) -> None:
    """A storyboard: each cue names a part of a picture that is there."""
    cues = requests.get(link, timeout=60).text
    ((sprite, *_), *_) = found = re.findall(r"^(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)$", cues, re.MULTILINE)
    with Image.open(io.BytesIO(requests.get(urljoin(link, sprite), timeout=60).content)) as picture:
        assert all(int(x) + int(wide) <= picture.width and int(y) + int(high) <= picture.height for _, x, y, wide, high in found)


def streamed(link: str) -> None:
    """A stream as a player loads it: from the master playlist on, each segment decoded alone, from its first frame."""
    master = requests.get(link, timeout=60).text
    sizes = re.findall(r"RESOLUTION=(\d+)x\d+.*\n(\S+)\n", master)
    assert [int(width) for width, _ in sizes] == [640, 320]
    lists = [uri for _, uri in sizes] + re.findall(r'TYPE=AUDIO.*URI="([^"]+)"', master)
    frames = [sum(segments(urljoin(link, uri))) for uri in lists]
    assert frames[0] == frames[1] > 100
    assert len(lists) == 3, "the sound is a group of its own"
    assert frames[2] > 100


def segments(link: str) -> list[int]:
    """How many frames each segment of a list gives."""
    text = requests.get(link, timeout=60).text
    ((uri, head),) = re.findall(r'#EXT-X-MAP:URI="([^"]+)",BYTERANGE="([\d@]+)"', text)
    counts = []
    for part, same in re.findall(r"#EXT-X-BYTERANGE:([\d@]+)\n(\S+)", text):
        assert same == uri
        with av.open(io.BytesIO(ranged(urljoin(link, uri), head) + ranged(urljoin(link, uri), part)), "r") as segment:
            packets = [packet for packet in segment.demux() if packet.size]
            assert packets[0].is_keyframe
            segment.seek(0)
            counts.append(len(list(segment.decode())))
    return counts


def ranged(link: str, part: str) -> bytes:
    size, begin = map(int, part.split("@"))
    got = requests.get(link, headers={"Range": f"bytes={begin}-{begin + size - 1}"}, timeout=60)
    assert (got.status_code, len(got.content)) == (206, size)
    return got.content


def test_a_second_job_for_the_same_film_pays_for_fetching_and_publishing_only(stack: Stack, media: str) -> None:
    jobs = []
    for url in (f"{media}/harbor.wav", f"{media}/harbor.wav?again"):
        job = stack.submit(pipeline="media", url=url, quality="144p", tenant_id="twice")
        jobs.append(stack.until_status(job.job_id, JobStatus.COMPLETED, JobStatus.FAILED, seconds=120))
    first, second = (job.result for job in jobs)
    told = events.read(stack.client.store, jobs[1].job_id, limit=500).events
    not_run = [event.data["stage"] for event in told if event.data.get("cached")]
    assert not_run == [stage.name for stage in MEDIA.stages if stage.name not in ("fetch", "summarise", "publish")]
    assert ("cached" in first, second["cached"]) == (False, True)
    assert [first["data"][name] for name in ("transcript", "summary", "segments")] == [
        second["data"][name] for name in ("transcript", "summary", "segments")
    ]


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
    return running("pipeline_jobs.media.stage_child", worker.pid, recursive=True)


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


def test_a_process_that_is_killed_while_it_copies_to_drive_leaves_one_file_of_each(
    stack: Stack, worker: subprocess.Popen[bytes], media: str, google: GoogleDrive
) -> None:
    # The folder of the killed run stays until maintenance sweeps it: this is the last test that looks at this stack.
    google.uploading.clear()
    google.hold = True
    job = stack.submit(pipeline="media", url=f"{media}/harbor.wav", quality="144p", tenant_id="acme")
    assert google.uploading.wait(300), "no byte came to Drive"
    pool = psutil.Process(child_of(worker).ppid())
    google.hold = False
    pool.kill()
    google.go.set()
    ended = stack.until_status(job.job_id, JobStatus.COMPLETED, JobStatus.FAILED, seconds=120)
    assert (ended.status, ended.crashes) == (JobStatus.COMPLETED, 1)
    copied = [name for name in google.contents() if name.startswith(job.job_id)]
    assert len(copied) == 4
    assert ended.drive_url


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
    until(lambda: not lives(child), "the process of a cancelled job's media to be gone")
    stack.submit(pipeline="media", url=url)
    child = of_the_next_run()
    psutil.Process(child.ppid()).kill()
    until(lambda: not lives(child), "that of a killed pool process to be gone")
    # The job runs again.
    child = of_the_next_run()
    worker.kill()
    until(lambda: not lives(child), "that of a killed worker to be gone")


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
