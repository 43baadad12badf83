"""Processes in which tenants' jobs run have the processor after those that serve everybody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from billiard import get_context

from pipeline_jobs.settings import load_settings
from pipeline_jobs.worker.app import create_celery
from pipeline_jobs.worker.start import JOB_NICENESS, child_started


def start(folder: Path, queues: str) -> None:
    """What a pool's process of a worker with these queues does. Its exit code is by how much it asks to be nicer: tests may be at 19."""
    # No server is asked: there is none.
    settings = {"PIPELINE_DATA_DIR": str(folder), "PIPELINE_REDIS_URL": "redis://127.0.0.1:1/0", "PIPELINE_WEBHOOK_SECONDS": "0"}
    app = create_celery(load_settings(settings))
    app.amqp.queues.select(queues.split(","))
    asked: list[int] = []
    os.nice = asked.append  # type: ignore[assignment]
    child_started()
    os._exit(sum(asked))


#: Queues of a worker, whether its pool has children, and whether those are nicer.
CASES = [
    ("jobs", True, True),
    ("jobs,stages", True, True),
    ("maintenance", True, False),
    ("jobs,maintenance", True, False),
    ("stages", True, False),
    ("jobs", False, False),
]


def exit_codes(folder: Path) -> None:
    """Print those of a process for each case. By a process without the threads that other tests have left: a fork may find their locks."""
    codes = []
    for queues, daemon, _ in CASES:
        process = get_context("fork").Process(target=start, args=(folder, queues), daemon=daemon)
        process.start()
        process.join()
        codes.append(process.exitcode)
    print(json.dumps(codes))


def test_only_processes_of_a_pool_that_runs_jobs_are_nicer(tmp_path: Path) -> None:
    code = "import sys, pathlib; from tests.unit.test_niceness import exit_codes; exit_codes(pathlib.Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout) == [JOB_NICENESS if nicer else 0 for _, _, nicer in CASES]
