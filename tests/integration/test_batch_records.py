"""What the script of a batch writes for jobs that are not all alike."""

from __future__ import annotations

from dataclasses import replace

from examples.demo_pipelines import SLEEP
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.jobs.listing import JobQuery
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
