"""Bar 1 of "Signals": what goes wrong is shown by the metric and named by `jobs doctor` within a minute; and in normal work nothing is.

Each is ended by the commands of its runbook. A worker that stands still, a dead beat and a wrong artifact store: bar_standing_still.py.
Others: bar_runbooks.py. A skewed clock and two versions: tests/acceptance/bar_clock.py. `make signals` runs them beside this. The hour:
`make signals MINUTES=60`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.up import stack as local
from pipeline_jobs.up.supervisor import Supervisor
from tests.acceptance.conftest import QUICK, SHORT_LEASE
from tests.acceptance.signals import alerting, doctor, shown, until_named, until_well
from tests.chaos.small_disk import RESERVE_BYTES, SmallDisk
from tests.rabbit import PROGRAM, Rabbit
from tests.runbooks import Operator
from tests.stack import ROOT, Api, MakeStack, Stack, environment, free_port
from tests.waiting import until

#: Of the normal work.
MINUTES = float(os.environ.get("SIGNALS_MINUTES", "2"))


def test_the_stores_disk_is_full_before_and_after_the_server_ends(
    make_stack: MakeStack, cell: Settings, disk: SmallDisk, tmp_path: Path
) -> None:
    port = free_port()
    settings = cell.model_copy(
        update={**QUICK, **SHORT_LEASE, "redis_url": f"redis://127.0.0.1:{port}/0", "redis_port": port, "data_dir": disk.path,
                "http_port": free_port(), "artifacts_url": tmp_path.as_uri(), "work_dir_setting": str(tmp_path / "work"),
                "disk_reserve_bytes": RESERVE_BYTES, "http_workers": 1}
    )  # fmt: skip
    supervisor = Supervisor(tmp_path / "logs", ROOT, environment(settings))
    commands = [local.server(settings), *local.processes(settings)]
    try:
        for command in commands:
            if command.name != "flower":
                supervisor.start(command)
        stack, api = make_stack(**settings.model_dump()), Api(f"http://127.0.0.1:{settings.http_port}")
        until(lambda: api.alive("/health/accept"), "the API")
        # Once the store is away the API cannot tell who may see its metrics.
        exporter = stack.exporter()
        with alerting(tmp_path / "prometheus", exporter) as alerts:
            until_well(api, alerts=alerts)
            disk.fill()
            until_named(stack, api, "store_disk_full", alerts)
            server = next(child for child in supervisor.children if child.name == "server")
            until(lambda: (_submitted(stack) or True) and not server.running, "the server to end")
            until_named(stack, exporter, "store_away", alerts)
            assert "store_disk_full" in doctor(stack), "and why"
            Operator(stack, alerts).follow("DiskNearlyFull", FOLDER=str(disk.path), FOUND=str(disk.filler))
            # As StoreDown's runbook says: its supervisor starts it.
            until(lambda: supervisor.revive() or not shown(exporter), "all to come back")
            until_well(exporter, alerts=alerts)
    finally:
        supervisor.stop()


def _submitted(stack: Stack) -> bool:
    try:
        stack.submit(params={"seconds": 0})
    except Exception:
        return False
    return True


def test_a_workers_disk_is_full(make_stack: MakeStack, disk: SmallDisk, tmp_path: Path) -> None:
    stack = make_stack(disk_reserve_bytes=RESERVE_BYTES)
    stack.maintenance()
    stack.worker("jobs")
    stack.worker("small", slots=None, **disk.environment)
    api = stack.api()
    until_well(api)
    with alerting(tmp_path / "prometheus", api) as alerts:
        disk.fill()
        assert "small@test: the working folder" in until_named(stack, api, "worker_paused", alerts)
        Operator(stack, alerts).follow("WorkerPaused", FOLDER=str(disk.path), FOUND=str(disk.filler))
        until_well(api, alerts=alerts)


@pytest.mark.skipif(PROGRAM is None, reason="RabbitMQ is not installed")
def test_rabbitmq_is_down(make_stack: MakeStack, tmp_path: Path) -> None:
    rabbit = Rabbit(tmp_path / "rabbit").start()
    try:
        stack = make_stack(broker_url_setting=rabbit.url, rescue_seconds=5.0)
        stack.maintenance()
        stack.worker("jobs")
        api = stack.api()
        until_well(api)
        with alerting(tmp_path / "prometheus", api) as alerts:
            rabbit.kill()
            until_named(stack, api, "broker_away", alerts)
            assert api.get("/health/accept").status_code == 200, "jobs are accepted and wait"
            Operator(stack, alerts).follow("BrokerDown", **rabbit.own_environment)
            until_well(api, alerts=alerts)
    finally:
        rabbit.stop()


def test_normal_work_with_two_rolling_restarts_shows_nothing(make_stack: MakeStack) -> None:
    """Each second the metric is looked at. At a third and at two thirds all processes but the API that is asked are restarted, each in its
    turn."""
    stack = make_stack(max_concurrent_jobs=6, lease_seconds=60.0, announce_seconds=1.0, rescue_seconds=5.0, canary_seconds=60.0)
    api, port = stack.api(), free_port()

    def start(name: str) -> subprocess.Popen[bytes]:
        if name == "beat":
            schedule = f"--schedule={stack.folder}/schedule"
            return stack.run(name, sys.executable, "-m", "celery", "-A", "celery_app", name, schedule, "--pidfile=")
        if name in ("one", "two"):
            return stack.worker(name, "--autoscale=3,1")
        stack.maintenance_worker(name) if name == "maintenance" else stack.api(port, name=name)
        return stack._processes[-1]

    started = {name: start(name) for name in ("one", "two", "maintenance", "beat", "other-api")}
    until_well(api)
    seen: Counter[str] = Counter()
    stop, looks, jobs = threading.Event(), Counter[str](), Counter[str]()

    def look() -> None:
        while not stop.wait(1):
            looks["looks"] += 1
            if now := shown(api):
                seen.update(now)
                found = api.get("/health/installation").json()["conditions"]
                print(
                    time.strftime("%H:%M:%S"),
                    sorted(now),
                    *(f"{one['condition']}: {one['detail']}" for one in found if one["condition"] in now),
                )

    def work() -> None:
        while not stop.wait(0.5):
            job = stack.submit(params={"seconds": 0.2}, tenant_id=f"t{jobs['sent'] % 7}")
            jobs["sent"] += 1
            if jobs["sent"] % 20 == 0:
                jobs[stack.until_status(job.job_id, JobStatus.COMPLETED).status.value] += 1

    threads = [threading.Thread(target=target) for target in (look, work)]
    for thread in threads:
        thread.start()
    try:
        for third in range(3):
            threading.Event().wait(MINUTES * 20)
            if third == 2:
                break
            for name, process in started.items():
                process.terminate()
                process.wait(120)
                started[name] = start(name)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    print(f"{MINUTES:g} minutes, {looks['looks']} looks, {jobs['sent']} jobs, two rolling restarts: {dict(seen) or 'nothing shown'}")
    assert looks["looks"] > 10
    assert seen == {}
    assert doctor(stack) == {}
