"""Bar 1 of "Fleet": what is wrong with the store's server, which processes are not there, and which differ, is told by alerts that the
commands of their runbooks end. `make signals` runs this beside the other conditions (bar_signals.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.acceptance.signals import alerting, until_well
from tests.living import children
from tests.runbooks import Operator
from tests.servers import Server
from tests.stack import MakeStack, Stack, free_port


def test_the_stores_server(make_stack: MakeStack, own: Server, tmp_path: Path) -> None:
    stack = make_stack(redis_url=own.url)
    exporter = stack.exporter()
    with alerting(tmp_path / "prometheus", exporter) as alerts:
        operator = Operator(stack, alerts)
        operator.follow("StoreMemoryUnlimited")
        with own.client() as client:
            client.config_set("maxmemory", int(client.info("memory")["used_memory"] / 0.82))
            operator.follow("StoreMemoryNearlyFull")
            client.config_set("maxmemory", "1mb")
            operator.follow("StoreMemoryFull")
            client.config_set("maxmemory-policy", "allkeys-lru")
            operator.follow("StoreUnsafe")
            client.config_set("appendonly", "no")
            operator.follow("StoreCannotWrite")
        own.kill()
        operator.follow("StoreDown", FOLDER=str(own.folder), PORT=str(own.port))


def start_beat(stack: Stack) -> subprocess.Popen[bytes]:
    schedule = f"--schedule={stack.folder}/schedule"
    return stack.run("beat", sys.executable, "-m", "celery", "-A", "celery_app", "beat", schedule, "--pidfile=")


def test_processes_that_are_not_there(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(announce_seconds=1.0, rescue_seconds=2.0, canary_seconds=2.0)
    worker, api = stack.worker("jobs", "--autoscale=2,2"), stack.api()
    stack.maintenance_worker("maintenance")
    maintenance, _ = stack._processes[-1], start_beat(stack)
    until_well(api)
    with alerting(tmp_path / "prometheus", api) as alerts:
        operator = Operator(stack, alerts)
        for child in children(worker.pid):
            child.suspend()
        operator.follow("CanaryLate", PID=str(worker.pid), WORKER="jobs@test")
        maintenance.terminate()
        operator.follow("BeatLate", "maintenance_away")
        until_well(api, alerts=alerts)
        assert stack.celery("jobs", "drain", "jobs@test").returncode == 0
        operator.follow("NoWorker")
        until_well(api, frozenset({"worker_drained"}), alerts)


def test_what_prometheus_does_not_reach(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(http_port=free_port(), metrics_port=free_port(), http_workers=1)
    exporter, api = stack.exporter(stack.settings.metrics_port), stack.api(stack.settings.http_port)
    started = stack._processes[-2:]
    with alerting(tmp_path / "prometheus", exporter, api) as alerts:
        operator = Operator(stack, alerts)
        for process in started:
            process.kill()
        operator.follow("ExporterDown")
        operator.follow("TargetDown")


def test_workers_that_differ(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(announce_seconds=1.0, rescue_seconds=2.0)
    stack.worker("jobs")
    api = stack.api()
    with alerting(tmp_path / "prometheus", api) as alerts:
        operator = Operator(stack, alerts)
        odd = stack.worker("odd", PIPELINE_MODULES="examples.demo_pipelines")
        operator.follow("WorkersDiffer", PID=str(odd.pid), WORKER="odd@test")
        strange = stack.worker("strange", PIPELINE_MAX_CRASHES="7")
        operator.follow("SettingsDiffer", PID=str(strange.pid), WORKER="strange@test")
