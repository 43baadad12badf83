"""What a dead worker leaves: its slots, its leases, and the place of its jobs in the queue."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from pipeline_jobs.job import Job
from pipeline_jobs.jobs.queue_position import queue_position
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.runs import Taker
from pipeline_jobs.store.store import ClaimRefused
from tests.integration.clock import set_clock
from tests.integration.conftest import Cell
from tests.integration.recount import differences

OLD, NEW, ELSEWHERE = "jobs@node/0a", "jobs@node/0b", "jobs@other/0c"


def fall_silent(cell: Cell, worker: str, ago_ms: int = 5_000) -> None:
    """A worker's announcement, and the last renewal of its leases, lie so far back."""
    client, keys = cell.store.client, cell.store.keys
    now = int(time.time() * 1000)
    client.zadd(keys("workers"), {worker: now - ago_ms + 3_000})
    for job_id in client.zrange(keys("leases"), 0, -1):
        if client.hget(keys("job", job_id), "worker") == worker:
            client.zadd(keys("leases"), {job_id: now - ago_ms + int(cell.settings.lease_seconds * 1000)})


def lease_left_ms(cell: Cell, run: Job) -> float:
    return float(cell.store.client.zscore(cell.store.keys("leases"), run.job_id) or 0) - time.time() * 1000


@pytest.fixture
def cell(jobs: Cell) -> Cell:
    return jobs.with_settings(max_concurrent_jobs=2, lease_seconds=60.0, announce_seconds=1.0)


def test_leases_of_dead_workers_do_not_count_against_the_cap(cell: Cell) -> None:
    cell.slots(2, OLD)
    for _ in range(2):
        cell.start(cell.submit().job_id, worker=OLD)
    waiting = cell.submit()
    fall_silent(cell, OLD)
    cell.slots(2, ELSEWHERE)
    assert cell.client.get(waiting.job_id).reason == "dispatched"
    one, other = cell.submit(), cell.submit()
    assert [one.reason, other.reason] == ["dispatched", "fair_share"]
    waits = queue_position(cell.store, other.job_id)
    assert waits is not None
    assert (waits["limit"], waits["current"]) == (2, 2)
    assert differences(cell.store) == []


def test_a_new_incarnation_ends_the_leases_of_a_dead_one_of_its_node(cell: Cell) -> None:
    cell.slots(2, OLD)
    run = cell.start(cell.submit().job_id, worker=OLD)
    other = cell.submit()
    cell.slots(1, ELSEWHERE)
    elsewhere = cell.start(other.job_id, worker=ELSEWHERE)
    fall_silent(cell, OLD)
    fall_silent(cell, ELSEWHERE)
    # Its first beat finds that the other one is gone, the next one does something about it.
    cell.slots(2, NEW)
    cell.slots(2, NEW)
    # Three beats are left to it, in case that it lives and the server was away.
    assert lease_left_ms(cell, run) <= 3_000
    assert lease_left_ms(cell, elsewhere) > 50_000


@pytest.mark.parametrize("what", ["announces itself", "leaves, and renews its leases"])
def test_a_restart_that_overlaps_is_healthy(cell: Cell, what: str) -> None:
    cell.slots(2, OLD)
    run = cell.start(cell.submit().job_id, worker=OLD)
    leaving = what != "announces itself"
    cell.store.announce(OLD, 0 if leaving else 2, [(run.job_id, run.fence)], leaving=leaving)
    for _ in range(2):
        cell.slots(2, NEW)
    assert lease_left_ms(cell, run) > 50_000


def test_one_that_announces_itself_is_alive_whoever_renews_its_leases(cell: Cell) -> None:
    cell.slots(2, OLD)
    run = cell.start(cell.submit().job_id, worker=OLD)
    cell.slots(1, ELSEWHERE)
    cell.start(cell.submit().job_id, worker=ELSEWHERE)
    fall_silent(cell, OLD)
    fall_silent(cell, ELSEWHERE)
    cell.slots(2, OLD)
    for _ in range(2):
        cell.slots(2, NEW)
    assert cell.store.client.get(cell.store.keys("stranded")) == "1"
    assert lease_left_ms(cell, run) > 50_000


def test_an_older_incarnation_that_was_only_slow_renews_in_time(cell: Cell) -> None:
    cell.slots(2, OLD)
    run = cell.start(cell.submit().job_id, worker=OLD)
    fall_silent(cell, OLD)
    for _ in range(2):
        cell.slots(2, NEW)
        cell.store.rescue()
    assert cell.store.announce(OLD, 2, [(run.job_id, run.fence)]) == ["ok"]
    cell.slots(2, NEW)
    assert lease_left_ms(cell, run) > 50_000
    assert differences(cell.store) == []


# -- its jobs


def lose(cell: Cell, *runs: Job, lived_ms: int = 7_000, worker: str = OLD) -> None:
    """Runs that were charged for so long, by their beats, and whose worker has been dead for a lease since."""
    client, keys = cell.store.client, cell.store.keys
    for run in runs:
        client.hset(keys("job", run.job_id), "started_at", int(time.time() * 1000) - lived_ms)
    cell.store.announce(worker, 0, [(run.job_id, run.fence) for run in runs])
    cell.store.rescue()  # The first one only learns which server it is.
    for run in runs:
        client.zadd(keys("leases"), {run.job_id: int(time.time() * 1000) - 1})
    cell.store.rescue()


def clocks(cell: Cell, tenant: str = "a", workspace: str = "x") -> tuple[float, float]:
    time_of, own = cell.store.client.hmget(cell.store.keys("share", tenant), "time", f"w:{workspace}")
    return float(time_of or 0), float(own or 0)


def hinted(cell: Cell) -> list[str]:
    return [json.loads(hint)["id"] for hint in cell.hints()]


def test_what_a_run_was_charged_is_refunded_when_its_worker_dies(cell: Cell) -> None:
    cell.slots(1, OLD)
    run = cell.start(cell.submit(tenant_id="a", workspace_id="x").job_id, worker=OLD)
    lose(cell, run)
    assert cell.client.get(run.job_id).reason == "retry"
    assert clocks(cell) == pytest.approx((0, 0), abs=0.1)


def test_a_child_that_crashed_keeps_its_charge(cell: Cell) -> None:
    cell.slots(1, OLD)
    run = cell.start(cell.submit(tenant_id="a", workspace_id="x").job_id, worker=OLD)
    other = cell.submit(tenant_id="b")
    cell.store.client.delete("jobs")
    cell.store.client.hset(cell.store.keys("job", run.job_id), "started_at", int(time.time() * 1000) - 7_000)
    cell.store.requeue(run.job_id, run.fence, "crash")
    assert min(clocks(cell)) >= 7_000
    assert hinted(cell) == [other.job_id]


def test_a_dead_workers_job_is_the_next_to_start(cell: Cell) -> None:
    cell.slots(2, OLD)
    runs = [cell.start(cell.submit(tenant_id="a", workspace_id="x", priority=-50).job_id, worker=OLD) for _ in range(2)]
    for tenant, workspace in (("a", "x"), ("a", "y"), ("b", "x"), ("new", "x")):
        cell.submit(tenant_id=tenant, workspace_id=workspace, priority=50)
    cell.store.client.delete("jobs")
    lose(cell, *runs)
    assert cell.hints() == []
    cell.slots(3, NEW)
    cell.store.set_max_concurrent_jobs(3)
    assert hinted(cell)[:2] == [run.job_id for run in runs]
    assert len(hinted(cell)) == 3
    assert differences(cell.store) == []


def test_whoever_may_not_start_it_now_starts_it_in_its_turn(cell: Cell) -> None:
    cell.slots(1, OLD)
    run = cell.start(cell.submit(tenant_id="a").job_id, worker=OLD)
    gone = cell.submit(tenant_id="b")
    cell.store.client.delete("jobs")
    cell.store.set_limits("a", {"paused": True})
    lose(cell, run)
    cell.slots(1, NEW)
    assert hinted(cell) == [gone.job_id]
    cell.client.cancel(gone.job_id)
    cell.store.set_limits("a", {"paused": False})
    assert hinted(cell) == [run.job_id]
    assert differences(cell.store) == []


def test_a_lost_job_that_was_cancelled_takes_nobodys_turn(cell: Cell) -> None:
    cell.slots(1, OLD)
    run = cell.start(cell.submit(tenant_id="a").job_id, worker=OLD)
    lose(cell, run)
    cell.client.cancel(run.job_id)
    other = cell.submit(tenant_id="b")
    cell.store.client.delete("jobs")
    cell.slots(1, NEW)
    assert hinted(cell) == [other.job_id]
    assert differences(cell.store) == []


def test_a_lost_job_that_is_to_start_later_does(cell: Cell) -> None:
    cell.slots(1, OLD)
    run = cell.start(cell.submit(tenant_id="a").job_id, worker=OLD)
    cell.store.client.delete("jobs")
    lose(cell, run)
    assert cell.store.change(run.job_id, run_at=int(time.time() * 1000) + 3_600_000)
    cell.slots(1, NEW)
    assert hinted(cell) == []
    assert differences(cell.store) == []


def valid_for(cell: Cell, job_id: str) -> float:
    """How long the hint of a job is waited for, in seconds."""
    return float(cell.store.client.zscore(cell.store.keys("hints"), job_id) or 0) / 1000 - time.time()


def test_a_crashed_job_does_not_wait_long_for_a_worker_that_stands_still(cell: Cell) -> None:
    cell.slots(1, OLD)
    first = cell.submit()
    assert valid_for(cell, first.job_id) > 5
    run = cell.start(first.job_id, worker=OLD)
    before = time.time()
    assert cell.store.requeue(run.job_id, run.fence, "crash") is JobStatus.QUEUED
    assert hinted(cell)[-1] == run.job_id
    assert valid_for(cell, run.job_id) <= 1
    assert valid_for(cell, run.job_id) + time.time() > before
    for seconds in (2, 4):
        cell.let_leases_end()
        before = time.time()
        assert [one.became for one in cell.store.rescue()] == ["hint"]
        assert valid_for(cell, run.job_id) <= seconds
        assert valid_for(cell, run.job_id) + time.time() - before > seconds / 2
    # A claim that came too late for the first of them is refused.
    assert cell.store.claim(run.job_id, run.fence + 1, worker=OLD, run="late") == ClaimRefused("stale")
    again = cell.start(run.job_id, worker=NEW)
    # What was dispatched again and again has started: its next hint is waited for as any.
    before = time.time()
    cell.store.requeue(run.job_id, again.fence, "retry")
    assert valid_for(cell, run.job_id) + time.time() - before > 10
    assert cell.start(run.job_id).fence == run.fence + 4
    assert differences(cell.store) == []


def test_a_crashed_job_whose_hint_is_lost_too_is_the_next_to_start(cell: Cell) -> None:
    """Its turn was taken by a dispatch from which nobody began: it does not wait for another one."""
    cell.slots(1, OLD)
    run = cell.start(cell.submit(tenant_id="a", priority=-50).job_id, worker=OLD)
    lose(cell, run)
    cell.slots(1, NEW)
    for tenant, workspace in (("a", "x"), ("b", "x"), ("new", "x")):
        cell.submit(tenant_id=tenant, workspace_id=workspace, priority=50)
    assert hinted(cell)[-1] == run.job_id
    cell.let_leases_end()
    assert [one.became for one in cell.store.rescue()] == ["hint"]
    assert hinted(cell)[-1] == run.job_id
    assert cell.start(run.job_id, worker=NEW).fence == run.fence + 2
    assert cell.store.client.zcard(cell.store.keys("lost")) == 0, "from then on it is as any other"
    assert differences(cell.store) == []


def going_on(cell: Cell, run: Job, worker: str = NEW, pipelines: Sequence[str] = ("sleep",)) -> Job | None:
    """What the process that ends this run has next."""
    taker = Taker(worker, "next", dict.fromkeys(pipelines))
    cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, taker=taker)
    return taker.job


@pytest.fixture
def crashed(cell: Cell) -> tuple[Job, Job]:
    """The run of a job that crashed and has a hint, which nobody has claimed; and another run, of `NEW`, with jobs waiting behind it."""
    cell.slots(1, OLD)
    lost = cell.start(cell.submit(tenant_id="a", priority=-50).job_id, worker=OLD)
    # Its announcement outlives a machine that stands still.
    cell.with_settings(announce_seconds=1000.0).slots(3, NEW)
    cell.store.set_max_concurrent_jobs(3)
    other = cell.start(cell.submit(tenant_id="b").job_id, worker=NEW)
    lose(cell, lost)
    for tenant in ("a", "b", "new"):
        cell.submit(tenant_id=tenant, priority=50)
    assert (cell.client.get(lost.job_id).reason, hinted(cell).count(lost.job_id)) == ("dispatched", 2)
    return lost, other


def test_a_process_that_asks_has_a_crashed_job_whatever_became_of_its_hint(cell: Cell, crashed: tuple[Job, Job]) -> None:
    """The worker that was sent it may have died, too: nobody waits until that is known."""
    lost, other = crashed
    again = going_on(cell, other)
    assert again is not None
    assert (again.job_id, again.fence, again.worker) == (lost.job_id, lost.fence + 2, NEW)
    assert hinted(cell).count(lost.job_id) == 1, "the message of its first run is there; that of the hint is taken back"
    assert cell.store.claim(lost.job_id, lost.fence + 1, worker=OLD, run="late") == ClaimRefused("running")
    assert differences(cell.store) == []


@pytest.mark.parametrize(
    "why", ["it does not know the pipeline", "it has no slot", "it takes no other", "it has a message of its own", "it is of another class"]
)
def test_who_may_not_run_a_crashed_job_leaves_it_its_hint(cell: Cell, crashed: tuple[Job, Job], why: str) -> None:
    lost, other = crashed
    fence = cell.client.get(lost.job_id).fence
    if why == "it does not know the pipeline":
        assert going_on(cell, other, pipelines=["another"]) is None
    elif why == "it has no slot":
        cell.store.announce(NEW, 0, [(other.job_id, other.fence)])
        assert going_on(cell, other) is None
    elif why == "it takes no other":
        cell.store.finish(other.job_id, other.fence, JobStatus.COMPLETED)
    elif why == "it has a message of its own":
        cell.store.client.hset(cell.store.keys("job", other.job_id), "celery", "{}")
        assert going_on(cell, other) is None
    else:
        cell.store.client.hset(cell.store.keys("job", lost.job_id), "class", "another")
        going_on(cell, other)
    shown = cell.client.get(lost.job_id)
    assert (shown.status, shown.reason, shown.fence) == (JobStatus.QUEUED, "dispatched", fence)


def test_a_hint_of_a_job_that_has_not_crashed_is_its_workers(cell: Cell) -> None:
    cell.slots(2, NEW)
    run, waits = cell.start(cell.submit(tenant_id="a").job_id, worker=NEW), cell.submit(tenant_id="a")
    assert waits.reason == "dispatched"
    behind = cell.submit(tenant_id="b")
    taken = going_on(cell, run)
    assert taken is not None
    assert (taken.job_id, cell.client.get(waits.job_id).reason) == (behind.job_id, "dispatched")
    assert differences(cell.store) == []


def test_a_lost_hint_of_a_job_that_has_not_crashed_gives_it_no_other_place(cell: Cell) -> None:
    cell.slots(1, OLD)
    first = cell.submit(tenant_id="a", priority=-50)
    other = cell.submit(tenant_id="a", priority=50)
    cell.let_leases_end()
    cell.store.rescue()
    assert (cell.client.get(first.job_id).reason, hinted(cell)[-1]) == ("fair_share", other.job_id)


def test_a_lost_job_that_may_not_have_the_last_slot_gets_the_next_one(cell: Cell) -> None:
    """The last slot is for others, until another one is free: then nobody else has it."""
    cell = cell.with_settings(max_concurrent_jobs=100, reserved_slots=1)
    cell.slots(1, OLD)
    lost = cell.start(cell.submit(tenant_id="a", priority=-50).job_id, worker=OLD)
    cell.slots(4, NEW)
    runs = [cell.start(cell.submit(tenant_id="a").job_id, worker=NEW) for _ in range(3)]
    others = cell.start(cell.submit(tenant_id="b").job_id, worker=NEW)
    cell.store.finish(others.job_id, others.fence, JobStatus.COMPLETED, result={})
    waits = cell.submit(tenant_id="a", priority=50)
    cell.store.client.delete("jobs")
    lose(cell, lost)
    assert (hinted(cell), {cell.client.get(one.job_id).status for one in (lost, waits)}) == ([], {JobStatus.QUEUED})
    cell.store.finish(runs[0].job_id, runs[0].fence, JobStatus.COMPLETED, result={})
    assert hinted(cell) == [lost.job_id]
    assert differences(cell.store) == []


def test_after_a_gap_a_crashed_job_does_not_wait_long_either(cell: Cell) -> None:
    """Whoever has its message may have died meanwhile."""
    cell.slots(2, OLD)
    run = cell.start(cell.submit().job_id, worker=OLD)
    cell.store.requeue(run.job_id, run.fence, "crash")
    healthy = cell.submit()
    cell.store.rescue()
    set_clock(cell.store, 60_000)
    before = time.time()
    cell.store.rescue()
    assert valid_for(cell, run.job_id) <= 1
    assert valid_for(cell, run.job_id) + time.time() > before
    assert valid_for(cell, healthy.job_id) + time.time() - before > 10
    assert differences(cell.store) == []


def test_a_submit_finds_no_slot_of_a_worker_that_is_gone(cell: Cell) -> None:
    cell.slots(1, OLD)
    fall_silent(cell, OLD)
    cell.submit()
    assert cell.hints() == []
    cell.slots(1, ELSEWHERE)
    assert len(cell.hints()) == 1


def test_what_a_dead_worker_held_under_the_cap_is_free_with_the_next_beat(cell: Cell) -> None:
    """The submit before that finds all slots taken, and does not look who is gone."""
    cell.slots(2, OLD)
    for job_id in [cell.submit().job_id for _ in range(2)]:
        cell.start(job_id, worker=OLD)
    cell.slots(2, ELSEWHERE)
    cell.store.client.delete("jobs")
    fall_silent(cell, OLD)
    cell.submit()
    cell.slots(2, ELSEWHERE)
    assert len(cell.hints()) == 1


def test_a_refund_is_no_credit(cell: Cell) -> None:
    """It ran for an hour before its worker died: nobody else has to stand back for an hour."""
    cell.slots(1, OLD)
    run = cell.start(cell.submit(tenant_id="a").job_id, worker=OLD)
    cell.store.client.hincrby(cell.store.keys("job", run.job_id), "started_at", -3_600_000)
    cell.store.announce(OLD, 1, [(run.job_id, run.fence)])
    cell.slots(1, ELSEWHERE)
    for _ in range(12):
        cell.submit(tenant_id="b")
    # The other one had as much.
    for seconds in (3_600, 5, 5, 5):
        run_one(cell, seconds)
    for _ in range(12):
        cell.submit(tenant_id="a")
    lose(cell, run, lived_ms=3_600_000)
    assert Counter(run_one(cell, 5) for _ in range(8))["b"] >= 2


def run_one(cell: Cell, seconds: int) -> str:
    """Run what is dispatched for so long. :return: whose it was."""
    (job_id,) = {one for one in hinted(cell) if cell.client.get(one).reason == "dispatched"}
    run = cell.start(job_id, worker=ELSEWHERE)
    cell.store.client.hincrby(cell.store.keys("job", job_id), "started_at", -1000 * seconds)
    cell.store.finish(job_id, run.fence, JobStatus.FAILED, error="x")
    return run.tenant_id
