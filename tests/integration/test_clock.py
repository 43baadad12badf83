"""A server that stands still, or whose clock is set: no healthy run is called dead, nobody waits for a time that is hours away."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.exceptions import RateLimited
from pipeline_jobs.job import Job
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from tests.chaos.clock import LIBRARY, Clock
from tests.clock import set_clock
from tests.integration.conftest import Cell, make_cell
from tests.integration.recount import differences
from tests.servers import Server
from tests.waiting import until

HOUR = 3_600_000
#: How long an announcement is good, in seconds.
ALIVE = 30.0
STEPS = (90_000, 7 * HOUR, -90_000, -HOUR, -13 * HOUR)


def at_work(cell: Cell) -> list[Job]:
    """Six runs of a worker that lives, and one of a worker that is dead; all leases are good."""
    cell.store.rescue()
    cell.slots(6, "live")
    runs = [cell.start(cell.submit().job_id, worker="live") for _ in range(6)]
    cell.slots(1, "dead")
    runs.append(cell.start(cell.submit().job_id, worker="dead"))
    beat(cell, runs)
    return runs


def beat(cell: Cell, runs: list[Job]) -> list[str]:
    return cell.store.announce("live", 6, [(run.job_id, run.fence) for run in runs[:6]])


def look(cell: Cell, runs: list[Job], first: str) -> None:
    """The first looks after the gap, and some more."""
    if first == "leaving":
        cell.store.announce("third", 0, [], leaving=True)
        seconds = cell.store.client.time()[0]
        assert cell.store.client.zscore(cell.store.keys("workers"), "live") > 1000 * (seconds + 1)
    for who in (first, "rescue", "beat", "rescue"):
        if who == "leaving":
            continue
        if who == "rescue":
            assert cell.store.rescue() == []
        else:
            assert beat(cell, runs) == ["ok"] * 6


def check_times(cell: Cell) -> None:
    """No time that the server gave is later than it may be, and no lease that was good has ended."""
    client, keys, settings = cell.store.client, cell.store.keys, cell.settings
    seconds, micros = client.time()
    now = seconds * 1000 + micros // 1000
    for name, most in (("leases", settings.lease_seconds), ("hints", settings.hint_seconds), ("workers", ALIVE)):
        for member, score in client.zrange(keys(name), 0, -1, withscores=True):
            assert now - 1000 < score <= now + 1000 * most, (name, member, score - now)


@pytest.mark.parametrize("first", ["rescue", "beat", "leaving"])
@pytest.mark.parametrize("step", STEPS)
def test_no_run_whose_lease_was_good_counts_as_crashed(jobs: Cell, step: int, first: str) -> None:
    cell = jobs.with_settings(max_concurrent_jobs=50, announce_seconds=ALIVE / 3)
    runs = at_work(cell)
    set_clock(cell.store, step)
    look(cell, runs, first)
    check_times(cell)
    for run in runs[:6]:
        assert cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}) is JobStatus.COMPLETED
    assert all(cell.client.get(run.job_id).crashes == 0 for run in runs)
    # The dead worker's, a lease later.
    cell.let_leases_end()
    assert [one.became for one in cell.store.rescue()] == ["queued"]
    assert differences(cell.store) == []


@pytest.mark.parametrize("first", ["rescue", "beat", "leaving"])
@pytest.mark.parametrize("step", STEPS)
def test_what_began_after_the_clock_was_set_and_before_anybody_noticed_goes_on(jobs: Cell, step: int, first: str) -> None:
    """A run, a dispatch and a renewal by a run's own progress."""
    cell = jobs.with_settings(max_concurrent_jobs=50, announce_seconds=ALIVE / 3)
    runs = at_work(cell)
    waits = cell.submit()
    cell.slots(9, "later")
    set_clock(cell.store, step)
    runs[1] = cell.start(waits.job_id, worker="live")
    longest = cell.store.client.hget(cell.store.keys("job", waits.job_id), "run_until")
    # After a step forward no slot is announced until the next beat.
    hinted = cell.submit() if step < 0 else runs[3]
    assert cell.store.progress(runs[2].job_id, runs[2].fence, None) == "ok"
    look(cell, runs, first)
    check_times(cell)
    assert cell.client.get(hinted.job_id).reason == ("dispatched" if step < 0 else None)
    assert cell.store.client.hget(cell.store.keys("job", waits.job_id), "run_until") == longest
    for run in runs[:6]:
        assert cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}) is JobStatus.COMPLETED
        assert cell.client.get(run.job_id).crashes == 0


@pytest.mark.parametrize("first", ["rescue", "beat"])
def test_a_lease_that_had_ended_before_the_gap_stays_ended(jobs: Cell, first: str) -> None:
    cell = jobs.with_settings(max_concurrent_jobs=50, announce_seconds=ALIVE / 3)
    runs = at_work(cell)
    cell.store.client.zadd(cell.store.keys("leases"), {runs[6].job_id: int(cell.store.client.get(cell.store.keys("seen"))) - 1})
    set_clock(cell.store, 90_000)
    if first == "beat":
        beat(cell, runs)
    assert [one.job_id for _ in range(2) for one in cell.store.rescue()] == [runs[6].job_id]


def test_between_two_looks_as_usual_no_lease_grows(jobs: Cell) -> None:
    cell = jobs.with_settings(max_concurrent_jobs=50, announce_seconds=ALIVE / 3)
    runs = at_work(cell)
    done = []
    for _ in range(int(cell.settings.lease_seconds) // 5 + 1):
        # Five seconds pass, and only a rescue comes.
        set_clock(cell.store, 5000)
        done += cell.store.rescue()
    assert sorted(one.job_id for one in done) == sorted(run.job_id for run in runs)


def test_a_lease_grows_by_a_lease_at_most(jobs: Cell) -> None:
    cell = jobs.with_settings(max_concurrent_jobs=50, announce_seconds=ALIVE / 3)
    runs = at_work(cell)
    set_clock(cell.store, 7 * HOUR)
    beat(cell, runs)
    left = cell.store.client.zscore(cell.store.keys("leases"), runs[6].job_id) - time.time() * 1000
    assert left <= cell.settings.lease_seconds * 1000


def test_the_longest_that_a_run_may_take_is_not_passed_by_a_clock(jobs: Cell) -> None:
    cell = jobs.with_settings(max_concurrent_jobs=50, announce_seconds=ALIVE / 3)
    run = at_work(cell)[0]
    cell.slots(5, "more")
    timed = cell.start(cell.submit(deadline_seconds=3600).job_id, worker="more")
    set_clock(cell.store, 7 * HOUR)
    beat(cell, [run] * 6)
    # A deadline is of the clock on the wall, and was asked for.
    assert {one.job_id for _ in range(2) for one in cell.store.rescue()} == {timed.job_id}
    assert cell.store.progress(run.job_id, run.fence, None) == "ok"


@pytest.mark.parametrize("end", ["crash", "handback", "retry", "completed"])
@pytest.mark.parametrize("noticed", ["before the end", "after the end"])
@pytest.mark.parametrize("step", [7 * HOUR, 13 * HOUR, -13 * HOUR])
def test_time_that_no_run_had_is_charged_to_none(jobs: Cell, step: int, noticed: str, end: str) -> None:
    """Neither to the longest that the job may run nor to its tenant's share, whether the gap was noticed before the run's end or not."""
    cell = jobs.with_settings(max_concurrent_jobs=50, announce_seconds=ALIVE / 3)
    runs = at_work(cell)
    cell.slots(8, "later")
    # One that begins after the last look at the old clock, and one that begins before the first look at the new one.
    runs[2] = cell.start(cell.submit().job_id, worker="live")
    cell.store.client.decrby(cell.store.keys("seen"), 1000)
    waits = cell.submit()
    set_clock(cell.store, step)
    runs[1] = cell.start(waits.job_id, worker="live")
    if noticed == "before the end":
        look(cell, runs, "beat")
    for run in runs[:3]:
        if end == "completed":
            cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
        else:
            assert cell.store.requeue(run.job_id, run.fence, end) is JobStatus.QUEUED
            assert int(cell.store.client.hget(cell.store.keys("job", run.job_id), "ran_ms") or 0) < 60_000
    client, keys = cell.store.client, cell.store.keys
    for days in client.scan_iter(keys("usage_day", "*", "*")):
        assert int(client.hget(days, "slot_ms") or 0) < 60_000
    for share in client.scan_iter(keys("share", "*")):
        assert float(client.hget(share, "time") or 0) < 60_000
    if noticed == "after the end":
        cell.store.rescue()
    assert differences(cell.store) == []


@pytest.mark.parametrize("age", [0, 20 * 60_000, 2 * HOUR], ids=["just begun", "for minutes", "for hours"])
@pytest.mark.parametrize("steps", [(step,) for step in STEPS if step < 0] + [(-HOUR, HOUR), (-HOUR, -13 * HOUR), (7 * HOUR, -7 * HOUR)])
def test_a_run_may_take_as_long_as_before_though_its_progress_renewed_its_lease_first(jobs: Cell, steps: tuple[int, ...], age: int) -> None:
    cell = jobs.with_settings(max_concurrent_jobs=50, announce_seconds=ALIVE / 3)
    runs = at_work(cell)
    client, key = cell.store.client, cell.store.keys("job", runs[2].job_id)

    def left() -> float:
        until, at = int(client.hget(key, "run_until")), client.zscore(cell.store.keys("deadlines"), runs[2].job_id)
        assert at == until
        return until / 1000 - client.time()[0]

    client.hincrby(key, "started_at", -age)
    before = left()
    for step in steps:
        set_clock(cell.store, step)
        assert cell.store.progress(runs[2].job_id, runs[2].fence, None) == "ok"
        look(cell, runs, "beat")
        assert left() == pytest.approx(before, abs=60)
    assert differences(cell.store) == []


@pytest.mark.parametrize("step", [-90_000, -HOUR, -13 * HOUR])
def test_a_rate_is_as_good_as_before_after_the_clock_was_set_back(jobs: Cell, step: int) -> None:
    jobs.client.set_limits("acme", TenantLimits(submit_rate=1, start_rate=1))
    jobs.slots(5)
    jobs.submit(tenant_id="acme")
    with pytest.raises(RateLimited):
        jobs.submit(tenant_id="acme")
    set_clock(jobs.store, step)
    waiting = jobs.submit(tenant_id="acme")
    with pytest.raises(RateLimited) as refused:
        jobs.submit(tenant_id="acme")
    assert refused.value.retry_after <= 2
    assert jobs.client.get(waiting.job_id).reason == "dispatched"


@pytest.mark.parametrize("step", [-90_000, -HOUR, -13 * HOUR])
def test_a_tenant_that_waits_for_its_rate_and_a_job_for_its_backoff_wait_no_longer(jobs: Cell, step: int) -> None:
    cell = jobs.with_settings(announce_seconds=ALIVE / 3)
    cell.store.rescue()
    run = cell.running()
    cell.store.requeue(run.job_id, run.fence, "retry", delay_seconds=20)
    cell.client.set_limits("acme", TenantLimits(start_rate=1))
    later = [cell.submit(tenant_id="acme") for _ in range(2)][1]
    asked = cell.submit(run_at=int(time.time() * 1000) + 15_000)
    assert cell.client.get(later.job_id).reason != "dispatched"
    set_clock(cell.store, step)
    cell.store.rescue()
    set_clock(cell.store, 21_000)
    cell.slots(100)
    assert cell.client.get(later.job_id).reason == cell.client.get(run.job_id).reason == "dispatched"
    # What a client asked for is of the clock on the wall.
    assert cell.client.get(asked.job_id).reason == "scheduled"


@pytest.mark.parametrize("step", [-13 * HOUR, -30 * HOUR])
def test_the_pace_stays_a_number_and_one_that_is_none_is_mended(jobs: Cell, step: int) -> None:
    for sick in (None, "inf", "nan", "-nan"):
        if sick:
            for key in (jobs.store.keys("pace"), jobs.store.keys("share", "acme")):
                jobs.store.client.hset(key, "rate", sick)
        for _ in range(2):
            run = jobs.running(tenant_id="acme")
            jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
            for key in (jobs.store.keys("pace"), jobs.store.keys("share", "acme")):
                rate = float(jobs.store.client.hget(key, "rate"))
                assert math.isfinite(rate)
                assert 0 < rate < 10
            set_clock(jobs.store, step)


def test_no_sum_of_a_metric_falls(jobs: Cell) -> None:
    job = jobs.submit(tenant_id="acme")
    set_clock(jobs.store, -HOUR)
    jobs.slots(5)
    run = jobs.start(job.job_id)
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    sums = {name: int(n) for name, n in jobs.store.client.hgetall(jobs.store.keys("counters")).items() if "_sum|" in name}
    assert sums
    assert min(sums.values()) >= 0


def test_an_upload_is_not_locked_for_hours(jobs: Cell) -> None:
    jobs.store.run(
        "upload_create", id="0" * 24, tenant="acme", workspace="main", length=9, metadata="{}", folder="f", ttl_ms=HOUR, most=5, share=-1
    )
    assert jobs.store.run("upload_lock_at_offset", id="0" * 24, token="a", offset=0, lock_ms=60_000, share=-1).became == "ok"
    assert jobs.store.run("upload_lock_at_offset", id="0" * 24, token="b", offset=0, lock_ms=60_000, share=-1).became == "locked"
    set_clock(jobs.store, -HOUR)
    assert jobs.store.run("upload_lock_at_offset", id="0" * 24, token="b", offset=0, lock_ms=60_000, share=-1).became == "ok"


def test_a_dead_senders_message_is_not_its_own_for_hours(jobs: Cell) -> None:
    take: dict[str, Any] = {"quick": 5, "slow": 5, "lease_ms": 10_000, "tenant_cap": 5, "host_cap": 5, "ttl_ms": HOUR, "renew": []}
    jobs.client.cancel(jobs.submit(tenant_id="acme", webhook={"url": "https://hooks.example/"}).job_id)
    assert len(jobs.store.run("webhooks_claim", **take)) == 1
    set_clock(jobs.store, -HOUR)
    assert jobs.store.run("webhooks_claim", **take) == []
    set_clock(jobs.store, 11_000)
    assert len(jobs.store.run("webhooks_claim", **take)) == 1


@pytest.mark.parametrize("step", [-90_000, -HOUR, -13 * HOUR])
def test_messages_wait_for_their_turn_and_for_their_next_try_no_longer(jobs: Cell, step: int) -> None:
    cell = jobs.with_settings(announce_seconds=ALIVE / 3)
    take: dict[str, Any] = {"quick": 5, "slow": 5, "lease_ms": 60_000, "tenant_cap": 5, "host_cap": 5, "ttl_ms": 30 * HOUR, "renew": []}
    cell.store.rescue()
    for host in ("tried", "waits"):
        cell.client.cancel(cell.submit(tenant_id="acme", webhook={"url": f"https://{host}.example/"}).job_id)
    for row in cell.store.run("webhooks_claim", **take):
        delay = 20.0 if "tried" in row[8] else 0.0
        again: dict[str, Any] = {
            "outcome": "retry",
            "attempt": "{}",
            "error": "server_error",
            "delay": delay,
            "slow": False,
            "ttl_ms": 30 * HOUR,
        }
        assert cell.store.run("webhooks_settle", lease=row[0], **again) == "pending"
    set_clock(cell.store, step)
    cell.store.rescue()
    # By as much as passed since the clock was last read before, it waits longer.
    [waits] = until(lambda: cell.store.run("webhooks_claim", **take), "the message that waited for its turn")
    assert "waits" in waits[8]
    set_clock(cell.store, 21_000)
    assert ["tried" in row[8] for row in cell.store.run("webhooks_claim", **take)] == [True]


@pytest.mark.parametrize("step", STEPS)
def test_on_a_server_whose_clock_is_really_set_no_run_counts_as_crashed(cell: Settings, tmp_path: Path, step: int) -> None:
    if not LIBRARY:
        pytest.skip("libfaketime is not installed: this needs Debian's package `faketime` (.ci/run installs it)")
    clock = Clock(tmp_path)
    own = Server(tmp_path / "server", environment=clock.environment).start()
    try:
        made = make_cell(cell.model_copy(update={"redis_url": own.url, "max_concurrent_jobs": 50, "announce_seconds": ALIVE / 3}))
        runs = at_work(made)
        before = made.store.client.time()[0]
        clock.step_to(step / 1000)
        until(lambda: abs(made.store.client.time()[0] - before - step / 1000) < 60, "the server to see its clock set")
        look(made, runs, "beat")
        check_times(made)
        for run in runs[:6]:
            assert made.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}) is JobStatus.COMPLETED
        assert all(made.client.get(run.job_id).crashes == 0 for run in runs)
        assert differences(made.store) == []
        made.cell.close()
    finally:
        own.stop()
