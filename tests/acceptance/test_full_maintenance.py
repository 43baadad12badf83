"""Maintenance on a full server: it lives, and what makes room goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from pipeline_jobs.states import JobStatus
from tests import living
from tests.servers import Server
from tests.stack import MakeStack
from tests.waiting import until


def test_ticks_that_wait_as_the_server_fills_kill_nobody_and_cleanup_goes_on(make_stack: MakeStack, tmp_path: Path) -> None:
    own = Server(tmp_path / "own").start()
    try:
        stack = make_stack(redis_url=own.url, job_ttl_seconds=1)
        stack.maintenance()
        worker, beat = stack._processes
        job = stack.submit()
        living.stop(worker.pid)
        with own.client() as client:
            until(lambda: client.llen("maintenance") >= 3, "ticks")
            client.config_set("maxmemory", "1mb")
            assert stack.client.cancel(job.job_id).status is JobStatus.CANCELLED
            os.kill(worker.pid, signal.SIGCONT)
            until(lambda: not client.exists(stack.client.store.keys("job", job.job_id)), "the purge on a full server")
        assert [process.poll() for process in (worker, beat)] == [None, None]
    finally:
        own.stop()
