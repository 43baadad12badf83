"""The canary: the proof of life that a ping is not."""

from __future__ import annotations

import pytest

from pipeline_jobs.jobs.bulk import cancel_matching
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.operation import health, overview
from pipeline_jobs.operation.canary import PIPELINE, TENANT, Canary
from pipeline_jobs.serve import create_api
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell


@pytest.fixture
def canary(jobs: Cell) -> Canary:
    jobs.client.registry.register(PIPELINE)
    return Canary(jobs.client, 60)


def test_one_is_sent_in_a_tick_and_noted_when_it_came_back(jobs: Cell, canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000_020.0)
    jobs.slots(1)
    assert canary.run_once() == {"returned": 0, "sent": 1}
    assert canary.run_once() == {"returned": 0, "sent": 0}
    job_id = str(jobs.store.client.get(jobs.store.keys("canary")))
    run = jobs.start(job_id)
    jobs.store.finish(job_id, run.fence, JobStatus.COMPLETED, result={})
    # Its record stays until the next tick: an id that is free again could be made again.
    assert canary.run_once() == {"returned": 1, "sent": 0}
    assert jobs.client.get(job_id).ended
    monkeypatch.setattr("time.time", lambda: 1_000_080.0)
    assert canary.run_once() == {"returned": 1, "sent": 1}
    assert not jobs.store.client.exists(jobs.store.keys("job", job_id))
    assert jobs.store.client.get(jobs.store.keys("heartbeat", "canary"))


def test_readiness_is_red_when_workers_announce_themselves_but_no_canary_comes_back(jobs: Cell) -> None:
    jobs.slots(2)
    assert _workers(jobs)["ok"]
    jobs.store.client.set(jobs.store.keys("heartbeat", "canary"), 1)
    assert "canary" in str(_workers(jobs)["reason"])
    for _ in range(2):
        jobs.start(jobs.submit().job_id)
    assert _workers(jobs)["ok"], "all slots busy: the running jobs are the proof"


def _workers(jobs: Cell) -> dict[str, object]:
    return health.check(jobs.store, jobs.settings, lambda: None)["workers"]


def test_it_is_in_no_list_count_or_chart_that_does_not_ask_for_it_by_name(jobs: Cell, canary: Canary) -> None:
    store, settings, tenant = jobs.store, jobs.settings, JobQuery(tenant_id=TENANT)
    canary.run_once()
    canary_id = str(store.client.get(store.keys("canary")))
    assert overview.now(store, settings) == overview.Now(0, 0, 0, None)
    mine = jobs.submit(tenant_id="acme")
    waiting = overview.now(store, settings)
    assert (waiting.queued, waiting.running) == (1, 0)
    # The canary is older.
    assert (waiting.oldest_seconds or 0) <= (overview.now(store, settings, TENANT).oldest_seconds or 0)
    jobs.slots(2)
    jobs.start(canary_id)
    assert (overview.now(store, settings).running, overview.now(store, settings, TENANT).running) == (0, 1)
    assert overview.tenants(store, 10) == ["acme"]
    for query in (JobQuery(), JobQuery(statuses=tuple(JobStatus)), JobQuery(pipeline="sleep"), JobQuery(limit=1)):
        assert [job.job_id for job in jobs.client.list(query).items] == [mine.job_id]
        assert cancel_matching(store, query, dry_run=True).matched == 1
    for named in (tenant, JobQuery(pipeline=PIPELINE.name)):
        assert [job.job_id for job in jobs.client.list(named).items] == [canary_id]
        assert cancel_matching(store, named, dry_run=True).matched == 1


def test_the_api_shows_neither_it_nor_its_pipeline_where_nobody_named_it(jobs: Cell, canary: Canary) -> None:
    canary.run_once()
    api = create_api(jobs.settings).test_client()
    assert api.get("/pipeline/jobs").json == {"jobs": [], "count": 0, "next_cursor": None}
    assert [job["pipeline"] for job in api.get(f"/pipeline/jobs?tenant_id={TENANT}").json["jobs"]] == ["canary"]
    assert "canary" not in {one["name"] for one in api.get("/pipeline/pipelines").json["pipelines"]}
    for page in ("/pipeline/ui", "/pipeline/ui/jobs", "/pipeline/ui/submit"):
        text = api.get(page).text
        assert "<h1" in text
        assert "canary" not in text
        assert f"tenant_id={TENANT}" not in text
