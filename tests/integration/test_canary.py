"""The canary: the proof of life that a ping is not."""

from __future__ import annotations

import pytest

from pipeline_jobs.operation import health
from pipeline_jobs.operation.canary import PIPELINE, Canary
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
