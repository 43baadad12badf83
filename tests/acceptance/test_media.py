"""A real clip through the real stack; and sources that are none."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from pipeline_jobs.events import log as events
from pipeline_jobs.media.outputs.catalogue import PRESETS
from pipeline_jobs.media.pipeline import MEDIA
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from tests.acceptance.films import SAID, SAMPLES, SENTENCE, Halting, folder_of, one_sentence, serving, short_film
from tests.acceptance.opened import Opened
from tests.google_drive import GoogleDrive
from tests.living import lives, running
from tests.stack import Api, MakeStack, Stack
from tests.unit.media.fakes import word_share
from tests.waiting import until

#: What is there of every job, whatever it asks for.
ALWAYS = ("media", "transcript", "captions", "segments")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return short_film(tmp_path_factory.mktemp("film") / "film.mp4")


@pytest.fixture
def media(tmp_path: Path, film: bytes) -> Iterator[str]:
    """A loopback web server with the clips and with things that are none."""
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "film.mp4").write_bytes(film)
    for clip in ("harbor.mp4", "harbor.wav"):
        (folder / clip).write_bytes((SAMPLES / clip).read_bytes())
    (folder / "sentence.wav").write_bytes(one_sentence())
    (folder / "page.html").write_text("<html><body>no film here</body></html>")
    (folder / "cut.mp4").write_bytes((SAMPLES / "harbor.mp4").read_bytes()[:60_000])
    (folder / "empty.mp4").write_bytes(b"")
    with serving(folder_of(folder)) as address:
        yield address


@pytest.fixture
def slow(film: bytes) -> Iterator[Halting]:
    """A film of which the second half comes when the test says so."""
    with Halting(film) as halting:
        yield halting


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


def parsed(time: str) -> datetime:
    """As the API writes it: RFC 3339, in UTC."""
    assert time.endswith("Z"), time
    return datetime.fromisoformat(time)


def test_the_brief_s_sample_request_is_answered_field_by_field(stack: Stack, api: Api, google: GoogleDrive, slow: Halting) -> None:
    """All of its section "Usage examples", with nothing but the film's address changed."""
    sample = {"url": slow.url, "quality": "1080p", "tenant_id": "acme", "workspace_id": "main"}
    made = api.post("/pipeline/jobs", sample)
    job = made.json()
    job_id, path = job["job_id"], f"/pipeline/jobs/{job['job_id']}"
    assert re.fullmatch(r"job_\d{10}_[0-9a-f]{8}", job_id)

    def answered(body: dict[str, Any], **fields: Any) -> None:
        whole = {**sample, "job_id": job_id, "created_at": job["created_at"], **fields}
        assert {name: body[name] for name in whole} == whole
        assert len(whole) == 12, "all fields of the brief"

    none_yet = {"started_at": None, "completed_at": None, "result": None, "error": None}
    answered(job, status="queued", progress=0.0, **none_yet)
    assert (made.status_code, made.headers["Content-Type"]) == (201, "application/json")
    assert slow.begun.wait(60)
    until(lambda: api.get(path).json()["progress"], "progress")
    running = api.get(path).json()
    assert parsed(job["created_at"]) <= parsed(running["started_at"])
    assert 0 < running["progress"] < 100
    answered(running, **{**none_yet, "status": "running", "started_at": running["started_at"], "progress": running["progress"]})
    brief_row = {name: running[name] for name in ("job_id", "status", "url", "tenant_id", "workspace_id", "created_at")}
    for query, found in {"": 1, "?tenant_id=acme": 1, "?status=running": 1, "?tenant_id=acme&status=completed": 0}.items():
        listed = api.get(f"/pipeline/jobs{query}").json()
        assert listed["count"] == len(listed["jobs"])
        rows = [row for row in listed["jobs"] if row["job_id"] == job_id]
        assert [{name: row[name] for name in brief_row} for row in rows] == [brief_row] * found, query
        assert all(0 < row["progress"] < 100 for row in rows)
    slow.go.set()
    until(lambda: api.get(path).json()["status"] != "running", "the end", seconds=120)
    body = api.get(path).json()
    answered(
        body, status="completed", progress=100.0, error=None, started_at=running["started_at"],
        completed_at=body["completed_at"], result=body["result"],
    )  # fmt: skip
    assert parsed(body["started_at"]) < parsed(body["completed_at"])
    assert [row["job_id"] for row in api.get("/pipeline/jobs?tenant_id=acme&status=completed").json()["jobs"]] == [job_id]
    assert (body["result"].keys(), body["result"]["success"]) == ({"success", "data"}, True)
    data = body["result"]["data"]
    assert word_share(SAID, data["transcript"]) > 0.8
    assert set(data["summary"].split()) <= set(data["transcript"].split()) != set()
    drive_id = data["drive_url"].removeprefix("https://drive.google.com/file/d/").removesuffix("/view")
    assert google.files[drive_id]["content"] == requests.get(data["artifacts"]["media"], timeout=60).content != b""
    assert google.contents("acme").keys() >= {f"{job_id}_{name}" for name in ("video.mp4", "transcript.txt")}
    slow.go.clear()
    slow.begun.clear()
    other = api.post("/pipeline/jobs", sample).json()["job_id"]
    assert slow.begun.wait(60)
    assert api.delete(f"/pipeline/jobs/{other}").json() == {"job_id": other, "status": "cancelled"}
    stack.until_status(other, JobStatus.CANCELLED)


@pytest.mark.parametrize(
    ("clip", "quality", "tenant", "params"),
    [
        ("film.mp4", "1080p", "acme", {"preset": "film", "outputs": ["chapters"]}),
        # Who speaks: of the shortest sound, each second of which takes two of a processor.
        ("sentence.wav", "144p", "plain", {"preset": "podcast", "outputs": ["speakers"]}),
    ],
)
def test_one_post_gives_all_outputs_of_a_preset_and_others_can_read_them(
    stack: Stack, api: Api, media: str, google: GoogleDrive, clip: str, quality: str, tenant: str, params: dict[str, Any]
) -> None:
    asked = {"url": f"{media}/{clip}", "quality": quality, "tenant_id": tenant, "params": params}
    path = f"/pipeline/jobs/{api.post('/pipeline/jobs', asked).json()['job_id']}"
    until(lambda: api.get(path).json()["status"] in ("completed", "failed"), "the end", seconds=240)
    body = api.get(path).json()
    assert body["status"] == "completed", body["error"]
    told = [event["data"] for event in api.get(f"{path}/events").json()["events"]]
    assert [stage for stage in dict.fromkeys(data["stage"] for data in told) if stage] == [stage.name for stage in MEDIA.stages]
    percents = [data["progress"] for data in told]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    data = body["result"]["data"]
    assert word_share(SAID if clip == "film.mp4" else SENTENCE, data["transcript"]) > 0.8
    link = data["artifacts"]["media"]
    assert requests.get(link.replace("signature=", "signature=x"), timeout=60).status_code == 404
    copied = google.contents(tenant)
    if tenant == "acme":
        assert copied[f"{body['job_id']}_video.mp4"] == requests.get(link, timeout=60).content
        assert data["drive_url"] == body["drive_url"]
    else:
        assert (data["drive_url"], body["drive_url"], copied) == (link, None, {})
    assert set(data["outputs"]) == {*PRESETS[params["preset"]], *params.get("outputs", ()), *ALWAYS}, data.get("warnings")
    Opened(data).every()
    # What it weighs is the tenant's: each file once (`vtt` are the `captions`).
    sizes = {row["link"]: row["bytes"] for row in data["outputs"].values()}
    results = list(stack.settings.data_dir.glob(f"artifacts/{tenant}/*/{body['job_id']}/**/result.json"))
    assert stack.client.get(body["job_id"]).artifact_bytes == sum(sizes.values()) + sum(file.stat().st_size for file in results)
    links = [link for row in data["outputs"].values() for link in row.get("files", {"": row["link"]}).values()]
    assert not list(stack.settings.work_dir.glob("[!.]*"))
    assert api.delete(path).json()["status"] == "deleted"
    assert {requests.get(link, timeout=60).status_code for link in links} == {404}
    assert google.contents(tenant) == copied


def test_a_second_job_for_the_same_film_pays_for_fetching_and_publishing_only(stack: Stack, media: str) -> None:
    jobs = []
    for url in (f"{media}/sentence.wav", f"{media}/sentence.wav?again"):
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


def child_of(worker: subprocess.Popen[bytes]) -> psutil.Process:
    """The process that handles the media of the one job that runs."""
    (child,) = children_of(worker)
    return child


def children_of(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return running("pipeline_jobs.media.stage_child", worker.pid, recursive=True)


def test_a_decoder_that_crashes_fails_its_job_and_no_process_of_the_pool(
    stack: Stack, worker: subprocess.Popen[bytes], media: str, slow: Halting
) -> None:
    job = stack.submit(pipeline="media", url=slow.url)
    assert slow.begun.wait(60)
    child = child_of(worker)
    pool = child.ppid()
    assert not {name for name in child.environ() if name.startswith(("PIPELINE_", "CELERY"))}
    child.send_signal(signal.SIGSEGV)
    ended = stack.until_status(job.job_id, JobStatus.FAILED)
    assert ended.error_detail is not None
    assert (ended.error_detail["code"], ended.error_detail["stage"], ended.crashes) == ("decoder_crashed", "fetch", 0)
    assert f"job_id={job.job_id}" in next(line for line in stack.log("jobs").splitlines() if "the media child ended" in line)
    after = stack.submit(pipeline="media", url=f"{media}/sentence.wav", quality="144p")
    assert stack.until_status(after.job_id, JobStatus.COMPLETED, JobStatus.FAILED, seconds=120).status is JobStatus.COMPLETED
    assert psutil.pid_exists(pool)
    assert not list(stack.settings.work_dir.glob("[!.]*"))


def test_a_process_that_is_killed_while_it_copies_to_drive_leaves_one_file_of_each(
    stack: Stack, worker: subprocess.Popen[bytes], media: str, google: GoogleDrive
) -> None:
    # The folder of the killed run stays until maintenance sweeps it: this is the last test that looks at this stack.
    google.uploading.clear()
    google.hold = True
    job = stack.submit(pipeline="media", url=f"{media}/sentence.wav", quality="144p", tenant_id="acme")
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


def test_no_process_is_left_behind(make_stack: MakeStack, slow: Halting) -> None:
    stack = make_stack()
    worker = stack.worker("jobs", "--autoscale=1,1")
    url, begun = slow.url, slow.begun

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
    _, api = stack.together(partial(stack.worker, "walled", "--autoscale=1,1"), stack.api)
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
    job = stack.submit(pipeline="media", url=f"{media}/sentence.wav", quality="144p")
    assert stack.until_status(job.job_id, JobStatus.COMPLETED, JobStatus.FAILED, seconds=120).status is JobStatus.COMPLETED
