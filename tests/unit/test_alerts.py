"""The rules for Prometheus: each alert fires for what it names, at its time and with no other, and none fires in a healthy installation."""

from __future__ import annotations

import re
import subprocess
from itertools import chain
from pathlib import Path

from pipeline_jobs.operation.conditions import ADVICE, CONDITIONS
from tests import alert_rules
from tests.alert_rules import FOLDER, MINUTES, Case, condition, promtool, rising, run
from tests.cases import each
from tests.runbooks import runbooks, steps

ROOT = Path(__file__).resolve().parents[2]
_DONE, _HTTP = alert_rules._DONE, alert_rules._HTTP
ERRORS = 'pipeline_http_requests_total{method="POST",route="/pipeline/jobs",code="503"}'


def fails(tenant: str, good: float, bad: float) -> dict[str, float | str | None]:
    """So many jobs a minute of a tenant complete and fail, all the time."""
    return {_DONE % (tenant, "completed"): rising(good), _DONE % (tenant, "failed"): rising(bad)}


def turned(name: str, by: float) -> dict[str, float | str | None]:
    """A counter rises from then on."""
    return {name: f"3x{alert_rules.TURN - 1} 3+{by}x{MINUTES - alert_rules.TURN}"}


def stopped(tenant: str) -> dict[str, float | str | None]:
    """Nine of ten jobs fail until then, and none from then on."""
    failed = 18 * alert_rules.TURN
    return {**fails(tenant, 2, 18), _DONE % (tenant, "failed"): f"0+18x{alert_rules.TURN} {failed}x{MINUTES - alert_rules.TURN}"}


#: Conditions whose alerts fire within a minute, those of one alert apart; and others, after how many.
AT_ONCE = (
    (
        "store_unsafe", "store_memory_full", "store_memory_high", "store_disk_full", "broker_away", "artifacts_unwritable", "process_lost",
        "process_refused", "workers_away", "worker_paused", "beat_away", "clock_skew", "canary_late", "history_behind",
    ),
    ("files_disk_full", "maintenance_away", "history_full"),
    ("duties_late",),
)  # fmt: skip
LATER = {"worker_drained": 60, "worker_limited": 5, "versions_differ": 60, "settings_differ": 15}

CASES = (
    Case((), {}),
    # Many at once: each case costs a tenth of a second. Each names its condition, so that one alert cannot fire for another's.
    *(Case(tuple(map(alert_rules.alert_of, names)), dict.fromkeys(map(condition, names), 1.0), 1) for names in AT_ONCE),
    *(Case((alert_rules.alert_of(name),), {condition(name): 1}, after, after - 1) for name, after in LATER.items()),
    Case(("StoreDown",), {"pipeline_store_up": 0, condition("store_away"): 1}, 1),
    Case(("ExporterDown",), {"pipeline_store_up": None}, 1),
    Case(("StoreCannotWrite",), {"pipeline_store_aof_ok": 0}, 1),
    Case(("StoreMemoryNearlyFull",), {"pipeline_store_memory_bytes": 751}, 1),
    Case((), {"pipeline_store_memory_bytes": 750}, 1),
    Case(("StoreMemoryUnlimited",), {"pipeline_store_memory_max_bytes": 0}, 5, 4),
    Case(("DiskNearlyFull",), {'pipeline_disk_free_bytes{disk="store"}': 9}, 1),
    Case(("TargetDown",), {'up{job="pipeline-jobs",instance="metrics:9809"}': 0}, 1),
    Case(("WorkerStuck",), {'pipeline_worker_loop_age_seconds{instance="worker"}': 31}, 0, None),
    Case(("WorkerStuck",), {'pipeline_worker_lease_age_seconds{instance="worker"}': 31}, 0, None),
    Case(("DutyLate",), {'pipeline_duty_age_seconds{duty="rescue"}': 51}, 1),
    Case(("WorkersDiffer",), {'pipeline_workers_of_class{class="b"}': 1}, 60, 59),
    # All slots are busy: those who wait wait for them.
    Case((), {"pipeline_oldest_queued_age_seconds": 700, "pipeline_jobs_running": 4}),
    Case(("QueueStuck",), {"pipeline_oldest_queued_age_seconds": 601}, 1),
    Case(("QueueLong",), {"pipeline_oldest_queued_age_seconds": 3601, "pipeline_jobs_running": 4}, 1),
    Case(("LeasesExpire",), turned("pipeline_leases_expired_total", 1), 4, 1),
    Case(("JobsCrash",), turned("pipeline_job_crashes_total", 1), 4, 1),
    Case(("JobsHandedBack",), turned('pipeline_job_handbacks_total{reason="fault"}', 1), 8, 1),
    # More than three tenths of the jobs of all tenants fail, and more than seven tenths.
    Case(("JobsFailSlow",), {**fails("acme", 12, 8), **fails("zebra", 12, 8)}, 3, None),
    Case(("JobsFailFast", "JobsFailSlow"), {**fails("acme", 2, 18), **fails("zebra", 2, 18)}, 3, None),
    # It is over: the shorter window says so.
    Case(("JobsFailSlow",), {**stopped("acme"), **stopped("zebra")}, 8, None),
    Case((), {**stopped("acme"), **stopped("zebra")}, 32, None),
    # One tenant among five has a thousand jobs a minute that cannot succeed: it is its own affair.
    Case((), {**fails("greedy", 0, 1000), **fails("a", 20, 0), **fails("b", 20, 0)}),
    Case(("SchedulesLate",), {"pipeline_schedules_late_seconds": 301}, 1),
    Case(("ApiErrors",), turned(ERRORS, 12), 5, 0),
    Case(("ApiSlow",), {_HTTP + ',le="1"}': rising(50)}, 3, None),
    Case(("WebhooksLate",), {"pipeline_oldest_webhook_age_seconds": 86401}, 1),
    Case(("DeadLetters",), {'pipeline_webhook_deliveries_total{outcome="dead"}': 3}, 0, -1),
)  # fmt: skip


def test_each_alert_fires_for_what_it_names_and_for_nothing_else(tmp_path: Path) -> None:
    assert run(CASES, tmp_path) == ""


def test_promtool_would_tell(tmp_path: Path) -> None:
    assert "NoWorker" in run([Case((), {condition("workers_away"): 1})], tmp_path)
    assert "NoWorker" in run([Case(("NoWorker",), {})], tmp_path)


def test_each_alert_has_a_case() -> None:
    assert {name for case in CASES for name in case.fires} == set(alert_rules.alerts())


def test_each_condition_has_an_alert_and_a_case() -> None:
    told = [name for rule in alert_rules.alerts().values() for name in rule["annotations"].get("conditions", "").split()]
    assert sorted(told) == sorted(name for name, kind in CONDITIONS.items() if kind.severity != ADVICE)
    assert {*chain(*AT_ONCE), *LATER, "store_away"} == set(told)


def test_the_rules_are_clean_by_promtool() -> None:
    done = subprocess.run([promtool(), "check", "rules", *alert_rules.FILES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_loads_every_file_of_rules() -> None:
    named = re.search(r"^rule_files: \[(.*)\]$", (FOLDER / "prometheus.yml").read_text("utf-8"), re.MULTILINE)
    assert named
    assert set(named[1].split(", ")) == {file.name for file in alert_rules.FILES}


# -- runbooks

RUNBOOKS = runbooks()
#: The tests that follow them: those of `make signals`.
LIVE = re.findall(r"tests/\S+\.py", re.findall(r"^signals:.*\n(.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)[0])
FOLLOWED = re.compile(r"\.follow\(\"(\w+)\"(?:, \"(\w+)\")?")
NOT_TRIED = re.compile(r"^\*\*Not tried:\*\* (.*)\.$", re.MULTILINE)


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    assert list(RUNBOOKS) == list(alert_rules.alerts())


@each(("name", "rule"), alert_rules.alerts().items(), ids=lambda value: "rule" if isinstance(value, dict) else None)
def test_an_alert_is_linked_to_its_runbook_which_has_steps(name: str, rule: dict[str, object]) -> None:
    assert isinstance(rule["annotations"], dict)
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}"
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["labels"] in ({"severity": "error"}, {"severity": "warning"})
    assert re.search(r"^1\. ", RUNBOOKS[name], re.MULTILINE), "no steps"
    assert "\n**Ends** " in RUNBOOKS[name], "it does not say when it is over"
    for condition_name in str(rule["annotations"].get("conditions", "")).split():
        assert f"`{condition_name}`" in RUNBOOKS[name]


@each("name", RUNBOOKS)
def test_a_runbook_has_commands_or_says_why_nobody_tries_it(name: str) -> None:
    reasons = NOT_TRIED.findall(RUNBOOKS[name])
    assert bool(steps(name)) + len(reasons) == 1
    assert all(len(reason) > 20 for reason in reasons)


def test_the_commands_of_every_runbook_are_run_live_and_no_others() -> None:
    followed = {found for file in LIVE for found in FOLLOWED.findall((ROOT / file).read_text("utf-8"))}
    assert followed == {(alert, about) for alert in RUNBOOKS for about in steps(alert)}
