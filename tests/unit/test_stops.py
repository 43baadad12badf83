"""A worker that is told to stop before it has begun, and one that is told so twice, ends by itself and not as one that was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_jobs.worker.stopping import is_worker
from tests.cases import each
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
#: A module of pipelines that takes its time.
SLOW = """
import threading
from pathlib import Path
Path(__file__).with_name("begun").touch()
threading.Event().wait()
"""


@each(
    ("line", "is_one"),
    [
        ("-A celery_app worker", True),
        ("--app=celery_app -q worker -Q jobs", True),
        ("-b redis://worker -A worker worker", True),
        ("-A worker jobs list", False),
        ("-A celery_app jobs drain worker", False),
        ("-A celery_app beat", False),
        ("-A worker", False),
        ("", False),
    ],
)
def test_a_worker_is_known_by_its_command(line: str, is_one: bool) -> None:
    assert is_worker(line.split()) is is_one


@pytest.fixture
def started(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that is just loading a module of pipelines."""
    (tmp_path / "slow_pipelines.py").write_text(SLOW)
    environment = {
        **os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "PIPELINE_MODULES": "slow_pipelines", "PIPELINE_DATA_DIR": str(tmp_path),
        "PIPELINE_REDIS_URL": "redis://127.0.0.1:1/0",
    }  # fmt: skip
    line = [sys.executable, "-m", "celery", "-A", "celery_app", "worker"]
    with subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: (tmp_path / "begun").exists() or process.poll() is not None, "the module to be loaded", 300)
            yield process
        finally:
            process.kill()


def test_a_worker_that_has_not_begun_ends_and_has_not_failed(started: subprocess.Popen[bytes]) -> None:
    started.terminate()
    assert started.wait(60) == 0
