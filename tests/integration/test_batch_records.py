"""What the script of a batch writes for jobs that are not all alike."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from examples.demo_pipelines import SLEEP
from pipeline_jobs.events import log as events
from pipeline_jobs.exceptions import InvalidItems
from pipeline_jobs.files.uploads import Uploads
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import Batches, Made, NewBatch
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


class TestOnlyAddresses:
    """Jobs with nothing of their own but an address go to the script in two lists, and others in a list each: the records are the same."""

    @pytest.fixture
    def made(self, jobs: Cell) -> Callable[..., Made]:
        jobs.client.registry.register(replace(SLEEP, name="film", needs_url=True))
        urls = ["https://example.org/a.mp4", f"https://example.org/{'b' * 300}.mp4", "https://example.org/c.mp4"]

        def create(*more: NewJob, **fields: object) -> Made:
            news = [NewJob(pipeline="film", url=url, **fields) for url in urls]  # type: ignore[arg-type]
            return Batches(jobs.client).create(NewBatch([*news, *more], tenant_id="acme"))

        return create

    def test_they_are_what_jobs_with_more_are_but_for_that(self, jobs: Cell, made: Callable[..., Made]) -> None:
        sent = []
        run = jobs.store.run

        def noted(script: str, **arguments: Any) -> Any:
            sent.append(arguments.get("urls"))
            return run(script, **arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jobs.store, "run", noted)
            plain, other = made(), made(priority=1)
        assert [bool(urls) for urls in sent] == [True, False]
        own = {"job_id", "order", "batch_id", "created_at", "priority", "store_bytes"}
        for one, two in zip(plain.job_ids, other.job_ids, strict=True):
            records = [jobs.store.record("job", str(job_id)) for job_id in (one, two)]
            assert [record["job_id"] for record in records] == [one, two]
            first, second = ({name: text for name, text in record.items() if name not in own} for record in records)
            assert first == second
            # `priority` and its 1.
            assert 0 <= int(records[1]["store_bytes"]) - int(records[0]["store_bytes"]) - 9 <= 1
        found = [jobs.client.get(str(job_id)) for job_id in plain.job_ids]
        assert [job.order - plain.batch.order for job in found] == [0, 1, 2]
        assert [len(job.url or "") for job in found] == [25, 324, 25]
        assert differences(jobs.store) == []

    def test_they_start_in_their_order_and_end_their_batch(self, jobs: Cell, made: Callable[..., Made]) -> None:
        batch = made()
        jobs.slots(1)
        for job_id in map(str, batch.job_ids):
            run = jobs.start(job_id)
            jobs.store.finish(job_id, run.fence, JobStatus.COMPLETED, result={})
        assert jobs.cell.batches.get(batch.batch.batch_id).status is JobStatus.COMPLETED
        assert differences(jobs.store) == []

    def test_each_has_its_event_beside_an_api_of_a_version_before(self, jobs: Cell, made: Callable[..., Made]) -> None:
        jobs.store.client.zadd(jobs.store.keys("apis"), {"former": 4_102_444_800_000})
        batch = made()
        assert [event.job_id for event in events.feed(jobs.store, "acme").events] == list(batch.job_ids)

    def test_workers_that_do_not_say_what_they_know_refuse_each(self, jobs: Cell, made: Callable[..., Made]) -> None:
        jobs.store.client.hset(jobs.store.keys("classes"), "", "1;sleep;")
        batch = made()
        assert [jobs.client.get(str(job_id)).schema for job_id in batch.job_ids] == [2, 2, 2]

    def test_an_upload_among_them_is_looked_up(self, jobs: Cell, made: Callable[..., Made]) -> None:
        with pytest.raises(InvalidItems) as refused:
            made(NewJob(pipeline="film", url=f"upload://{'a' * 24}"))
        assert [error["field"] for error in refused.value.errors] == ["jobs.3.url"]

    def test_sent_twice_it_is_one_batch(self, jobs: Cell, made: Callable[..., Made]) -> None:
        run = jobs.store.run
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jobs.store, "run", lambda script, **arguments: [run(script, **arguments) for _ in range(2)][1])
            made()
        assert len(jobs.client.list(JobQuery(tenant_id="acme")).items) == 3
        assert differences(jobs.store) == []
