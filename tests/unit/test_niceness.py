"""Processes in which tenants' jobs run have the processor after those that serve everybody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
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


@pytest.mark.parametrize(
    ("queues", "daemon", "nicer"),
    [
        ("jobs", True, True),
        ("jobs,stages", True, True),
        ("maintenance", True, False),
        ("jobs,maintenance", True, False),
        ("stages", True, False),
        ("jobs", False, False),
    ],
)
def test_only_processes_of_a_pool_that_runs_jobs_are_nicer(tmp_path: Path, queues: str, daemon: bool, nicer: bool) -> None:
    process = get_context("fork").Process(target=start, args=(tmp_path, queues), daemon=daemon)
    process.start()
    process.join()
    assert process.exitcode == (JOB_NICENESS if nicer else 0)
