"""The API and the workers may open as many files as their system allows: with the usual 1,024 a crowd of clients would wait for room."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.starting import MOST_FILES, allow_files
from tests.cases import each

LOW = 300
API = "import pipeline_jobs.web.gunicorn_conf"
#: One that is refused for its two pools: the limit was raised before.
WORKER = """
from types import SimpleNamespace
from pipeline_jobs.settings import load_settings
from pipeline_jobs.worker.app import create_celery
from pipeline_jobs.worker.start import name_worker
app = create_celery(load_settings())
app.amqp.queues.select(["jobs", "jobs.gpu"])
try:
    name_worker(SimpleNamespace(app=app, hostname="jobs@b", loglevel="INFO", pool_cls="prefork", options={}))
except SystemExit as refused:
    assert "one pool" in str(refused), refused
"""


@each("start", [API, WORKER])
def test_a_process_that_starts_may_open_as_many_files_as_its_system_allows(tmp_path: Path, start: str) -> None:
    code = f"""
import resource
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, ({LOW}, hard))
{start}
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    environment = {**os.environ, "PIPELINE_DATA_DIR": str(tmp_path), "PIPELINE_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert done.stdout.split()[-1:] == [str(MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES))], done.stderr


@each(
    ("before", "after"),
    [
        ((1024, 4096), (4096, 4096)),
        ((1024, 1 << 30), (MOST_FILES, 1 << 30)),
        ((1024, resource.RLIM_INFINITY), (MOST_FILES, resource.RLIM_INFINITY)),
        ((200_000, 1 << 20), None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None),
        ((4096, 4096), None),
    ],
)
def test_no_limit_is_lowered_and_none_is_without_an_end(
    monkeypatch: pytest.MonkeyPatch, before: tuple[int, int], after: tuple[int, int] | None
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: before)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    allow_files()
    assert asked == ([] if after is None else [after])


def test_a_system_that_refuses_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    allow_files()
