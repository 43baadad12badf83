"""The rules for Prometheus as the tests read them, and their tests by promtool: each case is a healthy installation in which one thing goes
wrong at a minute, and says which alerts fire then, and no other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline_jobs.operation.conditions import CONDITIONS

FOLDER = Path(__file__).resolve().parents[1] / "docker/prometheus"
FILES = (FOLDER / "recording.yml", FOLDER / "alerts.yml")
#: How long each series goes on, and when something goes wrong, in minutes. promtool evaluates each minute: more of them take long.
MINUTES, TURN = 90, 20


@cache
def rules() -> tuple[dict[str, Any], ...]:
    """Each rule of the files as it stands there. To read them takes a second."""
    groups = [group for file in FILES for group in yaml.safe_load(file.read_text("utf-8"))["groups"]]
    return tuple(rule for group in groups for rule in group["rules"])


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def alert_of(condition: str) -> str:
    """The alert that tells of a condition."""
    return next(name for name, rule in alerts().items() if condition in rule["annotations"].get("conditions", "").split())


def promtool() -> str:
    """On CI its absence is a failure: `.ci/run` installs it."""
    if found := shutil.which("promtool"):
        return found
    if os.environ.get("CI"):
        pytest.fail("promtool is not installed; .ci/run should have installed it")
    pytest.skip("promtool is not installed (Debian: apt install prometheus)")


def steady(value: float) -> str:
    return f"{value}x{MINUTES}"


def rising(by: float) -> str:
    """Of a counter, a minute."""
    return f"0+{by}x{MINUTES}"


_HTTP = 'pipeline_http_request_duration_seconds_bucket{method="POST",route="/pipeline/jobs"'
_DONE = 'pipeline_jobs_completed_total{tenant="%s",workspace="main",status="%s"}'
#: A healthy installation.
HEALTHY: Mapping[str, str] = {
    'up{job="pipeline-jobs",instance="metrics:9809"}': steady(1),
    "pipeline_store_up": steady(1),
    "pipeline_store_memory_bytes": steady(100),
    "pipeline_store_memory_max_bytes": steady(1000),
    "pipeline_store_aof_ok": steady(1),
    'pipeline_disk_free_bytes{disk="store"}': steady(100),
    'pipeline_disk_reserve_bytes{disk="store"}': steady(10),
    'pipeline_worker_loop_age_seconds{instance="worker"}': steady(1),
    'pipeline_worker_lease_age_seconds{instance="worker"}': steady(2),
    'pipeline_duty_age_seconds{duty="rescue"}': steady(5),
    'pipeline_duty_interval_seconds{duty="rescue"}': steady(5),
    'pipeline_workers_of_class{class="a"}': steady(2),
    "pipeline_jobs_running": steady(1),
    "pipeline_slots": steady(4),
    "pipeline_oldest_queued_age_seconds": steady(1),
    "pipeline_leases_expired_total": steady(3),
    "pipeline_job_crashes_total": steady(3),
    'pipeline_job_handbacks_total{reason="fault"}': steady(3),
    _DONE % ("acme", "completed"): rising(20),
    _DONE % ("acme", "failed"): rising(0.5),
    _DONE % ("zebra", "completed"): rising(20),
    _DONE % ("zebra", "failed"): rising(0.5),
    "pipeline_schedules_late_seconds": steady(0),
    'pipeline_http_requests_total{method="POST",route="/pipeline/jobs",code="503"}': steady(0),
    _HTTP + ',le="1"}': rising(60),
    _HTTP + ',le="2.5"}': rising(60),
    _HTTP + ',le="+Inf"}': rising(60),
    "pipeline_oldest_webhook_age_seconds": steady(60),
    'pipeline_webhook_deliveries_total{outcome="dead"}': steady(2),
    **{f'pipeline_condition{{condition="{name}",severity="{kind.severity}"}}': steady(0) for name, kind in CONDITIONS.items()},
}


@dataclass(frozen=True, slots=True)
class Case:
    """What goes wrong at minute `TURN`, and the alerts that fire because of it."""

    fires: tuple[str, ...]
    #: Series and what they say from then on; None: they end.
    wrong: Mapping[str, float | str | None]
    #: After how many minutes they fire; and at which none of them does yet.
    after: int = 3
    not_yet: int | None = 0

    def series(self) -> dict[str, str]:
        return {**HEALTHY, **{name: self._turned(name, value) for name, value in self.wrong.items()}}

    def _turned(self, name: str, value: float | str | None) -> str:
        if isinstance(value, str):
            return value
        before = f"{HEALTHY[name].split('x')[0]}x{TURN - 1}" if name in HEALTHY else f"_x{TURN}"
        return f"{before} " + ("stale" if value is None else f"{value}x{MINUTES - TURN}")


def condition(name: str) -> str:
    return f'pipeline_condition{{condition="{name}",severity="{CONDITIONS[name].severity}"}}'


def document(cases: Sequence[Case]) -> dict[str, Any]:
    """As `promtool test rules` reads it."""
    return {"rule_files": [str(file) for file in FILES], "evaluation_interval": "1m", "tests": [_test(case) for case in cases]}


def _test(case: Case) -> dict[str, Any]:
    # Behind a series the alerts before it: a missing series is one that nobody asks for.
    times = [(TURN + case.after, case.fires)] + ([] if case.not_yet is None else [(TURN + case.not_yet, ())])
    return {
        "name": " ".join(case.fires) or "healthy",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in case.series().items()],
        "promql_expr_test": [
            {"expr": 'group by (alertname) (ALERTS{alertstate="firing"})', "eval_time": f"{minute}m", "exp_samples": _samples(firing)}
            for minute, firing in times
        ],
    }


def _samples(firing: Sequence[str]) -> list[dict[str, Any]]:
    return [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in firing]


def run(cases: Sequence[Case], folder: Path) -> str:
    """What promtool complains of; empty: nothing."""
    file = folder / "cases.json"
    # JSON is YAML.
    file.write_text(json.dumps(document(cases)))
    done = subprocess.run([promtool(), "test", "rules", file], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def expressions() -> Iterator[str]:
    for rule in rules():
        yield str(rule["expr"])
