"""What the script of a batch writes for jobs that are not all alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from examples.demo_pipelines import SLEEP
from pipeline_jobs.events import log as events
from pipeline_jobs.exceptions import InvalidItems
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import Batches, Made, NewBatch
from pipeline_jobs.jobs.listing import JobQuery
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
