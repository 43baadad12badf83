"""Bar 15: from `make run` (installed) to the end of the first media job, with everything started: server, API, workers, beat, Flower."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks.kit.bench import ROOT, Bench
from benchmarks.kit.figure import Bar, Figure, Outcome, Row


def run(bench: Bench) -> Outcome:
    took = [_once(bench, number) for number in range(min(3, bench.rounds))]
    return Outcome(
        rows=[Row("first media job ended", "s", took)],
        bars=[Bar(15, "from the start to the first ended media job", "<=", 12, took, "s")],
        notes=[
            "What `make run ONCE=1` runs once everything is installed, in a fresh data folder, from its start to the line that says "
            "that the job ended."
        ],
    )


def _once(bench: Bench, number: int) -> float:
    environ = {
        **os.environ, "PIPELINE_DATA_DIR": str(bench.folder / f"run-{number}"), "PIPELINE_HTTP_PORT": "0", "PIPELINE_FLOWER_PORT": "0",
        "PIPELINE_METRICS_PORT": "0",
        "PIPELINE_REDIS_PORT": "0", "PIPELINE_EXPORTER_PORT": "0", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    log = bench.folder / f"run-{number}.log"
    start = time.perf_counter()
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", "pipeline_jobs.up", "--once"], cwd=ROOT, env=environ, stdout=file, stderr=subprocess.STDOUT
        ) as process,
    ):
        ended = None
        while process.poll() is None:
            if ended is None and b"completed" in log.read_bytes():
                ended = time.perf_counter() - start
            time.sleep(0.02)
    if process.returncode or ended is None:
        raise RuntimeError(f"it ended with {process.returncode}:\n{log.read_text('utf-8', 'replace')[-3000:]}")
    return ended


FIGURE = Figure("make_run", "make run to the first ended job", run)
