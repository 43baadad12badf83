"""What an operator sees of an installation: the conditions that the metric shows, and those that `jobs doctor` names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from pipeline_jobs.operation.conditions import ADVICE, CONDITIONS
from tests.alert_rules import FILES, alert_of
from tests.prometheus import Prometheus
from tests.runbooks import SECONDS
from tests.stack import ROOT, Api, Stack, environment
from tests.waiting import until


def shown(api: Api) -> set[str]:
    """The conditions that the metric shows, advice not among them."""
    for family in text_string_to_metric_families(api.get("/metrics?scope=all").text):
        if family.name == "pipeline_condition":
            return {one.labels["condition"] for one in family.samples if one.value and one.labels["severity"] != ADVICE}
    raise AssertionError("there is no pipeline_condition")


def doctor(stack: Stack, **env: str) -> dict[str, str]:
    """What `jobs doctor` names, each with its detail; its exit code must agree."""
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "celery_app", "jobs", "doctor", "--json"],
        cwd=ROOT, env={**environment(stack.settings), **env}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    found = {one["condition"]: one["detail"] for one in json.loads(done.stdout)["conditions"] if one["severity"] != ADVICE}
    assert done.returncode == (1 if found else 0), done.stdout
    return found


@contextmanager
def alerting(folder: Path, *shows: Api) -> Iterator[Prometheus]:
    """A Prometheus with the alerts over an API or an exporter, which fire as soon as they hold: tests/unit/test_alerts.py has the times."""
    folder.mkdir()
    rules = [folder / file.name for file in FILES]
    for file, copy in zip(FILES, rules, strict=True):
        copy.write_text(re.sub(r"^ +for: .*\n", "", file.read_text("utf-8"), flags=re.MULTILINE))
    prometheus = Prometheus(folder / "data", {"installation?scope=all": [one.url for one in shows]}, rules)
    try:
        yield prometheus
    finally:
        prometheus.stop()


def until_named(stack: Stack, api: Api, name: str, alerts: Prometheus | None = None, **env: str) -> str:
    """Wait until the metric shows a condition and its alert fires, then ask the doctor. :return: its detail."""
    began = time.monotonic()
    until(lambda: name in shown(api), f"the metric to show {name}", SECONDS)
    print(f"{name} was shown after {time.monotonic() - began:.1f} s")
    if alerts:
        until(lambda: alert_of(name) in alerts.firing(), f"{alert_of(name)} to fire", SECONDS)
        print(f"{alert_of(name)} fires")
    found = doctor(stack, **env)
    assert name in found, found
    return found[name]


def until_well(api: Api, but: frozenset[str] = frozenset(), alerts: Prometheus | None = None) -> None:
    """Wait until nothing is wrong, or nothing but this, and the alerts of all else are silent."""
    last: set[str] = set()

    def well() -> bool:
        last.clear()
        last.update(shown(api) - but)
        return not last

    try:
        until(well, "nothing to be wrong", SECONDS)
    except AssertionError:
        raise AssertionError(f"still wrong: {last}: {api.get('/health/installation').json()['conditions']}") from None
    if alerts:
        wrong = {alert_of(name) for name, kind in CONDITIONS.items() if kind.severity != ADVICE and name not in but}
        until(lambda: not wrong & alerts.firing(), "the alerts to be silent", SECONDS)
