"""Hostile media through a real worker: every trick, every address of the SSRF corpus and 300 generated files as jobs. The worker lives, its
memory stays under its cap, each job ends with its own code within its time, nobody comes to the canary or opens a planted secret."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.states import JobStatus
from tests.ssrf_urls import redirects, urls
from tests.stack import MakeStack, Stack
from tests.tricks import answers
from tests.tricks.generated import Opened, hostile
from tests.tricks.table import TRICKS
from tests.unit.media.fakes import FakeSite, frameless, make_film, slideshow
from tests.waiting import until

#: What a job's process may take here.
CAP = 1024**3
LIMITS = {"media_max_bytes": 50_000_000, "media_max_seconds": 600.0, "media_max_pixels": 1920 * 1080, "job_memory_bytes": CAP}
#: Of an address that is closed, a name that nobody knows here, a redirect that leads nowhere.
CLOSED = {"source_forbidden", "source_unavailable", "source_failed"}

#: Of the generated files; the limits are low.
FILES, RUN_SECONDS = 300, 60.0
LOW = {
    "media_max_bytes": 2_000_000, "media_max_seconds": 20.0, "media_max_pixels": 640 * 480, "job_memory_bytes": CAP,
    "max_run_seconds": RUN_SECONDS, "work_bytes": 50_000_000,
}  # fmt: skip
#: Those say that something of ours went wrong.
OURS = {"internal_error", "worker_lost", "stage_failed", "run_too_long", "work_too_large"}


class Memory(threading.Thread):
    """The most that any process below one has taken, in bytes of private memory, looked at ten times a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root, self._stop_now = psutil.Process(pid), threading.Event()
        self.most = 0

    def run(self) -> None:
        while not self._stop_now.wait(0.1):
            for process in self._root.children(recursive=True):
                try:
                    self.most = max(self.most, process.memory_full_info().uss)
                except psutil.Error:
                    continue

    def stop(self) -> None:
        self._stop_now.set()
        self.join()


@pytest.fixture
def site() -> Iterator[FakeSite]:
    site = FakeSite()
    yield site
    site.close()


def run_all(stack: Stack, jobs: Mapping[str, str], seconds: float, quality: str = "144p") -> dict[str, Job]:
    """The ended job of each of these URLs, by what they are called; and the worker is the one that it was."""
    worker = stack.worker("jobs", "--autoscale=4,4")
    memory = Memory(worker.pid)
    memory.start()
    asked: dict[str, Any] = {"pipeline": "media", "quality": quality, "max_attempts": 1, "params": {"preset": "film"}, "reuse": False}
    ids = {name: stack.submit(url=url, **asked).job_id for name, url in jobs.items()}
    ended: dict[str, Job] = {}

    def all_ended() -> bool:
        for name in ids.keys() - ended.keys():
            job = stack.client.get(ids[name])
            if job.ended:
                ended[name] = job
        return len(ended) == len(ids)

    until(all_ended, "all jobs to end", seconds)
    memory.stop()
    codes = Counter(job.error_detail["code"] if job.error_detail else job.status.value for job in ended.values())
    print(json.dumps({"jobs": len(ended), "most_memory_mb": round(memory.most / 2**20), "cap_mb": CAP >> 20, "codes": dict(codes)}))
    assert worker.poll() is None
    assert memory.most < CAP
    assert {name: job.crashes for name, job in ended.items() if job.crashes} == {}
    assert not list(stack.settings.work_dir.glob("*"))
    return ended


def test_every_trick_ends_with_its_own_code(make_stack: MakeStack, site: FakeSite, tmp_path: Path) -> None:
    stack = make_stack(**LIMITS)
    ended = run_all(stack, {trick.name: trick.install(site, tmp_path) for trick in TRICKS}, 1800)
    wrong = {}
    for trick in TRICKS:
        job = ended[trick.name]
        code = job.error_detail["code"] if job.error_detail else job.status.value
        if code not in trick.codes:
            wrong[trick.name] = (code, job.error)
        if job.status is JobStatus.FAILED:
            assert job.error
            assert "Traceback" not in job.error
    assert wrong == {}


def test_films_that_are_made_to_cost_keep_the_limits_of_their_outputs(make_stack: MakeStack, site: FakeSite, tmp_path: Path) -> None:
    """Hours of black, pictures of 33 million pixels, and a picture that never comes, with every output that there is."""
    stack = make_stack(job_memory_bytes=CAP)
    films = {
        "black": slideshow(tmp_path / "black.mp4"),
        "large": make_film(tmp_path / "large.mp4", seconds=1, size=(7680, 4320)),
        "frameless": frameless(tmp_path / "frameless.mp4"),
    }
    jobs = {name: site.file(f"/{name}{film.suffix}", film.read_bytes(), "video/mp4") for name, film in films.items()}
    ended = run_all(stack, jobs, 1800, quality="2160p")
    for name, job in ended.items():
        assert (job.status is JobStatus.COMPLETED) or (job.error_detail or {})["code"] == "out_of_memory", (name, job.error)
        assert job.artifact_bytes < 20_000_000
        print(json.dumps({"film": name, "status": job.status.value, "bytes": job.artifact_bytes}))


def test_no_address_inside_is_reached(make_stack: MakeStack, site: FakeSite) -> None:
    """The canary listens on every address of this machine; a server that may be talked to redirects to it."""
    stack = make_stack(**LIMITS, allow_private_urls=False)
    canary = FakeSite("0.0.0.0")
    port = int(canary.url("").rsplit(":", 1)[1])
    jobs, refused = {}, 0
    for number, url in enumerate(urls(port)):
        try:
            stack.client.prepare(NewJob(url=url))
            jobs[f"url {number}"] = url
        except InvalidInput:
            refused += 1
    for number, to in enumerate(redirects(port)):
        jobs[f"redirect {number}"] = site.answer(f"/{number}", answers.redirect(to))
    try:
        ended = run_all(stack, jobs, 1800)
        print(json.dumps({"urls": len(urls(port)), "refused_as_they_came": refused, "canary": len(canary.requests)}))
        assert {name: job.error for name, job in ended.items() if not job.error_detail or job.error_detail["code"] not in CLOSED} == {}
        assert canary.requests == []
    finally:
        canary.close()


def test_no_generated_file_reaches_a_secret_or_a_server(make_stack: MakeStack, site: FakeSite, tmp_path: Path) -> None:
    """The secret lies in the data folder, beside the artifacts; the canary where any process of this machine may connect to it."""
    stack = make_stack(**LOW)
    canary, secret = FakeSite(), stack.settings.data_dir / "secret"
    stack.settings.data_dir.mkdir(parents=True, exist_ok=True)
    secret.write_text("tell nobody")
    files = {f"file {number}": hostile(number, secret, canary.url("/canary.mp4")) for number in range(FILES)}
    jobs = {name: site.file(f"/{name.replace(' ', '-')}.mp4", body, "video/mp4") for name, body in files.items()}
    try:
        with Opened(secret) as opened:
            ended = run_all(stack, jobs, 3600)
            opens = opened.times()
    finally:
        canary.close()
    seconds = {name: (job.completed_at - (job.started_at or 0)) / 1000 for name, job in ended.items() if job.completed_at}
    codes = {name: job.error_detail["code"] for name, job in ended.items() if job.error_detail}
    print(
        json.dumps(
            {"files": len(ended), "canary": len(canary.requests), "secret_opened": opens, "longest_s": round(max(seconds.values()), 1)}
        )
    )
    assert (canary.requests, opens) == ([], 0)
    assert {name: codes[name] for name in codes if codes[name] in OURS} == {}
    assert len(seconds) == FILES
    assert max(seconds.values()) < RUN_SECONDS
    assert not any("nobody" in str(job.result) for job in ended.values())
