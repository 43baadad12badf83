"""Where the parts of admission meet: classes, pauses, lost jobs, gaps of the clock, scripts that stop early."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from examples.demo_pipelines import SLEEP
from pipeline_jobs.pipelines import WorkerClass
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from tests.integration.clock import set_clock
from tests.integration.conftest import Cell, make_cell, tired_scripts

SLEEPS, NAPS, BOTH = (WorkerClass.of(known) for known in ({"sleep"}, {"nap"}, {"sleep", "nap"}))


@pytest.fixture
def fleet(jobs: Cell) -> Cell:
    jobs.client.registry.register(replace(SLEEP, name="nap"))
    jobs.store.rescue()
    return jobs


def sent(cell: Cell) -> list[str]:
    """Ids of the jobs whose hints lie in any queue of jobs."""
    client = cell.store.client
    return [json.loads(hint)["id"] for queue in client.scan_iter("jobs*", _type="list") for hint in client.lrange(queue, 0, -1)]


def lose(cell: Cell, *job_ids: str) -> None:
    """Their leases end."""
    cell.store.client.zadd(cell.store.keys("leases"), dict.fromkeys(job_ids, 1))
    # A call does so much work and no more.
    while cell.store.rescue():
        pass


def test_a_paused_workers_runs_take_no_slot_of_another(fleet: Cell) -> None:
    fleet.store.announce("w1", 2, [], kind=SLEEPS)
    runs = [fleet.start(fleet.submit().job_id, "w1") for _ in range(2)]
    fleet.store.announce("w2", 2, [], kind=SLEEPS)
    fleet.store.announce("w1", 0, [(run.job_id, run.fence) for run in runs], paused="disk", kind=SLEEPS)
    assert fleet.submit(tenant_id="b").reason == "dispatched"
    assert fleet.submit(tenant_id="b").reason == "dispatched"
    assert fleet.submit(tenant_id="b").reason == "fair_share"


def test_when_it_goes_on_hints_go_to_the_common_queue_again(fleet: Cell) -> None:
    for slots in (1, 0, 2):
        fleet.store.announce("w1", slots, [], kind=SLEEPS)
    waits = fleet.submit()
    assert [json.loads(hint)["id"] for hint in fleet.hints()] == [waits.job_id]


def test_workers_that_say_nothing_are_sent_anything_though_one_has_no_slots(fleet: Cell) -> None:
    fleet.slots(1, "w1")
    fleet.slots(0, "w2")
    fleet.store.recount()
    assert fleet.submit().reason == "dispatched"


@pytest.mark.parametrize("held_back", [False, True])
def test_lost_jobs_that_may_not_start_keep_no_other_from_its_turn(fleet: Cell, held_back: bool) -> None:
    """They are older; more than an admission looks at, if they are dropped; as many as it looks at, less one, if they wait for a worker."""
    fleet.store.set_max_concurrent_jobs(200)
    fleet.store.announce("w1", 100, [], kind=BOTH)
    before = [fleet.start(fleet.submit(pipeline="sleep" if held_back else "nap").job_id).job_id for _ in range(60 if held_back else 49)]
    run = fleet.start(fleet.submit(tenant_id="a").job_id)
    fleet.store.client.zadd(fleet.store.keys("workers"), {"w1": 1})
    fleet.store.set_limits("default", {"paused": held_back})
    fleet.submit(tenant_id="b")
    lose(fleet, *before, run.job_id)
    fleet.store.announce("w2", 1, [], kind=SLEEPS)
    assert fleet.client.get(run.job_id).reason == "dispatched"


@pytest.mark.parametrize("other", [False, True])
def test_a_lost_job_is_next_when_a_slot_of_its_class_comes(fleet: Cell, other: bool) -> None:
    fleet.store.announce("w1", 1, [], kind=SLEEPS)
    fleet.store.announce("w2", 1, [], kind=NAPS)
    run = fleet.start(fleet.submit(tenant_id="a").job_id, "w1")
    fleet.submit(tenant_id="b")
    fleet.store.client.zadd(fleet.store.keys("workers"), {"w1": 1})
    lose(fleet, run.job_id)
    if other:
        fleet.store.announce("w2", 1, [], kind=NAPS)
    fleet.store.announce("w3", 1, [], kind=SLEEPS)
    assert fleet.client.get(run.job_id).reason == "dispatched"


def test_a_long_cascade_leaves_work_for_the_admission(cell: Settings) -> None:
    with tired_scripts():
        jobs = make_cell(cell)
        jobs.store.rescue()
        jobs.slots(1)
        first = jobs.start(jobs.submit().job_id)
        for _ in range(20):
            jobs.submit(depends_on=(first.job_id,))
        jobs.slots(0)
        waiting = jobs.submit(tenant_id="b")
        jobs.store.finish(first.job_id, first.fence, JobStatus.FAILED, error="x")
        jobs.slots(1)
        assert jobs.store.client.exists(jobs.store.keys("unsettled"))
        assert jobs.client.get(waiting.job_id).reason == "dispatched"
        jobs.cell.close()


def test_a_restart_is_one_gap_for_the_longest_run(fleet: Cell) -> None:
    run = fleet.running()
    client, keys = fleet.store.client, fleet.store.keys
    before = int(client.hget(keys("job", run.job_id), "run_until"))
    # It had run for 300 s, then the server was away for 100 s.
    seen = int(client.get(keys("seen")) or 0) - 100_000
    client.set(keys("seen"), seen)
    client.set(keys("server"), f"another {seen}")
    client.hincrby(keys("job", run.job_id), "started_at", -400_000)
    fleet.store.announce("w1", 100, [(run.job_id, run.fence)])
    fleet.store.rescue()
    after = int(client.hget(keys("job", run.job_id), "run_until"))
    assert 99_000 < after - before < 190_000


def test_a_hint_outlives_a_gap_that_is_longer_than_its_time(fleet: Cell) -> None:
    fleet.slots(1)
    waits = fleet.submit()
    # It had none left when the gap began.
    fleet.store.client.zadd(fleet.store.keys("hints"), {waits.job_id: int(fleet.store.client.get(fleet.store.keys("seen"))) - 1})
    set_clock(fleet.store, 70_000)
    assert fleet.store.rescue() == []
    fleet.start(waits.job_id)


def test_who_waits_for_a_worker_that_knows_its_pipeline_is_nothing_to_put_right_when_the_last_one_goes(fleet: Cell) -> None:
    fleet.store.announce("w1", 1, [], kind=SLEEPS)
    nap = fleet.submit(pipeline="nap")
    fleet.store.announce("w1", 0, [], kind=SLEEPS, leaving=True)
    fleet.store.client.delete(fleet.store.keys("blocking"))
    assert fleet.store.reconcile().jobs == 0
    fleet.store.announce("w2", 1, [], kind=BOTH)
    assert fleet.client.get(nap.job_id).reason == "dispatched"
