"""A real Prometheus scrapes two APIs, two workers and the exporter: its numbers are the API's, and every documented query runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pipeline_jobs.states import JobStatus
from tests import alert_rules
from tests.living import children
from tests.prometheus import Prometheus
from tests.stack import Api, MakeStack, free_port
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]


class Watched:
    """A stack with two APIs and two workers, and a Prometheus that scrapes all of it."""

    def __init__(self, make_stack: MakeStack, folder: Path) -> None:
        self.stack = stack = make_stack(max_concurrent_jobs=3, canary_seconds=1.0, history_url=f"sqlite:///{folder}.db")
        stack.client.store.set_pipeline_cap("sleep", 3)
        self.ports = [str(free_port()) for _ in range(2)]
        workers = [partial(stack.worker, f"jobs{n}", "-c", "2", PIPELINE_WORKER_METRICS_PORT=port) for n, port in enumerate(self.ports)]
        stack.together(*workers, stack.maintenance, self._start_apis, self._start_exporter)
        self.prometheus = Prometheus(
            folder,
            {
                "pipeline-jobs": [self.exporter.url],
                "pipeline-api?scope=process": [api.url for api in self.apis],
                "pipeline-worker": [f"http://127.0.0.1:{port}" for port in self.ports],
            },
            alert_rules.FILES,
        )

    def _start_apis(self) -> None:
        self.apis = [self.stack.api(name="api-a", processes=2)]
        self.two_processes = self.stack.api_process
        self.apis.append(self.stack.api(name="api-b"))

    def _start_exporter(self) -> None:
        self.exporter = self.stack.exporter()

    def run_jobs(self) -> int:
        """Jobs of two tenants by both APIs, good and bad. :return: how many."""
        made = []
        for api in self.apis:
            for fields in ({"tenant_id": "acme"}, {"tenant_id": "zebra"}, {"tenant_id": "acme", "params": {"fail": "x"}}):
                for _ in range(2):
                    answer = api.post("/pipeline/jobs", {"pipeline": "sleep", **fields})
                    assert answer.status_code == 201, answer.text
                    made.append(str(answer.json()["job_id"]))
            assert api.post("/pipeline/jobs", {"pipeline": "sleep", "tenat_id": "x"}).status_code == 422
            assert api.get("/" + "x" * 9000).status_code == 414
        daily = {"cron": "0 3 * * *", "job": {"pipeline": "sleep"}}
        assert self.apis[0].post("/pipeline/schedules", daily).status_code == 201
        for job_id in made:
            self.stack.until_status(job_id, JobStatus.COMPLETED, JobStatus.FAILED)
        return len(made)

    def until(self, query: str, value: float) -> None:
        until(lambda: self.prometheus.number(query) == value, f"{query} = {value}")


@pytest.fixture
def watched(make_stack: MakeStack, tmp_path: Path) -> Iterator[Watched]:
    made = Watched(make_stack, tmp_path / "prometheus")
    yield made
    made.prometheus.stop()


def listed(api: Api, **which: str) -> int:
    return len(api.get("/pipeline/jobs", params={**which, "limit": "100"}).json()["jobs"])


def processes(api: subprocess.Popen[bytes]) -> list[int]:
    return [child.pid for child in children(api.pid)]


def test_its_numbers_are_the_apis_and_each_documented_query_runs(watched: Watched) -> None:
    jobs, prometheus = watched.run_jobs(), watched.prometheus
    watched.until("sum(up)", 5)
    watched.until("sum(pipeline_jobs_created_total)", jobs)
    watched.until("sum(pipeline_jobs_completed_total)", jobs)
    for tenant in ("acme", "zebra"):
        for status in ("completed", "failed"):
            labels = f'tenant="{tenant}",status="{status}"'
            assert prometheus.number(f"sum(pipeline_jobs_completed_total{{{labels}}})") == listed(
                watched.apis[0], tenant_id=tenant, status=status
            )
    # Two workers of two slots each, and a cap of three.
    watched.until("pipeline_slots", 3)
    watched.until("pipeline_workers", 2)
    watched.until("sum(pipeline_jobs_waiting)", 0)
    # Each request is counted once, by whichever process of whichever replica it was answered.
    watched.until('sum(pipeline_http_requests_total{method="POST",route="/pipeline/jobs",code="201"})', jobs)
    watched.until('sum(pipeline_http_refusals_total{route="/pipeline/jobs",code="invalid_input"})', 2)
    watched.until('sum(pipeline_http_refusals_total{route="_none",code="request_line_too_long"})', 2)
    watched.until('sum(pipeline_http_request_duration_seconds_count{method="POST",route="/pipeline/jobs"})', jobs + 2)
    watched.until('sum(pipeline_stage_duration_seconds_count{stage="answer"})', jobs)
    watched.until('sum(pipeline_stage_duration_seconds_count{stage="answer",outcome="error"})', jobs / 3)
    until(lambda: prometheus.query("pipeline_canary_age_seconds"), "a canary")
    _each_query_runs(watched)
    _a_process_ends_and_no_count_falls(watched)


def _each_query_runs(watched: Watched) -> None:
    prometheus = watched.prometheus
    page = (ROOT / "docs/metrics.md").read_text("utf-8")
    readme = (ROOT / "README.md").read_text("utf-8")
    queries = [
        line for text in (page, readme) for block in re.findall(r"```promql\n(.*?)```", text, re.DOTALL) for line in block.splitlines()
    ]
    assert len(queries) > 15
    panels = json.loads((ROOT / "docker/grafana/pipeline-jobs.json").read_text("utf-8"))["panels"]
    assert len(panels) > 20
    queries += [target["expr"] for panel in panels for target in panel["targets"]]
    for query in queries:
        prometheus.query(query)
    rules = prometheus.rules()
    assert len(rules) > 20
    until(lambda: all(rule["health"] != "unknown" for rule in prometheus.rules()), "each rule to be evaluated")
    assert [rule["name"] for rule in prometheus.rules() if rule["health"] != "ok"] == []
    # A name that nobody shows would make a query that finds nothing for ever.
    shown = {dict(labels)["__name__"] for labels in prometheus.query('group by (__name__) ({__name__=~"pipeline_.+"})')}
    described = set(re.findall(r"^\| `(pipeline_\w+)", page, re.MULTILINE))
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert described == bare
    used = {name for text in (*queries, *(rule["query"] for rule in rules)) for name in re.findall(r"\bpipeline_\w+", text)}
    assert used <= shown
    # What is asked for and not shown by us is recorded by a rule, and has a value.
    recorded = {name for text in (*queries, *(rule["query"] for rule in rules)) for name in re.findall(r"\b\w+:\w+:\w+", text)}
    assert recorded <= {rule["name"] for rule in rules}
    # Those that ended before the first scrape are no increase.
    watched.stack.until_status(watched.stack.submit(tenant_id="acme").job_id, JobStatus.COMPLETED)
    for name in recorded:
        until(partial(prometheus.query, name), f"{name} to have a value")


def _a_process_ends_and_no_count_falls(watched: Watched) -> None:
    answered = 'sum(pipeline_http_requests_total{route="/pipeline/jobs/<job_id>"})'
    two = watched.two_processes
    assert two is not None
    api, before = watched.apis[0], processes(two)
    for _ in range(20):
        api.get("/pipeline/jobs/job_1_00000000")
    watched.until(answered, 20)
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(now := processes(two)) == 2 and before[0] not in now, "another process")
    for _ in range(20):
        api.get("/pipeline/jobs/job_1_00000000")
    watched.until(answered, 40)
    assert watched.prometheus.number(f"sum(resets({answered[4:-1]}[1m]))") == 0
