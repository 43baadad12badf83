"""500 open event streams (SSE) on one process of the API: `python -m benchmarks.streams [--streams 500] [--rate 500] [--seconds 20]`.

Each stream follows a running job of its own. `rate` events a second are written by the scripts themselves, evenly over the jobs, in bursts
as a busy hour brings them; each carries the moment before it was written, and its lag ends when the reader has the whole message.
Meanwhile another process asks `/health/live` all the time. Everything shares the machine: server, API, writer, readers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import requests

from benchmarks.kit.bench import Bench
from benchmarks.kit.figure import Bar, Figure, Outcome, Row
from examples.demo_pipelines import SLEEP
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.pipelines import Registry
from pipeline_jobs.settings import load_settings
from pipeline_jobs.store.store import ClaimRefused, HintTemplate, Store, connect
from tests.servers import Server
from tests.stack import environment, free_port

#: What must hold, in ms: `performance.md`, figure 13.
BARS = {"lag_p99_ms": 100.0, "health_p99_ms": 20.0}


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the greatest, in ms."""
    ordered = sorted(values)
    return {
        "p50_ms": round(statistics.median(ordered) * 1000, 2),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 2),
        "max_ms": round(ordered[-1] * 1000, 2),
    }


def read_streams(port: int, paths: Sequence[str], pipe: Connection) -> None:
    """A process: reads all streams until it is told to stop, then tells the lags."""
    lags: list[float] = []
    opened = [0]

    async def read(path: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n".encode())
        status = await reader.readline()
        assert b" 200 " in status, status
        opened[0] += 1
        while line := await reader.readline():
            if line.startswith(b"data: "):
                now = time.time()
                message = json.loads(line[6:])["data"].get("message")
                if message:
                    lags.append(now - float(message))

    async def run() -> None:
        tasks = [asyncio.create_task(read(path)) for path in paths]
        while opened[0] < len(paths):
            await asyncio.sleep(0.05)
            for task in tasks:
                if task.done():
                    task.result()
        pipe.send("open")
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        for task in tasks:
            task.cancel()

    asyncio.run(run())
    pipe.send(lags)


def ask_health(port: int, pipe: Connection) -> None:
    """A process: asks for health every 10 ms until it is told to stop, then tells how long each answer took."""
    took: list[float] = []
    with requests.Session() as session:
        while not pipe.poll():
            start = time.perf_counter()
            assert session.get(f"http://127.0.0.1:{port}/health/live", timeout=60).ok
            took.append(time.perf_counter() - start)
            time.sleep(0.01)
    pipe.send(took)


def write(store: Store, runs: Sequence[tuple[str, int]], rate: float, seconds: float) -> int:
    """Progress of all jobs, `rate` a second together, in bursts of up to 20. :return: how many."""
    chance = random.Random(13)
    start, written = time.monotonic(), 0
    while (now := time.monotonic() - start) < seconds:
        for _ in range(min(20, int(now * rate) - written)):
            job_id, fence = runs[written % len(runs)]
            store.progress(job_id, fence, 100 * now / seconds, "measure", repr(time.time()))
            written += 1
        time.sleep(chance.random() * 0.02)
    return written


def measure(streams: int = 500, rate: float = 500.0, seconds: float = 20.0, appendfsync: str = "everysec") -> dict[str, Any]:
    """One run. :return: figures in ms, and `events` (written, told)."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), appendfsync=appendfsync).start()
        port = free_port()
        settings = load_settings(
            {
                "PIPELINE_REDIS_URL": server.url, "PIPELINE_DATA_DIR": folder, "ENABLE_PIPELINE_JOB_QUEUE": "1",
                "PIPELINE_MAX_CONCURRENT_JOBS": str(streams), "PIPELINE_HTTP_STREAMS": str(streams), "PIPELINE_HTTP_PORT": str(port),
                "PIPELINE_HTTP_WORKERS": "1", "PIPELINE_ANNOUNCE_SECONDS": "1000",
            }
        )  # fmt: skip
        with (Path(folder) / "api.log").open("wb") as log:
            command = [sys.executable, "-m", "gunicorn", "-c", "python:pipeline_jobs.web.gunicorn_conf", "--no-control-socket", "wsgi:app"]
            api = subprocess.Popen(command, env=environment(settings), stdout=log, stderr=log)
        store = Store(connect(server.url), settings, template=HintTemplate("jobs", '{"id":"@ID@"}'))
        try:
            return _measure(store, settings, api, port, streams, rate, seconds)
        finally:
            api.terminate()
            api.wait()
            store.client.close()
            server.stop()


def _measure(store: Store, settings: Any, api: subprocess.Popen[bytes], port: int, streams: int, rate: float, seconds: float) -> Any:
    registry = Registry()
    registry.register(SLEEP)
    client = Client(store, registry, settings)
    store.announce("w", streams, [])
    runs = []
    for number in range(streams):
        job = store.submit(client.prepare(NewJob(pipeline="sleep", tenant_id=f"t{number % 20}"))).job
        claimed = store.claim(job.job_id, job.fence, worker="w", run="r")
        assert not isinstance(claimed, ClaimRefused)
        runs.append((job.job_id, job.fence))
    while True:
        try:
            requests.get(f"http://127.0.0.1:{port}/health/live", timeout=5)
            break
        except requests.ConnectionError:
            time.sleep(0.1)
    context = multiprocessing.get_context("spawn")
    (reads, reader_end), (asks, asker_end) = context.Pipe(), context.Pipe()
    reader = context.Process(target=read_streams, args=(port, [f"/pipeline/jobs/{job_id}/events" for job_id, _ in runs], reader_end))
    asker = context.Process(target=ask_health, args=(port, asker_end))
    reader.start()
    assert reads.recv() == "open"
    asker.start()
    worker = psutil.Process(api.pid).children()[0]
    before = sum(worker.cpu_times()[:2])
    written = write(store, runs, rate, seconds)
    busy = (sum(worker.cpu_times()[:2]) - before) / seconds
    # The last ones are on their way.
    time.sleep(1)
    threads, memory = worker.num_threads(), worker.memory_info().rss
    asks.send("stop")
    took = asks.recv()
    reads.send("stop")
    lags = reads.recv()
    for process in (reader, asker):
        process.join()
    lag, health = percentiles(lags), percentiles(took)
    return {
        "streams": streams, "rate": rate, "events": {"written": written, "told": len(lags)},
        **{f"lag_{name}": value for name, value in lag.items()}, **{f"health_{name}": value for name, value in health.items()},
        "api_cpu": round(busy, 2), "api_threads": threads, "api_rss_mb": round(memory / 2**20),
    }  # fmt: skip


def run(bench: Bench) -> Outcome:
    """Bar 13, for `python -m benchmarks streams`."""
    size = bench.size(500, 20)
    samples = [measure(size, float(size), float(bench.size(20, 3))) for _ in range(bench.rounds)]
    for one in samples:
        if one["events"]["told"] != one["events"]["written"]:
            raise RuntimeError(f"not all events were told: {one['events']}")
    rows = [("lag, p50", "lag_p50_ms"), ("lag, p99", "lag_p99_ms"), ("/health, p50", "health_p50_ms"), ("/health, p99", "health_p99_ms")]
    return Outcome(
        rows=[Row(name, "ms", [one[figure] for one in samples]) for name, figure in rows],
        bars=[
            Bar(13, f"{what}, p99", "<=", BARS[figure], [one[figure] for one in samples], "ms")
            for what, figure in (("lag of events", "lag_p99_ms"), ("/health meanwhile", "health_p99_ms"))
        ],
        notes=[
            f"{size} SSE streams on one process, each on a running job of its own; one event a second for each, in bursts. The lag begins "
            f"before the script that writes the event and ends when the reader has it; the API took {samples[-1]['api_cpu']} of a core.",
        ],
    )


FIGURE = Figure("streams", "Open event streams", run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--rate", type=float, default=500.0, help="events a second, all streams together")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--appendfsync", default="everysec")
    options = parser.parse_args()
    figures = measure(options.streams, options.rate, options.seconds, options.appendfsync)
    print(json.dumps(figures, indent=2))
    for name, bar in BARS.items():
        print(f"{name}: {figures[name]} (bar {bar}): {'ok' if figures[name] <= bar else 'NOT REACHED'}")
    if figures["events"]["told"] != figures["events"]["written"]:
        print("NOT ALL EVENTS WERE TOLD")


if __name__ == "__main__":
    main()
