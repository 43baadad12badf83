"""How many slots the workers should have, and which pod may go: over a day of jobs, no busy one goes while there is an idle one."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import ceil, sin
from pathlib import Path
from random import Random

import pytest

from pipeline_jobs.job import Job
from pipeline_jobs.operation import pod_costs
from pipeline_jobs.operation.pod_costs import ANNOTATION, Pods, publish
from pipeline_jobs.operation.scaling import Scaling, busy_by_host, scaling
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.figures import workers
from pipeline_jobs.tenants import TenantLimits
from tests.integration.conftest import Cell

#: Slots of a worker, the most workers, and for how many looks the largest answer holds before one goes (HPA's stabilization window).
SLOTS, MOST, WINDOW = 4, 8, 3


@pytest.fixture
def jobs(jobs: Cell) -> Iterator[Cell]:
    """No announcement and no lease ends during a test, however slow the machine is."""
    slow = jobs.with_settings(announce_seconds=600.0, lease_seconds=3600.0)
    yield slow
    slow.cell.close()


def name(pod: str) -> str:
    """A worker's, in a pod."""
    return f"jobs@jobs-{pod}/1"


def wanted(jobs: Cell) -> int:
    return scaling(jobs.store, jobs.settings).wanted


class TestWhatIsWanted:
    def test_without_workers_a_slot_for_each_job_that_could_start(self, jobs: Cell) -> None:
        assert scaling(jobs.store, jobs.settings) == Scaling(0, 0, 0, 0.0, 0)
        for _ in range(3):
            jobs.submit()
        now = scaling(jobs.store, jobs.settings)
        assert (now.ready, now.running, now.slots, now.wanted) == (3, 0, 0, 3)
        assert now.oldest_seconds > 0

    def test_no_more_than_the_cap(self, jobs: Cell) -> None:
        jobs.store.set_max_concurrent_jobs(2)
        for _ in range(3):
            jobs.submit()
        assert wanted(jobs) == 2

    def test_none_for_what_no_worker_could_start(self, jobs: Cell) -> None:
        """A greedy tenant's queue is behind its own limit; it gets no machines by being long."""
        jobs.client.set_limits("greedy", TenantLimits(max_concurrent=2), actor="test")
        jobs.client.set_limits("paused", TenantLimits(paused=True), actor="test")
        later = jobs.submit(run_at=2_900_000_000_000)
        jobs.submit(depends_on=(later.job_id,))
        for _ in range(20):
            jobs.submit(tenant_id="greedy")
            jobs.submit(tenant_id="paused")
        jobs.slots(2)
        for job_id in [json.loads(hint)["id"] for hint in jobs.hints()]:
            jobs.start(job_id)
        now = scaling(jobs.store, jobs.settings)
        assert (now.ready, now.running, now.wanted) == (0, 2, 2)

    def test_all_slots_of_the_workers_that_run_something(self, jobs: Cell) -> None:
        for pod in "abc":
            jobs.slots(SLOTS, name(pod))
        for pod in "ab":
            jobs.start(jobs.submit().job_id, name(pod))
        assert wanted(jobs) == 2 * SLOTS
        assert busy_by_host(workers(jobs.store).running) == {"a": 1, "b": 1, "c": 0}


@dataclass
class Day:
    """A day of jobs, and a Deployment as Kubernetes and KEDA make it larger and smaller."""

    jobs: Cell
    draw: Random
    pods: dict[str, dict[str, tuple[Job, int]]] = field(default_factory=dict)
    made: int = 0
    answers: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW))
    #: Pods that went: how many jobs each ran, and how many idle ones were left.
    gone: list[tuple[int, int]] = field(default_factory=list)
    most: int = 0

    def tick(self, minute: int) -> None:
        for _ in range(self._arrivals(minute)):
            self.jobs.submit(tenant_id=self.draw.choice("abc"))
        self._end_jobs(minute)
        self._announce()
        self._start_jobs(minute)
        self._scale()

    def _arrivals(self, minute: int) -> int:
        """Few by night, most in the afternoon, and a flood at noon."""
        return 25 if minute == 720 else int(self.draw.random() < 0.6 + 0.5 * sin((minute - 540) / 230)) + (self.draw.random() < 0.1)

    def _end_jobs(self, minute: int) -> None:
        for held in self.pods.values():
            for job, _ in [one for one in held.values() if one[1] <= minute]:
                assert self.jobs.store.finish(job.job_id, job.fence, JobStatus.COMPLETED, result={}) is JobStatus.COMPLETED
                del held[job.job_id]

    def _announce(self) -> None:
        for pod, held in self.pods.items():
            self.jobs.store.announce(name(pod), SLOTS, [(job.job_id, job.fence) for job, _ in held.values()])

    def _start_jobs(self, minute: int) -> None:
        hints = [json.loads(hint)["id"] for hint in self.jobs.hints()]
        self.jobs.store.client.delete("jobs")
        for job_id in hints:
            pod = self.draw.choice([one for one, held in self.pods.items() if len(held) < SLOTS])
            self.pods[pod][job_id] = self.jobs.start(job_id, name(pod)), minute + self.draw.choice((5, 10, 20, 90))

    def _scale(self) -> None:
        self.answers.append(min(MOST, max(1, ceil(wanted(self.jobs) / SLOTS))))
        while len(self.pods) < self.answers[-1]:
            self.made += 1
            self.pods[f"pod-{self.made}"] = {}
        self.most = max(self.most, len(self.pods))
        costs = busy_by_host(workers(self.jobs.store).running)
        while len(self.pods) > max(self.answers):
            # Kubernetes: the lowest cost first, and of those the youngest.
            victim = min(self.pods, key=lambda pod: (costs.get(pod, 0), -int(pod.partition("-")[2])))
            running = len(self.pods.pop(victim))
            self.gone.append((running, sum(not held for held in self.pods.values())))
            self.jobs.store.announce(name(victim), 0, [], leaving=True)


def test_over_a_day_no_busy_pod_goes_while_there_is_an_idle_one(jobs: Cell) -> None:
    jobs.store.set_max_concurrent_jobs(MOST * SLOTS)
    day = Day(jobs, Random(9))
    for minute in range(0, 1440, 5):
        day.tick(minute)
    assert day.most > 4, "the day had its load"
    assert len(day.gone) >= 10, "and its calm"
    # Stronger than the bar: none went that ran something.
    assert [one for one in day.gone if one[0]] == []


class Kubernetes(BaseHTTPRequestHandler):
    """Its list of pods and a patch of one."""

    pods: dict[str, dict[str, str]]
    asked: list[str]

    def do_GET(self) -> None:
        self._note()
        items = [{"metadata": {"name": pod, **({"annotations": notes} if notes else {})}} for pod, notes in self.pods.items()]
        self._answer({"items": items})

    def do_PATCH(self) -> None:
        self._note()
        assert self.headers["Content-Type"] == "application/merge-patch+json"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.pods[self.path.rpartition("/")[2]].update(body["metadata"]["annotations"])
        self._answer({})

    def _note(self) -> None:
        self.asked.append(f"{self.command} {self.path} {self.headers['Authorization']}")

    def _answer(self, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def kubernetes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Kubernetes]]]:
    """Its address, and what it has; a proxy in the environment is none that may get the key."""
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    handler = type(
        "Handler", (Kubernetes,), {"pods": {"a": {}, "b": {ANNOTATION: "3", "other": "kept"}, "c": {ANNOTATION: "1"}}, "asked": []}
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


def test_the_cost_of_a_pod_is_the_number_of_its_jobs(kubernetes: tuple[str, type[Kubernetes]], jobs: Cell, tmp_path: Path) -> None:
    url, api = kubernetes
    for file, text in {"namespace": "shop", "token": "secret\n", "ca.crt": ""}.items():
        (tmp_path / file).write_text(text)
    for pod in "ab":
        jobs.slots(SLOTS, name(pod))
    jobs.start(jobs.submit().job_id, name("a"))
    pods = Pods(url, tmp_path, "app.kubernetes.io/component=worker")
    assert publish(pods, busy_by_host(workers(jobs.store).running)) == 3
    assert api.pods == {"a": {ANNOTATION: "1"}, "b": {ANNOTATION: "0", "other": "kept"}, "c": {ANNOTATION: "0"}}
    assert publish(pods, busy_by_host(workers(jobs.store).running)) == 0, "what is right already is not written"
    assert api.asked[0] == "GET /api/v1/namespaces/shop/pods?labelSelector=app.kubernetes.io%2Fcomponent%3Dworker Bearer secret"
    assert {line.split()[1] for line in api.asked if line.startswith("PATCH")} == {f"/api/v1/namespaces/shop/pods/{pod}" for pod in "abc"}


def test_outside_of_kubernetes_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert pod_costs.main() == 2
    assert "KUBERNETES_SERVICE_HOST" in capsys.readouterr().err
