"""celery-exporter and Flower beside a real Prometheus with our rules: a killed worker is down, and no series says what is not so.

It installs celery-exporter the first time. `python -m pytest -s tests/heavy/bar_watchers.py`
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
import requests

from tests.stack import ROOT, MakeStack, free_port
from tests.waiting import until

PROMETHEUS = shutil.which("prometheus")


def series(port: int, name: str) -> dict[str, float]:
    """The series of a metric in Prometheus, by host, queue or worker."""
    found = requests.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": name}, timeout=10).json()["data"]["result"]
    return {
        "|".join(one["metric"].get(label, "") for label in ("hostname", "queue_name", "worker", "name")): float(one["value"][1])
        for one in found
    }


def config(folder: Path, exporter: int, flower: str) -> Path:
    """Ours, with the addresses of here and a short interval."""
    text = (ROOT / "docker" / "prometheus" / "prometheus.yml").read_text()
    text = text.replace("celery-exporter:9808", f"127.0.0.1:{exporter}").replace("flower:5555", flower.removeprefix("http://"))
    # celery-exporter asks the workers at each scrape: that takes two seconds.
    text = re.sub(r"scrape_interval: \w+", "scrape_interval: 5s", text)
    text = re.sub(r"rule_files: \[.*\]", "", text)
    (folder / "prometheus.yml").write_text(text)
    return folder / "prometheus.yml"


@pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed (Debian: apt install prometheus)")
def test_a_killed_worker_is_down_and_no_series_misleads(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(key_prefix="east:")
    exporter, prometheus = free_port(), free_port()
    stack.run("exporter", sys.executable, "-m", "pipeline_jobs.up.exporter", stack.settings.redis_url, str(exporter), "east:")
    until(lambda: "exporter" in stack.log("exporter").lower() and _alive(exporter), "celery-exporter", seconds=300)
    flower = stack.flower()
    command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-E", "-c", "1", "--loglevel=INFO"]
    worker = stack.run("jobs", *command, "-n", "jobs@jobs-%h")
    stack.run("maintenance", *command, "-n", "maintenance@maintenance-%h", "-Q", "maintenance")
    assert PROMETHEUS
    stack.run(
        "prometheus", PROMETHEUS, f"--config.file={config(tmp_path, exporter, flower.url)}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{prometheus}",
    )  # fmt: skip
    until(lambda: _alive(prometheus, "/-/ready"), "Prometheus")
    jobs = [stack.hold().job_id for _ in range(6)]
    up = until(lambda: len(found := series(prometheus, "celery_worker_up")) == 2 and found, "both workers to be up")
    assert set(up.values()) == {1.0}
    until(lambda: series(prometheus, "celery_task_started_total"), "the started job")
    assert {name.split("|")[1] for name in series(prometheus, "celery_task_started_total")} == {"jobs"}
    queues = until(lambda: series(prometheus, "celery_queue_length"), "lengths of queues")
    assert not any(name.split("|")[1].startswith("jobs") for name in queues), queues
    for gone in ("celery_task_sent_total", "flower_worker_online", "flower_worker_number_of_currently_executing_tasks"):
        assert series(prometheus, gone) == {}, gone
    assert series(prometheus, "flower_events_total")
    os.killpg(worker.pid, signal.SIGKILL)
    down = until(lambda: 0.0 in (found := series(prometheus, "celery_worker_up")).values() and found, "it to be down", seconds=60)
    print(f"\nafter the kill: {down}")
    assert sorted(down.values()) == [0.0, 1.0]
    assert next(name for name, value in down.items() if value == 0.0).startswith("jobs-")
    stack.tell(*jobs)


def _alive(port: int, path: str = "/metrics") -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}{path}", timeout=5).ok
    except requests.RequestException:
        return False
