"""Many clients at once, workers, duties and an operator who erases tenants: no request is answered by a fault, and all counts are right."""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any

from flask.testing import FlaskClient

from pipeline_jobs.exceptions import PipelineJobsError
from pipeline_jobs.job import Job
from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.operation.maintenance import Purge
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.runs import Taker
from pipeline_jobs.store.store import ClaimRefused
from tests.integration.recount import differences
from tests.waiting import until

from .conftest import MakeClient
from .world import URL, World

TENANTS = ("acme", "beta", "gamma")


class Crowd:
    """What any of them may do, drawn at random; ids that anybody was given are known to all."""

    def __init__(self, world: World, seed: int, seconds: float) -> None:
        self.world, self.draw = world, random.Random(seed)
        self.ids: deque[str] = deque(["job_1_00000000"], maxlen=60)
        self.others: dict[str, deque[str]] = {name: deque(maxlen=8) for name in ("batches", "schedules", "webhook-endpoints", "uploads")}
        self.answers: Counter[tuple[str, int]] = Counter()
        self.faults: list[str] = []
        self.ends = time.monotonic() + seconds

    def ask(self, client: FlaskClient, method: str, path: str, **options: Any) -> Any:
        response = client.open(f"/pipeline{path}", method=method, **options)
        self.answers[f"{method} {path.split('/')[1]}", response.status_code] += 1
        if response.status_code >= 500:
            self.faults.append(f"{method} {path} {options}: {response.status_code} {response.get_data(as_text=True)[:500]}")
        return response.get_json(silent=True) or {}

    def fields(self, tenant: str) -> dict[str, Any]:
        draw = self.draw
        may: dict[str, Any] = {
            "priority": draw.randint(-50, 50), "tags": draw.sample(["a", "b", "c"], 2), "metadata": {"n": draw.random()},
            "depends_on": [draw.choice(self.ids)], "on_dependency_failure": draw.choice(["run", "fail", "cancel"]), "max_attempts": 2,
            "deadline_seconds": draw.choice([0.01, 1, 600]), "start_within_seconds": draw.choice([0.01, 1, 600]),
            "run_at": draw.choice(["2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z"]), "webhook": {"url": "https://hooks.example/x"},
        }  # fmt: skip
        chosen = {name: may[name] for name in draw.sample(sorted(may), draw.choice((0, 0, 1, 2)))}
        pipeline = draw.choice(["sleep", "sleep", "media"])
        url = {"url": draw.choice([URL, *(f"upload://{one}" for one in self.others["uploads"])])} if pipeline == "media" else {}
        return {"pipeline": pipeline, "tenant_id": tenant, **url, **chosen}

    def client(self, client: FlaskClient) -> None:
        draw, tenant, job_id = self.draw, self.draw.choice(TENANTS), self.draw.choice(self.ids)
        other = {name: draw.choice(ids) if ids else "x" for name, ids in self.others.items()}
        key = {"Idempotency-Key": draw.choice("xyz")} if draw.random() < 0.3 else {}
        one = self.fields(tenant)
        batch = [
            {name: value for name, value in self.fields(tenant).items() if name != "tenant_id"} for _ in range(draw.choice((1, 3, 30)))
        ]
        asks: tuple[Callable[[], Any], ...] = (
            lambda: self.ids.append(self.ask(client, "POST", "/jobs", json=one, headers=key).get("job_id", job_id)),
            lambda: self.ids.append(self.ask(client, "POST", "/jobs", json=one, headers=key).get("job_id", job_id)),
            lambda: self.batch(client, {"tenant_id": tenant, "jobs": batch}, key),
            lambda: self.ask(client, "PATCH", f"/jobs/{job_id}", json={"priority": draw.randint(-50, 50)}),
            lambda: self.ask(client, "PATCH", f"/jobs/{job_id}", json={"run_at": draw.choice([None, "2090-01-01T00:00:00Z"])}),
            lambda: self.ask(client, "DELETE", f"/jobs/{job_id}"),
            lambda: self.ask(client, "DELETE", f"/jobs/{job_id}"),
            lambda: self.ask(client, "POST", f"/jobs/{job_id}/cancel"),
            lambda: self.ids.append(self.ask(client, "POST", f"/jobs/{job_id}/retry", json={}, headers=key).get("job_id", job_id)),
            lambda: self.ask(client, "GET", f"/jobs/{job_id}"),
            lambda: self.ask(client, "GET", f"/jobs?tenant_id={tenant}&tag=a"),
            lambda: self.ask(client, "GET", f"/jobs/{job_id}/deliveries"),
            lambda: self.ask(client, "POST", "/jobs/cancel", json={"tenant_id": tenant, "tag": ["a"]}),
            lambda: self.ask(
                client, "POST", "/jobs/bulk", json={"action": draw.choice(["retry", "delete"]), "filter": {"tenant_id": tenant}}
            ),
            lambda: self.ask(client, "PUT", f"/tenants/{tenant}/limits", json=draw.choice(({}, {"max_concurrent": 1}, {"max_queued": 20}))),
            lambda: self.ask(client, "GET", f"/tenants/{tenant}/usage"),
            lambda: self.new(
                client, "schedules", {"tenant_id": tenant, "cron": "* * * * *", "job": {"pipeline": "sleep", "tags": ["a"]}}, "schedule_id"
            ),
            lambda: self.ask(client, "POST", f"/schedules/{other['schedules']}/run", headers=key),
            lambda: self.ask(client, "DELETE", f"/schedules/{other['schedules']}"),
            lambda: self.new(client, "webhook-endpoints", {"tenant_id": tenant, "url": "https://hooks.example/e"}, "endpoint_id"),
            lambda: self.ask(client, "POST", f"/webhook-endpoints/{other['webhook-endpoints']}/test"),
            lambda: self.ask(client, "DELETE", f"/webhook-endpoints/{other['webhook-endpoints']}"),
            lambda: self.ask(client, "POST", f"/batches/{other['batches']}/cancel"),
            lambda: self.ask(client, "GET", f"/batches?tenant_id={tenant}"),
        )
        draw.choice(asks)()

    def batch(self, client: FlaskClient, body: dict[str, Any], headers: dict[str, str]) -> None:
        made = self.ask(client, "POST", "/batches", json=body, headers=headers)
        self.ids.extend(made.get("job_ids", [])[:3])
        self.others["batches"].append(made.get("batch_id", "x"))

    def new(self, client: FlaskClient, what: str, body: dict[str, Any], named: str) -> None:
        if made := self.ask(client, "POST", f"/{what}", json=body).get(named):
            self.others[what].append(made)

    def worker(self, name: str) -> None:
        """Takes what has a hint, and ends it somehow."""
        store, draw = self.world.store, self.draw
        store.announce(name, 5, [])
        for job_id in draw.sample(list(self.ids), min(10, len(self.ids))):
            job: Job | ClaimRefused
            try:
                fence = self.world.record(job_id).fence
            except PipelineJobsError:
                continue
            job = store.claim(job_id, fence, worker=name, run=f"{name} {draw.random()}")
            taker: Taker | None = Taker(name, f"{name} {draw.random()}", {"sleep": None, "media": None})
            while isinstance(job, Job):
                how = draw.choice(("completed", "completed", "failed", "crash", "retry", "handback", "fault", "lost"))
                handed = None
                if how in ("completed", "failed"):
                    taker = Taker(name, f"{name} {draw.random()}", {"sleep": None, "media": None})
                    store.finish(job.job_id, job.fence, JobStatus(how), result={"success": True, "data": {}}, error="x", taker=taker)
                    handed = taker.job
                elif how != "lost":
                    store.requeue(job.job_id, job.fence, how)
                job = handed or ClaimRefused("none")

    def duties(self, purge: Purge) -> None:
        store, draw = self.world.store, self.draw
        if draw.random() < 0.3:
            leases = store.client.zrange(store.keys("leases"), 0, 3)
            if leases:
                store.client.zadd(store.keys("leases"), dict.fromkeys(leases, 1), xx=True)
        if draw.random() < 0.2:
            ended = store.client.zrange(store.keys("ended"), 0, 5)
            if ended:
                store.client.zadd(store.keys("ended"), dict.fromkeys(ended, 1), xx=True)
        store.rescue()
        store.reconcile(limit=50)
        purge.run_once()

    def erase(self, tenant: str) -> bool:
        return erase_tenant(self.world.store, self.world.cell.artifacts, tenant, dry_run=False).done

    def operator(self) -> None:
        self.erase(self.draw.choice(TENANTS))
        threading.Event().wait(0.3)

    def is_erased(self, tenant: str) -> bool:
        """Whatever ran has ended by then."""
        for job_id in self.world.store.members("tenant_status", tenant, "running"):
            self.world.store.finish(job_id, self.world.record(job_id).fence, JobStatus.COMPLETED, result={})
        return self.erase(tenant)

    def until_the_end(self, work: Callable[[], None]) -> None:
        while time.monotonic() < self.ends and not self.faults:
            try:
                work()
            except Exception:
                self.faults.append(traceback.format_exc()[-3000:])


def check_crowd(world: World, make_client: MakeClient, seed: int, seconds: float) -> None:
    """The long form is `tests/heavy/bar_crowd.py`. What the threads come upon is another each time, whatever the seed."""
    crowd = Crowd(world, seed, seconds)
    purge = Purge(world.store, world.cell.artifacts, world.settings)
    apps = [make_client().application, make_client(max_crashes=2).application]
    works: list[Callable[[], None]] = [partial(crowd.client, apps[n % 2].test_client()) for n in range(6)]
    works += [partial(crowd.worker, "w1"), partial(crowd.worker, "w2"), partial(crowd.duties, purge), crowd.operator]
    threads = [threading.Thread(target=crowd.until_the_end, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert crowd.faults == []
    assert {("POST jobs", 201), ("PATCH jobs", 200), ("DELETE jobs", 200), ("POST batches", 201)} <= crowd.answers.keys()
    while any(world.store.settle()):
        pass
    assert differences(world.store) == []
    for tenant in TENANTS:
        until(partial(crowd.is_erased, tenant), f"{tenant} to be erased")
    assert differences(world.store) == []
    assert [key for key in world.store.client.keys("*") if any(tenant in key for tenant in TENANTS) and ":audit:" not in key] == []


def test_a_crowd_is_served_and_all_adds_up(world: World, make_client: MakeClient) -> None:
    check_crowd(world, make_client, seed=1, seconds=4.0)
