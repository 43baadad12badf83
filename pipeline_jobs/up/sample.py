"""The sample job: the clip that the repository ships, served over loopback HTTP, submitted and followed through the API."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from pipeline_jobs.exceptions import ConfigurationError, PipelineJobsError
from pipeline_jobs.states import TERMINAL

TENANT = "demo"
#: Where the samples are served if nothing else is there: the commands in README.md and the tutorial name it, so they work as they stand.
PORT = 46_363
POLL_SECONDS = 0.2
ANSWER_SECONDS = 10.0


class ApiRefused(PipelineJobsError):
    """The API did not accept the sample job."""

    code = "api_refused"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Each request is not worth a line."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve the files of a folder on loopback, from a thread: at `PORT`, or at any free port if that is taken.

    :return: its address, without a trailing slash.
    """
    with _listening(functools.partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, name="samples", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _listening(handler: Callable[..., SimpleHTTPRequestHandler]) -> ThreadingHTTPServer:
    try:
        return ThreadingHTTPServer(("127.0.0.1", PORT), handler)
    except OSError:
        return ThreadingHTTPServer(("127.0.0.1", 0), handler)


def check_clip(clip: Path) -> Path:
    """:raises ConfigurationError: the clip is not there."""
    if not clip.is_file():
        raise ConfigurationError(f"the sample clip {clip} is missing")
    return clip


def submit(api: str, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """POST the job.

    :param headers: a key, where the API asks for one.
    :return: the job as the API shows it.
    :raises ApiRefused: any answer but 201, with its words.
    """
    answer = requests.post(f"{api}/pipeline/jobs", json={"url": url, "tenant_id": TENANT}, headers=headers, timeout=ANSWER_SECONDS)
    if answer.status_code != 201:
        raise ApiRefused(f"POST /pipeline/jobs answered {answer.status_code}: {answer.text[:500]}")
    return dict(answer.json())


def follow(
    api: str,
    job: dict[str, Any],
    *,
    show: Callable[[dict[str, Any]], None],
    alive: Callable[[], None],
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Ask for the job until it has ended, passing each answer to `show`.

    :param alive: called before each question; raises if waiting is pointless.
    :return: the ended job.
    :raises ApiRefused: the API lost it.
    """
    with requests.Session() as session:
        session.headers.update(headers or {})
        while True:
            show(job)
            if job["status"] in TERMINAL:
                return job
            time.sleep(POLL_SECONDS)
            alive()
            answer = session.get(f"{api}/pipeline/jobs/{job['job_id']}", timeout=ANSWER_SECONDS)
            if answer.status_code != 200:
                raise ApiRefused(f"GET /pipeline/jobs/{job['job_id']} answered {answer.status_code}: {answer.text[:500]}")
            job = dict(answer.json())
