"""Whose turn it is: fair shares by slot-seconds, limits that act at once, and no slot idle while anybody is eligible."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace

import pytest

from examples.demo_pipelines import SLEEP
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import Job
from pipeline_jobs.jobs import pipeline_limits
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.jobs.pipeline_limits import PipelineLimits
from pipeline_jobs.jobs.queue_position import queue_position
from pipeline_jobs.states import JobStatus
from tests.clock import set_clock
from tests.heavy.shares import jain
from tests.integration.conftest import Cell
from tests.integration.recount import differences


@pytest.fixture
def cell(jobs: Cell) -> Cell:
    # An announcement that is good for the whole test: nobody repeats it here.
    return jobs.with_settings(max_concurrent_jobs=1000, announce_seconds=1000.0)


def flood(cell: Cell, n: int, **fields: object) -> list[str]:
    return [cell.submit(**fields).job_id for _ in range(n)]


class Clock:
    """Runs jobs in pretended time: a job that took `ms` has a `started_at` that lies so far back."""

    def __init__(self, cell: Cell, slots: int) -> None:
        self.cell, self.slots = cell, slots
        cell.slots(slots)
        #: Simulated end of each running job.
        self.running: dict[str, tuple[float, Job]] = {}
        self.now = 0.0
        self.used: Counter[str] = Counter()
        self.started: list[str] = []

    def start_hinted(self, durations: dict[str, float]) -> None:
        for hint in self.cell.hints():
            job_id = json.loads(hint)["id"]
            run = self.cell.start(job_id)
            self.started.append(run.tenant_id)
            self.running[job_id] = (self.now + durations[job_id], run)
        self.cell.store.client.delete("jobs")

    def finish_next(self, durations: dict[str, float]) -> None:
        job_id = min(self.running, key=lambda one: self.running[one][0])
        self.now, run = self.running.pop(job_id)
        ms = durations[job_id]
        self.used[run.tenant_id] += int(ms)
        self.cell.store.client.hset(self.cell.store.keys("job", job_id), "started_at", int(time.time() * 1000 - ms))
        assert self.cell.store.finish(job_id, run.fence, JobStatus.COMPLETED, result={}) is JobStatus.COMPLETED


@pytest.mark.parametrize("how", ["one workspace", "50 workspaces"])
def test_a_late_tenant_starts_at_the_next_free_slot_whatever_the_flood(cell: Cell, how: str) -> None:
    cell.slots(2)
    for i in range(300):
        cell.submit(tenant_id="flood", workspace_id=f"w{i % 50}" if how == "50 workspaces" else "main")
    running = [cell.start(json.loads(hint)["id"]) for hint in cell.hints()]
    cell.store.client.delete("jobs")
    late = cell.submit(tenant_id="late")
    assert late.reason == "fair_share"
    cell.store.finish(running[0].job_id, running[0].fence, JobStatus.COMPLETED, result={})
    assert [json.loads(hint)["id"] for hint in cell.hints()] == [late.job_id]
    assert differences(cell.store) == []


def test_a_late_tenant_is_next_though_the_flood_was_charged_too_much_before(cell: Cell) -> None:
    """What a pipeline takes is not known yet: each run is charged with a second, takes nothing, and gets nearly all of it back."""
    cell.slots(2)
    jobs = flood(cell, 12, tenant_id="flood")
    for job_id in jobs[:6]:
        cell.store.finish(job_id, cell.start(job_id).fence, JobStatus.COMPLETED, result={})
    fence = cell.start(jobs[6]).fence
    late = cell.submit(tenant_id="late")
    cell.store.finish(jobs[6], fence, JobStatus.COMPLETED, result={})
    assert cell.client.get(late.job_id).reason == "dispatched"
    # But it gains nothing from that: its next ones wait until the flood has used what it was charged with.
    others = flood(cell, 3, tenant_id="late")
    for job_id in [late.job_id, *jobs[7:10]]:
        cell.store.finish(job_id, cell.start(job_id).fence, JobStatus.COMPLETED, result={})
    assert {cell.client.get(job_id).reason for job_id in others} == {"fair_share"}


def test_hints_of_jobs_that_were_cancelled_are_not_sent(cell: Cell) -> None:
    cell.slots(2)
    for job_id in flood(cell, 30, tenant_id="flood"):
        cell.client.cancel(job_id)
    assert cell.hints() == []
    late = cell.submit(tenant_id="late")
    assert [json.loads(hint)["id"] for hint in cell.hints()] == [late.job_id]
    assert differences(cell.store) == []


def test_a_late_tenant_starts_before_anybody_is_served_twice(cell: Cell) -> None:
    cell.slots(1)
    for _ in range(2):
        for i in range(60):
            cell.submit(tenant_id=f"t{i}")
    late = cell.submit(tenant_id="a-late")
    served: list[str] = []
    while not served or served[-1] != "a-late":
        run = cell.start(json.loads(cell.hints()[-1])["id"])
        served.append(run.tenant_id)
        cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    assert max(Counter(served).values()) == 1
    # Those that came at the same virtual time are served in the order they came, not by name.
    assert served[1:4] == ["t1", "t2", "t3"]
    assert cell.client.get(late.job_id).status is JobStatus.COMPLETED


def test_shares_are_by_slot_seconds_not_by_jobs(cell: Cell) -> None:
    durations = {}
    for _ in range(20):
        durations[cell.submit(tenant_id="long").job_id] = 10_000.0
    for _ in range(1000):
        durations[cell.submit(tenant_id="short").job_id] = 100.0
    clock = Clock(cell, 4)
    while clock.now < 40_000:
        clock.start_hinted(durations)
        clock.finish_next(durations)
    share = clock.used["long"] / (clock.used["long"] + clock.used["short"])
    assert 0.40 < share < 0.60, clock.used


def test_a_tenant_whose_runs_take_long_is_charged_so_at_their_start(cell: Cell) -> None:
    durations = {}
    for tenant, ms, n in (("long", 4000.0, 30), ("a", 200.0, 320), ("b", 200.0, 320), ("c", 200.0, 320)):
        durations.update(dict.fromkeys(flood(cell, n, tenant_id=tenant), ms))
    clock = Clock(cell, 4)
    most = 0
    while clock.now < 50_000:
        clock.start_hinted(durations)
        if clock.now > 20_000:
            most = max(most, sum(run.tenant_id == "long" for _, run in clock.running.values()))
        clock.finish_next(durations)
    # A quarter of the slots is its share; it never has them all, as it would if its runs were taken for short ones.
    assert most <= 2, most
    assert 0.15 <= clock.used["long"] / sum(clock.used.values()) <= 0.35, clock.used


def test_weights_one_two_four_give_shares_of_one_two_four(cell: Cell) -> None:
    weights = {"one": 1.0, "two": 2.0, "four": 4.0}
    durations = {}
    for tenant, weight in weights.items():
        cell.store.set_limits(tenant, {"weight": weight})
        for i in range(round(120 * weight)):
            durations[cell.submit(tenant_id=tenant).job_id] = 50.0 + 37 * (i % 5)
    clock = Clock(cell, 5)
    for _ in range(700):
        clock.start_hinted(durations)
        clock.finish_next(durations)
    total = sum(clock.used.values())
    for tenant, weight in weights.items():
        assert abs(clock.used[tenant] / total - weight / 7) < 0.05 * weight / 7 + 0.01, clock.used


def test_equal_tenants_get_equal_slot_seconds(cell: Cell) -> None:
    durations = {}
    for i in range(20):
        for n in range(120):
            durations[cell.submit(tenant_id=f"t{i}").job_id] = float(10 + (n * 7919 + i * 104729) % 990)
    clock = Clock(cell, 8)
    while clock.now < 30_000:
        clock.start_hinted(durations)
        clock.finish_next(durations)
    assert jain([float(clock.used[f"t{i}"]) for i in range(20)]) >= 0.98, clock.used


def test_workspaces_of_a_tenant_take_turns(cell: Cell) -> None:
    for workspace in ("a", "b"):
        flood(cell, 10, tenant_id="acme", workspace_id=workspace)
    cell.slots(6)
    assert Counter(cell.client.get(json.loads(hint)["id"]).workspace_id for hint in cell.hints()) == {"a": 3, "b": 3}


def test_priority_counts_within_a_workspace_only(cell: Cell) -> None:
    flood(cell, 3, tenant_id="loud", priority=50)
    flood(cell, 3, tenant_id="meek", priority=-50)
    cell.slots(2)
    assert {json.loads(hint)["tenant"] for hint in cell.hints()} == {"loud", "meek"}


def test_an_idle_tenant_saves_up_no_credit(cell: Cell) -> None:
    durations = dict.fromkeys(flood(cell, 200, tenant_id="busy"), 1000.0)
    clock = Clock(cell, 1)
    for _ in range(100):
        clock.start_hinted(durations)
        clock.finish_next(durations)
    durations.update(dict.fromkeys(flood(cell, 100, tenant_id="rested"), 1000.0))
    clock.started.clear()
    for _ in range(20):
        clock.start_hinted(durations)
        clock.finish_next(durations)
    assert 8 <= Counter(clock.started)["rested"] <= 12


def test_max_concurrent_holds_its_tenant_and_nobody_else_and_acts_on_the_backlog_at_once(cell: Cell) -> None:
    cell.store.set_limits("a", {"max_concurrent": 2})
    flood(cell, 20, tenant_id="a")
    cell.slots(8)
    flood(cell, 3, tenant_id="b")
    assert Counter(json.loads(hint)["tenant"] for hint in cell.hints()) == {"a": 2, "b": 3}
    cell.store.set_limits("a", {"max_concurrent": 6})
    assert Counter(json.loads(hint)["tenant"] for hint in cell.hints()) == {"a": 5, "b": 3}
    assert differences(cell.store) == []


def test_a_tenant_at_its_cap_comes_back_when_one_of_its_jobs_ends(cell: Cell) -> None:
    cell.store.set_limits("a", {"max_concurrent": 1})
    first, second = flood(cell, 2, tenant_id="a")
    cell.slots(8)
    run = cell.start(first)
    cell.store.finish(first, run.fence, JobStatus.COMPLETED, result={})
    assert cell.client.get(second).reason == "dispatched"


def test_a_paused_tenant_starts_nothing_and_goes_on_when_it_is_let(cell: Cell) -> None:
    cell.store.set_limits("a", {"paused": True})
    job = cell.submit(tenant_id="a")
    cell.slots(2)
    assert cell.hints() == []
    assert (queue_position(cell.store, job.job_id) or {})["reason"] == "tenant_paused"
    cell.store.set_limits("a", {"paused": False})
    assert len(cell.hints()) == 1


def test_a_tenant_at_its_limit_comes_back_with_a_run_that_took_what_it_was_charged(cell: Cell) -> None:
    """That moves no clock."""
    cell.slots(2)
    cell.store.set_limits("a", {"max_concurrent": 1})
    first, second = flood(cell, 2, tenant_id="a")
    run = cell.start(first)
    cell.store.client.hset(cell.store.keys("job", first), mapping={"started_at": 9_000_000_000_000, "charged": 5})
    cell.store.finish(first, run.fence, JobStatus.COMPLETED, result={})
    assert cell.client.get(second).reason == "dispatched"


def test_a_tenant_whose_limit_ends_while_it_has_no_jobs_is_not_held_back_any_more(cell: Cell) -> None:
    cell.store.set_limits("a", {"paused": True})
    job = cell.submit(tenant_id="a")
    assert cell.store.client.smembers(cell.store.keys("waiting")) == {"a"}
    cell.store.cancel(job.job_id)
    cell.store.set_limits("a", {"paused": None})
    assert not cell.store.client.exists(cell.store.keys("waiting"))
    cell.submit(tenant_id="a")
    assert differences(cell.store) == []


def test_the_jobs_of_a_tenant_that_the_release_before_left_among_the_waiting_are_counted_once(cell: Cell) -> None:
    cell.client.registry.register(replace(SLEEP, name="nap"))
    cell.store.set_pipeline_cap("sleep", 1)
    cell.slots(1)
    flood(cell, 3, tenant_id="a")
    flood(cell, 4, tenant_id="b", pipeline="nap")
    cell.store.client.sadd(cell.store.keys("waiting"), "a")
    reasons = cell.store.run("waiting").reasons
    counted = dict(zip(reasons[::2], map(int, reasons[1::2]), strict=True))
    assert (counted["pipeline_concurrency"], counted["fair_share"]) == (2, 4)


def test_a_tenant_goes_on_with_its_other_workspace_when_one_has_no_more_jobs(cell: Cell) -> None:
    for workspace in ("one", "two"):
        cell.submit(tenant_id="a", workspace_id=workspace)
    cell.slots(2)
    assert len(cell.hints()) == 2
    assert differences(cell.store) == []


def test_a_tenant_that_its_own_freed_slot_brings_back_stands_where_its_clock_is(cell: Cell) -> None:
    cell.store.set_pipeline_cap("sleep", 1)
    cell.slots(2)
    first, *_ = flood(cell, 3, tenant_id="a")
    # Its workspace waits for the pipeline, so it is in no ring when the job ends; and it starts one of two jobs in the same call.
    cell.slots(1)
    run = cell.start(first)
    cell.store.finish(first, run.fence, JobStatus.COMPLETED, result={})
    (time_,) = cell.store.fields(["time"], "share", "a")
    assert cell.store.client.zscore(cell.store.keys("ring"), "a") == float(time_ or "nan")


def test_a_changed_default_acts_on_all_that_have_no_limit_of_their_own(cell: Cell) -> None:
    cell.store.set_limits("*", {"max_concurrent": 1})
    cell.store.set_limits("own", {"max_concurrent": 2})
    for tenant in ("a", "b", "own"):
        flood(cell, 5, tenant_id=tenant)
    cell.slots(20)
    assert Counter(json.loads(hint)["tenant"] for hint in cell.hints()) == {"a": 1, "b": 1, "own": 2}
    cell.store.set_limits("*", {"max_concurrent": None})
    assert Counter(json.loads(hint)["tenant"] for hint in cell.hints()) == {"a": 5, "b": 5, "own": 2}


def test_a_start_rate_parks_its_tenant_until_there_is_a_token(cell: Cell) -> None:
    cell.store.set_limits("a", {"start_rate": 2})
    flood(cell, 10, tenant_id="a")
    cell.slots(8)
    assert len(cell.hints()) == 2
    waiting = cell.store.client.zrange(cell.store.keys("tenant_status", "a", "queued"), -1, -1)[0]
    assert (queue_position(cell.store, waiting) or {})["reason"] == "tenant_rate"
    cell.store.client.hset(cell.store.keys("share", "a"), "tokens_at", int(time.time() * 1000) - 1000)
    cell.store.client.zadd(cell.store.keys("parked"), {"a": 1})
    cell.slots(8)
    assert len(cell.hints()) == 4


def test_a_start_rate_is_held_up_by_no_clock_that_is_set_back(cell: Cell) -> None:
    cell.store.set_limits("a", {"start_rate": 0.5})
    flood(cell, 3, tenant_id="a")
    cell.slots(8)
    cell.store.rescue()
    assert len(cell.hints()) == 1
    set_clock(cell.store, -3_600_000)
    cell.store.rescue()
    # It waits for its rate as long as it would have, and no hour more.
    set_clock(cell.store, 2_500)
    cell.store.rescue()
    assert len(cell.hints()) == 2


def test_a_full_pipeline_is_passed_over_and_takes_up_again(cell: Cell) -> None:
    cell.store.set_pipeline_cap("sleep", 2)
    first = flood(cell, 3, tenant_id="a") + flood(cell, 3, tenant_id="b")
    cell.slots(8)
    assert Counter(json.loads(hint)["tenant"] for hint in cell.hints()) == {"a": 1, "b": 1}
    assert differences(cell.store) == []
    waiting = next(job_id for job_id in first if cell.client.get(job_id).reason != "dispatched")
    assert (queue_position(cell.store, waiting) or {})["reason"] == "pipeline_concurrency"
    run = cell.start(json.loads(cell.hints()[0])["id"])
    cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    assert len(cell.hints()) == 3
    cell.store.set_pipeline_cap("sleep", None)
    assert len(cell.hints()) == 6
    assert differences(cell.store) == []


def two_pipelines(cell: Cell) -> None:
    """`sleep` and `nap`, one slot each."""
    cell.client.registry.register(replace(SLEEP, name="nap"))
    for pipeline in ("sleep", "nap"):
        cell.store.set_pipeline_cap(pipeline, 1)


def test_a_workspace_that_waits_for_two_full_pipelines_comes_back_for_either(cell: Cell) -> None:
    two_pipelines(cell)
    cell.slots(8)
    busy = {pipeline: cell.submit(tenant_id="a", pipeline=pipeline) for pipeline in ("sleep", "nap")}
    waiting = {pipeline: cell.submit(tenant_id="b", pipeline=pipeline) for pipeline in ("sleep", "nap")}
    for pipeline, job in busy.items():
        cell.store.finish(job.job_id, cell.start(job.job_id).fence, JobStatus.COMPLETED, result={})
        assert cell.client.get(waiting[pipeline].job_id).reason == "dispatched"
    assert differences(cell.store) == []


def test_a_pipelines_room_goes_to_the_next_when_whoever_was_let_back_for_it_is_gone(cell: Cell) -> None:
    two_pipelines(cell)
    # With a third slot they are asked, and wait for the pipeline.
    cell.slots(3)
    busy = [cell.submit(tenant_id="a", pipeline=pipeline) for pipeline in ("sleep", "nap")]
    first, second = (cell.submit(tenant_id=tenant) for tenant in ("b", "c"))
    # No slot is free when `sleep` has room again: b is let back for it, and leaves.
    runs = [cell.start(job.job_id) for job in busy]
    cell.slots(1)
    cell.store.finish(runs[0].job_id, runs[0].fence, JobStatus.COMPLETED, result={})
    cell.client.cancel(first.job_id)
    cell.store.finish(runs[1].job_id, runs[1].fence, JobStatus.COMPLETED, result={})
    assert cell.client.get(second.job_id).reason == "dispatched"
    assert differences(cell.store) == []


def test_a_declared_cap_holds_until_an_admin_sets_another(cell: Cell) -> None:
    single = replace(SLEEP, max_concurrent=1)
    pipeline_limits.declare(cell.store, [single])
    flood(cell, 6, tenant_id="a")
    cell.slots(8)
    assert len(cell.hints()) == 1
    assert pipeline_limits.of(cell.store, "sleep") == PipelineLimits(None, 1, 1)
    assert pipeline_limits.set_cap(cell.store, "sleep", 4) == PipelineLimits(4, 1, 4)
    pipeline_limits.declare(cell.store, [replace(SLEEP, max_concurrent=2)])
    assert pipeline_limits.of(cell.store, "sleep") == PipelineLimits(4, 2, 4)
    pipeline_limits.set_cap(cell.store, "sleep", None)
    pipeline_limits.declare(cell.store, [SLEEP])
    assert len(cell.hints()) == 6
    assert pipeline_limits.of(cell.store, "sleep") == PipelineLimits(None, None, 6)
    assert differences(cell.store) == []
    with pytest.raises(InvalidInput):
        pipeline_limits.set_cap(cell.store, "sleep", -1)


def test_a_run_that_takes_long_is_charged_while_it_runs(cell: Cell) -> None:
    cell.slots(1)
    run = cell.start(cell.submit(tenant_id="long").job_id)
    cell.store.client.hset(cell.store.keys("job", run.job_id), "started_at", int(time.time() * 1000) - 3_600_000)
    before = float(cell.store.client.hget(cell.store.keys("share", "long"), "time"))
    cell.store.announce("w1", 1, [(run.job_id, run.fence)])
    # And for five seconds that are still to come, whatever it may take: others would have its share of a time that nobody has used.
    assert 3_500_000 <= float(cell.store.client.hget(cell.store.keys("share", "long"), "time")) - before < 5_000_000


def test_a_dispatch_is_charged_for_five_seconds_at_most_however_long_runs_took(cell: Cell) -> None:
    cell.slots(1)
    for what in (cell.store.keys("share", "long"), cell.store.keys("pipelines")):
        cell.store.client.hset(what, "ms:sleep", 3_600_000)
    cell.submit(tenant_id="long")
    assert float(cell.store.client.hget(cell.store.keys("share", "long"), "time")) == pytest.approx(5000, abs=1)


def test_why_a_job_waits_and_for_how_long(cell: Cell) -> None:
    jobs = [cell.submit(tenant_id="a") for _ in range(4)]
    assert queue_position(cell.store, jobs[2].job_id) == {
        "position": 3,
        "reason": "no_worker",
        "limit": None,
        "current": None,
        "eta_seconds": None,
    }
    cell.slots(1)
    run = cell.start(jobs[0].job_id)
    cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    why_not = queue_position(cell.store, jobs[3].job_id)
    assert why_not is not None
    assert (why_not["position"], why_not["reason"], why_not["limit"], why_not["current"]) == (2, "fair_share", 1, 1)
    assert why_not["eta_seconds"] is not None
    assert queue_position(cell.store, run.job_id) is None


def test_a_list_says_why_each_job_waits_as_the_job_itself_does(cell: Cell) -> None:
    two_pipelines(cell)
    cell.store.set_limits("capped", {"max_concurrent": 1})
    cell.store.set_limits("paused", {"paused": True})
    cell.store.set_limits("slow", {"start_rate": 0.001})
    no_worker = cell.submit(tenant_id="early", pipeline="nap")
    assert [job.reason for job in cell.client.list(JobQuery()).items] == ["no_worker"]
    cell.client.cancel(no_worker.job_id)
    cell.store.set_pipeline_cap("sleep", 4)
    cell.slots(5)
    for tenant in ("capped", "paused", "slow"):
        flood(cell, 2, tenant_id=tenant)
    nap = [cell.submit(tenant_id="many", pipeline="nap") for _ in range(2)]
    cell.submit(tenant_id="many", depends_on=(nap[1].job_id,))
    cell.submit(tenant_id="many", run_at=int(time.time() * 1000) + 3_600_000)
    cell.submit(tenant_id="many", pipeline="nap", run_at=int(time.time() * 1000) + 3_600_000)
    flood(cell, 2, tenant_id="full")
    cell.slots(2)
    cell.store.set_pipeline_cap("sleep", 5)
    flood(cell, 1, tenant_id="last")
    listed = [job for job in cell.client.list(JobQuery(limit=100)).items if not job.ended]
    assert {job.job_id: job.reason for job in listed} == {job.job_id: cell.client.describe(job.job_id).reason for job in listed}
    assert {job.reason for job in listed} >= {
        "tenant_concurrency", "tenant_paused", "tenant_rate", "pipeline_concurrency", "dependency", "scheduled", "dispatched", "fair_share",
    }  # fmt: skip


def test_a_waiting_jobs_priority_and_start_can_be_changed_and_a_dispatched_ones_not(cell: Cell) -> None:
    first, second = flood(cell, 2, tenant_id="a")
    assert cell.store.change(second, priority=10)
    assert cell.store.change(first, run_at=int(time.time() * 1000) + 3_600_000)
    assert cell.client.get(first).reason == "scheduled"
    cell.slots(5)
    assert [json.loads(hint)["id"] for hint in cell.hints()] == [second]
    assert cell.store.change(first, run_at=0)
    assert cell.client.get(first).reason == "dispatched"
    assert not cell.store.change(first, priority=1)
    assert differences(cell.store) == []


def test_a_delayed_job_waits_for_its_time(cell: Cell) -> None:
    cell.slots(5)
    job = cell.submit(run_at=int(time.time() * 1000) + 3_600_000)
    assert (job.reason, cell.hints()) == ("scheduled", [])
    cell.store.client.zadd(cell.store.keys("delayed"), {job.job_id: 1})
    cell.slots(5)
    assert cell.client.get(job.job_id).reason == "dispatched"


def test_the_time_that_a_dead_workers_job_lay_dead_is_not_counted(cell: Cell) -> None:
    """Neither as its own time to run nor in its tenant's usage."""
    store, now = cell.store, time.time() * 1000
    run = cell.running(tenant_id="a")
    # It began 600 s ago, was last renewed 598 s ago, and its lease has ended since.
    store.client.hset(store.keys("job", run.job_id), "started_at", int(now - 600_000))
    store.client.zadd(store.keys("leases"), {run.job_id: int(now - 598_000 + cell.settings.lease_seconds * 1000)})
    store.rescue()  # The first one only learns which server it is.
    store.rescue()
    assert cell.client.get(run.job_id).crashes == 1
    assert 2000 <= int(store.client.hget(store.keys("job", run.job_id), "ran_ms")) < 300_000
