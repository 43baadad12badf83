"""What the script of a batch writes for jobs that are not all alike."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from examples.demo_pipelines import SLEEP
from pipeline_jobs.files.uploads import Uploads
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.pipelines import Pipeline, Stage
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.recount import differences


def test_each_job_of_a_batch_is_charged_for_its_own_texts(jobs: Cell) -> None:
    news = [NewJob(pipeline="sleep", metadata={"note": "n" * length}) for length in (10, 4000, 10)]
    made = Batches(jobs.client).create(NewBatch(news, tenant_id="acme"))
    charged = [int(jobs.store.record("job", str(job_id))["store_bytes"]) for job_id in made.job_ids]
    assert charged[0] == charged[2]
    assert charged[1] - charged[0] >= 3990
    of_batch = int(jobs.store.record("batch", made.batch.batch_id)["store_bytes"])
    assert int(jobs.store.record("usage", "acme")["store_bytes"]) == sum(charged) + of_batch


def test_jobs_of_several_pipelines_in_a_batch_wait_in_lanes_of_their_own(jobs: Cell) -> None:
    jobs.client.registry.register(replace(SLEEP, name="other"))
    news = [NewJob(pipeline=name) for name in ("sleep", "other", "sleep", "other")]
    made = Batches(jobs.client).create(NewBatch(news, tenant_id="acme"))
    for name, places in (("sleep", (0, 2)), ("other", (1, 3))):
        found = jobs.client.list(JobQuery(tenant_id="acme", pipeline=name)).items
        assert [job.job_id for job in found] == [made.job_ids[place] for place in reversed(places)]
        lane = jobs.store.client.zrange(jobs.store.keys("ready", "acme", "main", name), 0, -1)
        assert [member.partition(":")[2] for member in lane] == [made.job_ids[place] for place in places]
    assert differences(jobs.store) == []


class Drawn:
    """Requests for jobs with whatever a client may ask, of which many are alike."""

    def __init__(self, cell: Cell) -> None:
        self.draw = random.Random(1)
        cell.client.registry.register(replace(SLEEP, name="other"))
        cell.client.registry.register(Pipeline("fetched", (Stage("fetch", SLEEP.stages[0].run),)))
        run = cell.running(tenant_id="acme")
        cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
        cell.slots(0)
        self.needed = [run.job_id, *(cell.submit(tenant_id="acme").job_id for _ in range(3))]
        uploads = Uploads(cell.store, cell.settings, cell.cell.artifacts)
        self.upload = uploads.create("acme", "main", 0).upload_id

    def one(self) -> NewJob:
        draw, fields = self.draw, dict[str, Any]()
        may: dict[str, Any] = {
            "priority": (0, 1, -50, 50), "deadline_seconds": (0.0001, 5, 2_592_000), "start_within_seconds": (0.5, 6),
            "retain_seconds": (1.5, 31_536_000), "run_at": (0, 1, 1e12, 4e12, 253_402_300_799_999), "reuse": (True, False),
            "tags": ((), ("a",), ("a", 'q"', '","', "ä ö\u2028"), (",", "\\", "x" * 60)), "max_attempts": (1, 2),
            "metadata": ({}, {"x": [1]}, {"n": 2**53 + 1, "f": 1e22, "t": "\x00\u2028\\"}),
            "webhook": ({"url": "https://hooks.example/x"}, {"url": "https://hooks.example/y", "events": ["job.failed"]}),
            "depends_on": ((self.needed[0],), tuple(self.needed)), "on_dependency_failure": ("run", "cancel", "fail"),
        }  # fmt: skip
        for name in draw.sample(sorted(may), draw.choice((0, 0, 0, 1, 3))):
            value = draw.choice(may[name])
            fields[name] = int(value) if name == "run_at" else value
        pipeline = draw.choice(("sleep", "sleep", "other", "fetched"))
        if pipeline == "fetched":
            fields["url"] = draw.choice((f"upload://{self.upload}", "https://films.example/a", "https://films.example/b"))
        elif draw.random() < 0.2:
            fields["params"] = draw.choice(({"seconds": 1}, {"echo": [2**60, 1.5, "ä"]}))
        return NewJob(pipeline=pipeline, tenant_id="acme", **fields)

    def of_kind(self, n: int, alike: bool) -> list[NewJob]:
        first = self.one()
        return [first if alike and self.draw.random() < 0.9 else self.one() for _ in range(n)]


def seen(cell: Cell, job_id: str) -> dict[str, Any]:
    """All that the store has of a job, but what differs between any two."""
    client, keys = cell.store.client, cell.store.keys
    record = cell.store.record("job", job_id)
    order, pipeline = int(record["order"]), record["pipeline"]
    own = ("job_id", "order", "created_at", "nonce", "batch_id", "deadline_at", "store_bytes", "request_id")
    found: dict[str, Any] = {name: value for name, value in record.items() if name not in own}
    found["has"] = sorted(record.keys() - {"nonce", "batch_id"})
    for index in ("delayed", "waits", "deadlines", "ready_since", "ready"):
        key, member = (keys("ready", "acme", "main", pipeline), f"{order}:{job_id}") if index == "ready" else (keys(index), job_id)
        score = client.zscore(key, member)
        found[index] = score if index in ("delayed", "ready") or score is None else "yes"
    lists = [("status", "queued"), ("tenant_status", "acme", "queued"), ("workspace", "acme", "main"), ("pipeline", "acme", pipeline)]
    lists += [("tag", "acme", tag) for tag in json.loads(record.get("tags", "[]"))]
    found["lists"] = [client.zscore(keys(*name), job_id) == order for name in lists]
    found["needs"] = client.smembers(keys("needs", job_id))
    found["held"] = client.sismember(keys("upload_jobs", record.get("upload", "")), job_id)
    return found


@pytest.mark.parametrize(("n", "alike"), [(1, True), (2, True), (2, False), (60, True), (60, False), (1_000, True)])
def test_a_job_of_a_batch_is_in_the_store_as_the_same_request_alone(jobs: Cell, n: int, alike: bool) -> None:
    drawn = Drawn(jobs)
    for _ in range(1 if n == 1_000 else 3):
        news = drawn.of_kind(n, alike)
        made = Batches(jobs.client).create(NewBatch(news, tenant_id="acme"))
        assert made.errors == ()
        jobs.store.settle()
        for new, job_id in list(zip(news, made.job_ids, strict=True))[:: max(1, n // 60)]:
            alone = jobs.client.submit(new)
            assert seen(jobs, str(job_id)) == seen(jobs, alone.job_id), new
            assert jobs.store.record("job", str(job_id))["batch_id"] == made.batch.batch_id
        assert differences(jobs.store) == []
        jobs.store.client.delete(jobs.store.keys("large_batch", "acme"))
