"""Jobs a second of a real worker with one tenant queued and with a thousand, in turn: `python -m benchmarks.tenants_throughput`.

No-op jobs, all queued while the tenants are paused, then let loose at once; the time is that of the middle eight tenths of the completions.
Both kinds run in turn on one stack; the ratio is that of the medians. Beside it the CPU time of server and worker
for a job, which other work on the machine does not change much.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from pipeline_jobs.job import NewJob
from pipeline_jobs.settings import load_settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.worker.app import create_celery
from tests.servers import Server
from tests.stack import Stack
from tests.waiting import until


def cpu_seconds(sessions: set[int]) -> float:
    """What the processes of these sessions, or with these ids, had of the CPUs so far, their ended children included."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) in sessions or int(path.parent.name) in sessions:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def throughput(stack: Stack, tenants: int, jobs: int, sessions: set[int]) -> tuple[float, float]:
    """Jobs a second, and CPU milliseconds for a job."""
    client, keys = stack.client.store.client, stack.client.store.keys
    done = keys("status", JobStatus.COMPLETED)
    stack.client.set_limits("*", TenantLimits(paused=True))
    before = int(client.zcard(done))
    for number in range(jobs):
        stack.client.store.submit(stack.client.prepare(_new(number % tenants)))
    stack.client.set_limits("*", TenantLimits())

    def reached(share: float) -> float:
        until(lambda: int(client.zcard(done)) - before >= share * jobs, "the jobs to be done", 600)
        return time.perf_counter()

    begin, at_begin, cpu = reached(0.1), int(client.zcard(done)), cpu_seconds(sessions)
    end, at_end = reached(0.9), int(client.zcard(done))
    cpu = cpu_seconds(sessions) - cpu
    until(lambda: int(client.zcard(done)) - before == jobs, "the last jobs", 600)
    return (at_end - at_begin) / (end - begin), cpu * 1000 / (at_end - at_begin)


def _new(tenant: int) -> NewJob:
    return NewJob(pipeline="sleep", tenant_id=f"t{tenant}", params={"seconds": 0, "steps": 1})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slots", type=int, default=4)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "server", appendfsync="everysec").start()
        settings = load_settings(
            {
                "PIPELINE_REDIS_URL": server.url, "PIPELINE_DATA_DIR": folder, "PIPELINE_MODULES": "examples.demo_pipelines",
                "PIPELINE_MAX_CONCURRENT_JOBS": str(chosen.slots), "PIPELINE_SECRET_KEY": "benchmark", "ENABLE_PIPELINE_JOB_QUEUE": "1",
            }
        )  # fmt: skip
        app = create_celery(settings)
        stack = Stack(app.cell.client, settings, Path(folder) / "stack")
        try:
            worker = stack.worker("jobs", f"--autoscale={chosen.slots},{chosen.slots}")
            sessions = {worker.pid, int(stack.client.store.client.info("server")["process_id"])}
            throughput(stack, 1, chosen.jobs // 3, sessions)
            found: dict[int, list[tuple[float, float]]] = {1: [], chosen.tenants: []}
            for number in range(chosen.rounds):
                # Who is first in a round changes: records pile up.
                for tenants in sorted(found, reverse=number % 2 == 1):
                    found[tenants].append(throughput(stack, tenants, chosen.jobs, sessions))
                    rate, cpu = found[tenants][-1]
                    print(f"{tenants:5} tenants: {rate:7.1f} jobs/s, {cpu:.2f} ms of CPU a job", flush=True)
        finally:
            stack.stop()
            app.close()
            server.stop()
    for what, place in (("jobs/s", 0), ("ms of CPU a job", 1)):
        one, many = (statistics.median(values[place] for values in found[tenants]) for tenants in (1, chosen.tenants))
        print(f"medians {one:.2f} and {many:.2f} {what}, ratio {many / one:.3f}")


if __name__ == "__main__":
    main()
