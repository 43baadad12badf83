"""Schedules on a real server: each slot is fired once or reported, whoever fires it and whoever dies on the way."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_jobs import failpoints
from pipeline_jobs.exceptions import (
    InvalidInput,
    JobGone,
    KeyReused,
    QueueFull,
    RateLimited,
    ScheduleGone,
    StoreFull,
    TooManySchedules,
    UnknownSchedule,
)
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.operation.metrics import StoreMetrics
from pipeline_jobs.schedules.fire import Fire, job_id_of
from pipeline_jobs.schedules.schedule import CatchUp, Overlap, Schedule
from pipeline_jobs.schedules.schedule_store import ScheduleStore, Skip
from pipeline_jobs.schedules.scheduler import CHUNK, NewSchedule, Scheduler
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.guard import StoreGuard
from pipeline_jobs.store.rates import Sender
from tests.integration.conftest import Cell, make_cell, tired_scripts
from tests.integration.recount import differences
from tests.stack import ROOT, environment

MINUTE = 60_000
HOURLY = NewSchedule("0 * * * *", NewJob(pipeline="sleep", tenant_id="acme"))
MINUTELY = replace(HOURLY, cron="* * * * *")


class Clockwork:
    """Schedules of a cell, and time that passes when it is told to."""

    def __init__(self, cell: Cell) -> None:
        self.cell, self.store = cell, cell.store
        self.scheduler = Scheduler(cell.client)
        self.kept = self.scheduler.kept

    def make(self, new: NewSchedule = HOURLY, /, **changes: Any) -> Schedule:
        return self.scheduler.create(replace(new, **changes)).schedule

    def get(self, schedule: Schedule) -> Schedule:
        return self.scheduler.get(schedule.schedule_id)

    def pass_by(self, schedule: Schedule, back_ms: int) -> list[int]:
        """As if its next slot had been so long ago. :return: the slots that are due now."""
        cron, now = schedule.cron, self.kept.now()
        slots = []
        for slot in cron.after(now - back_ms - 1):
            if slot > now:
                break
            slots.append(slot)
        if slots:
            self.store.client.hset(self.store.keys("schedule", schedule.schedule_id), "next_run_at", slots[0])
            self.store.client.zadd(self.store.keys("schedules_due"), {schedule.schedule_id: slots[0]})
        return slots

    def due(self, schedule: Schedule, slots: int = 1) -> list[int]:
        """The last so many slots of a minutely schedule are due."""
        return self.pass_by(schedule, slots * MINUTE - 1)[-slots:]

    def look_again(self, schedule: Schedule) -> None:
        """As if the time had come to look at a slot that waits."""
        self.store.client.zadd(self.store.keys("schedules_due"), {schedule.schedule_id: 1})

    def fire(self) -> dict[str, int]:
        return Fire(self.scheduler).run_once()

    def jobs(self, schedule: Schedule) -> list[str]:
        return sorted(
            job.job_id
            for job in self.cell.client.list(JobQuery(tenant_id=schedule.tenant_id, tag=f"schedule:{schedule.schedule_id}")).items
        )

    def outcomes(self, schedule: Schedule) -> Counter[str]:
        counted: Counter[str] = Counter()
        for one in self.scheduler.log(schedule.schedule_id, 50):
            counted[one.outcome] += one.count
        return counted


def together(ask: Callable[[], tuple[str, bool]], threads: int = 12, times: int = 5) -> tuple[list[str], list[str]]:
    """Ask so often at once, for an id and whether it was made before. :return: ids that were made, and ids that the key had made before."""
    made: list[str] = []
    replayed: list[str] = []

    def some() -> None:
        for _ in range(times):
            found, before = ask()
            (replayed if before else made).append(found)

    running = [threading.Thread(target=some) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return made, replayed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The clock stands still at half past a minute, some minutes from now: no slot comes while a test looks."""
    now = int(time.time()) // 60 * MINUTE + 10 * MINUTE + MINUTE // 2
    monkeypatch.setattr(ScheduleStore, "now", lambda kept: now)
    return monkeypatch


@pytest.fixture
def clockwork(jobs: Cell, clock: pytest.MonkeyPatch) -> Clockwork:
    return Clockwork(jobs)


class TestASlot:
    def test_it_makes_a_job_of_the_template_with_an_id_of_its_own(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY, job=NewJob(pipeline="sleep", params={"seconds": 3}, tenant_id="acme", tags=("x",)))
        (slot,) = clockwork.due(made)
        assert clockwork.fire() == {"fired": 1, "skipped": 0, "waits": 0}
        job = clockwork.cell.client.get(job_id_of(made.schedule_id, slot))
        assert (job.tenant_id, job.params["seconds"], job.tags) == ("acme", 3.0, ("x", f"schedule:{made.schedule_id}"))
        now = clockwork.get(made)
        assert (now.last_job_id, now.fired, now.skipped, now.next_run_at) == (job.job_id, 1, 0, slot + MINUTE)
        assert now.last_run_at == job.created_at
        assert clockwork.fire() == {"fired": 0, "skipped": 0, "waits": 0}
        assert differences(clockwork.store) == []

    @pytest.mark.parametrize(
        ("field", "odd"),
        [("catch_up", "of a later version"), ("job", "{"), ("cron", "x")],
    )
    def test_one_that_cannot_be_read_here_holds_up_no_other(self, clockwork: Clockwork, field: str, odd: str) -> None:
        first, other = clockwork.make(MINUTELY), clockwork.make(MINUTELY, job=NewJob(pipeline="sleep", tenant_id="other"))
        clockwork.due(first, 2), clockwork.due(other)
        client, key = clockwork.store.client, clockwork.store.keys("schedule", first.schedule_id)
        right = client.hget(key, field)
        client.hset(key, field, odd)
        assert clockwork.kept.due(2)[0] == first.schedule_id
        assert clockwork.fire() == {"fired": 1, "skipped": 0, "waits": 0}
        assert len(clockwork.jobs(other)) == 1
        client.hset(key, field, right)
        assert clockwork.fire()["fired"] >= 1
        assert sum(clockwork.outcomes(first).values()) == 2

    def test_nothing_happens_before_its_time(self, clockwork: Clockwork) -> None:
        made = clockwork.make()
        assert made.next_run_at is not None
        assert made.next_run_at > clockwork.kept.now()
        assert clockwork.fire()["fired"] == 0

    def test_another_job_of_the_same_second_with_the_same_bits_is_no_hindrance(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY)
        (slot,) = clockwork.due(made)
        clockwork.cell.client.submit(NewJob(pipeline="sleep"), job_id=job_id_of(made.schedule_id, slot))
        clockwork.fire()
        assert clockwork.get(made).last_job_id == job_id_of(made.schedule_id, slot, draw=1)

    def test_a_slot_that_comes_again_because_the_clock_was_set_back_has_its_job(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY, overlap=Overlap.QUEUE)
        clockwork.due(made)
        clockwork.fire()
        clockwork.due(made)
        clockwork.fire()
        assert len(clockwork.jobs(made)) == clockwork.get(made).fired == 1

    @pytest.mark.parametrize(
        ("limits", "reason"),
        [({"max_queued": 0}, "queue_full"), ({"submit_rate": 0}, "rate_limited"), ({"max_storage_bytes": 0}, "storage_full")],
    )
    def test_one_that_a_limit_refuses_is_reported(self, clockwork: Clockwork, limits: dict[str, int], reason: str) -> None:
        made = clockwork.make(MINUTELY)
        (slot,) = clockwork.due(made)
        if reason == "rate_limited":
            clockwork.store.set_limits("acme", {"submit_rate": 0.001})
            clockwork.cell.submit(tenant_id="acme")
        else:
            clockwork.store.set_limits("acme", limits)
        assert clockwork.fire() == {"fired": 0, "skipped": 1, "waits": 0}
        now = clockwork.get(made)
        assert (now.last_skipped_at, now.last_skipped_reason, now.skipped) == (slot, reason, 1)

    def test_one_whose_pipeline_is_gone_is_reported(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY)
        clockwork.due(made)
        clockwork.store.client.hset(clockwork.store.keys("schedule", made.schedule_id), "job", '{"pipeline":"gone"}')
        clockwork.fire()
        assert clockwork.get(made).last_skipped_reason == "invalid"

    def test_while_the_store_takes_no_jobs_it_stays_due(self, clockwork: Clockwork, monkeypatch: pytest.MonkeyPatch) -> None:
        made = clockwork.make(MINUTELY)
        clockwork.due(made)

        def full(guard: StoreGuard) -> bool:
            raise StoreFull

        with monkeypatch.context() as patched:
            patched.setattr(StoreGuard, "check", full)
            assert clockwork.fire() == {"fired": 0, "skipped": 0, "waits": 0}
        assert clockwork.fire()["fired"] == 1

    def test_its_outcome_and_its_lag_are_in_the_metrics(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY)
        clockwork.due(made, 3)
        clockwork.fire()
        text = StoreMetrics(clockwork.store, clockwork.cell.settings).text().decode()
        assert 'pipeline_schedule_slots_total{outcome="fired",tenant="acme",workspace="main"} 1.0' in text
        assert 'pipeline_schedule_slots_total{outcome="missed",tenant="acme",workspace="main"} 2.0' in text
        assert 'pipeline_schedule_lag_seconds_count{tenant="acme",workspace="main"} 1.0' in text
        assert "pipeline_schedules_late_seconds 0.0" in text


class TestOverlap:
    def test_skip_leaves_a_slot_out_while_the_last_job_has_not_ended(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY)
        clockwork.due(made)
        clockwork.fire()
        self._next_slot(clockwork, made)
        assert clockwork.fire() == {"fired": 0, "skipped": 1, "waits": 0}
        assert clockwork.get(made).last_skipped_reason == "overlap"
        clockwork.cell.client.cancel(clockwork.jobs(made)[0])
        self._next_slot(clockwork, made, 120)
        assert clockwork.fire()["fired"] == 1

    def test_queue_lets_one_run_after_the_other(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY, overlap=Overlap.QUEUE, catch_up=CatchUp.ALL)
        slots = clockwork.due(made, 3)
        clockwork.cell.slots(10)
        assert clockwork.fire() == {"fired": 1, "skipped": 0, "waits": 1}
        for n, slot in enumerate(slots, 1):
            job_id = job_id_of(made.schedule_id, slot)
            assert clockwork.get(made).last_job_id == job_id
            run = clockwork.cell.start(job_id)
            clockwork.look_again(made)
            assert clockwork.fire()["fired"] == 0
            clockwork.store.finish(job_id, run.fence, JobStatus.COMPLETED, result={})
            clockwork.look_again(made)
            assert clockwork.fire()["fired"] == (n < len(slots))
        assert clockwork.outcomes(made) == {"fired": 3}
        assert differences(clockwork.store) == []

    def test_the_queue_has_an_end(self, clockwork: Clockwork) -> None:
        cell = clockwork.cell.with_settings(schedule_catch_up=2)
        clockwork = Clockwork(cell)
        made = clockwork.make(MINUTELY, overlap=Overlap.QUEUE, catch_up=CatchUp.ALL)
        cell.submit(tenant_id="acme")
        for n in range(4):
            self._next_slot(clockwork, made, 60 * n)
            clockwork.fire()
        assert clockwork.outcomes(made) == {"fired": 1, "overlap_queue_full": 1}
        assert len(clockwork.kept.waiting(made.schedule_id)) == 2

    def test_cancel_running_cancels_waits_until_it_has_stopped_and_then_fires(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY, overlap=Overlap.CANCEL_RUNNING)
        (slot,) = clockwork.due(made)
        clockwork.cell.slots(10)
        clockwork.fire()
        first = job_id_of(made.schedule_id, slot)
        run = clockwork.cell.start(first)
        second = self._next_slot(clockwork, made)
        assert clockwork.fire() == {"fired": 0, "skipped": 0, "waits": 1}
        assert clockwork.cell.client.get(first).cancel_requested
        clockwork.store.finish(first, run.fence, JobStatus.COMPLETED, result={})
        clockwork.look_again(made)
        assert clockwork.fire()["fired"] == 1
        assert clockwork.cell.client.get(first).status is JobStatus.CANCELLED
        # One that waits is cancelled in the same call; of several slots only the newest counts.
        self._next_slot(clockwork, made, 60)
        self._next_slot(clockwork, made, 120, fire=False)
        assert clockwork.fire()["fired"] == 1
        assert clockwork.cell.client.get(job_id_of(made.schedule_id, second)).status is JobStatus.CANCELLED
        assert differences(clockwork.store) == []

    def test_cancel_running_of_very_many_goes_on_at_the_next_look(self, jobs: Cell, clock: pytest.MonkeyPatch) -> None:
        with tired_scripts():
            clockwork = Clockwork(make_cell(jobs.settings))
            made = clockwork.make(MINUTELY, overlap=Overlap.CANCEL_RUNNING)
            live = [clockwork.cell.submit(tenant_id="acme").job_id for _ in range(4)]
            clockwork.store.client.sadd(clockwork.store.keys("schedule_jobs", made.schedule_id), *live)
            clockwork.due(made)
            assert clockwork.fire()["waits"] == 1
            cancelled = [sum(clockwork.cell.client.get(job_id).ended for job_id in live)]
            while not clockwork.fire()["fired"]:
                clockwork.look_again(made)
                cancelled.append(sum(clockwork.cell.client.get(job_id).ended for job_id in live))
                assert len(cancelled) < 20
            assert 0 < cancelled[0] < 4
            assert differences(clockwork.store) == []

    def test_of_several_slots_that_would_cancel_each_other_the_newest_is_fired(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY, overlap=Overlap.CANCEL_RUNNING, catch_up=CatchUp.ALL)
        slots = clockwork.due(made, 3)
        assert clockwork.fire() == {"fired": 1, "skipped": 2, "waits": 0}
        assert clockwork.jobs(made) == [job_id_of(made.schedule_id, slots[-1])]
        assert clockwork.get(made).last_skipped_reason == "superseded"

    def _next_slot(self, clockwork: Clockwork, made: Schedule, back_seconds: int = 0, *, fire: bool = True) -> int:
        """A slot that was never fired is due and on time: seconds count for minutes here."""
        slot = clockwork.kept.now() - 29_000 + back_seconds
        clockwork.store.client.hset(clockwork.store.keys("schedule", made.schedule_id), "next_run_at", slot)
        clockwork.look_again(made)
        return slot


class TestManyAtOnce:
    def test_five_firers_make_each_job_once(self, clockwork: Clockwork) -> None:
        made = [clockwork.make(MINUTELY, catch_up=CatchUp.ALL, overlap=Overlap.QUEUE) for _ in range(6)]
        single = [clockwork.make(MINUTELY) for _ in range(20)]
        for one in made:
            clockwork.due(one, 5)
        for one in single:
            clockwork.due(one)
        cells = [make_cell(clockwork.cell.settings) for _ in range(5)]
        self._together([Fire(Scheduler(cell.client)) for cell in cells])
        for one in made:
            # One after the other: the first has not ended.
            assert clockwork.outcomes(one) == {"fired": 1}
            assert len(clockwork.kept.waiting(one.schedule_id)) == 4
        for one in single:
            assert (clockwork.outcomes(one), len(clockwork.jobs(one))) == ({"fired": 1}, 1)
        assert differences(clockwork.store) == []

    @pytest.mark.parametrize("seed", range(4))
    def test_firers_that_die_between_any_two_steps_lose_and_double_nothing(self, clockwork: Clockwork, seed: int) -> None:
        rng = random.Random(seed)
        made = [clockwork.make(MINUTELY, catch_up=CatchUp.ALL, overlap=rng.choice(list(Overlap))) for _ in range(4)]
        slots = {one.schedule_id: clockwork.due(one, rng.randint(1, 8)) for one in made}
        ran: set[str] = set()
        for _ in range(8):
            self._together([_Mortal(make_cell(clockwork.cell.settings), rng.random()) for _ in range(5)])
            ran |= self._end_all(clockwork)
            for one in made:
                clockwork.look_again(one)
        for _ in range(10):
            clockwork.fire()
            ran |= self._end_all(clockwork)
            for one in made:
                clockwork.look_again(one)
        for one in made:
            now, due = clockwork.get(one), slots[one.schedule_id]
            assert now.fired + now.skipped == len(due) == sum(clockwork.outcomes(one).values())
            fired = [log.job_id for log in clockwork.scheduler.log(one.schedule_id, 50) if log.outcome == "fired"]
            assert len(set(fired)) == len(fired) == now.fired >= 1
            assert set(fired) <= {job_id_of(one.schedule_id, slot) for slot in due}
            if one.overlap is Overlap.QUEUE:
                assert now.fired == len(due)
            ran -= set(fired)
        assert ran == set(), "a job that no log has"

    def test_a_process_killed_between_plan_and_job_leaves_the_slot_to_the_next(
        self, clockwork: Clockwork, clock: pytest.MonkeyPatch
    ) -> None:
        # The other process has a clock that goes: a slot more may come, and waits for this one.
        clock.undo()
        made = clockwork.make(MINUTELY, catch_up=CatchUp.ALL, overlap=Overlap.QUEUE)
        (slot,) = clockwork.due(made)
        program = "from celery_app import app; app.cell.duties['fire']()"
        killed = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=environment(clockwork.cell.settings, **{failpoints.VARIABLE: "fire.midway=kill"}),
            timeout=60,
            check=False,
        )
        assert killed.returncode == -9
        assert (clockwork.kept.waiting(made.schedule_id)[0], clockwork.jobs(made)) == (slot, [])
        assert clockwork.fire()["fired"] == 1
        assert clockwork.jobs(made) == [job_id_of(made.schedule_id, slot)]

    def test_slots_are_planned_once_however_many_saw_that_they_are_due(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY)
        (slot,) = clockwork.due(made)
        seen = clockwork.get(made)
        planned = [clockwork.kept.plan(seen, [slot], Skip("missed", [slot - MINUTE]), slot + MINUTE, 9) for _ in range(2)]
        assert (planned, clockwork.get(made).skipped) == ([True, False], 1)
        clockwork.fire()
        assert clockwork.kept.plan(seen, [slot], Skip("", ()), slot + MINUTE, 9) is False
        assert clockwork.outcomes(made) == {"missed": 1, "fired": 1}

    def test_a_slot_whose_job_came_and_went_is_not_fired_by_one_who_was_slow(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY)
        (slot,) = clockwork.due(made)
        slow = clockwork.get(made)
        clockwork.fire()
        job_id = clockwork.jobs(made)[0]
        clockwork.cell.client.cancel(job_id)
        clockwork.cell.client.delete(job_id)
        job = clockwork.scheduler.job_of(slow, job_id_of(made.schedule_id, slot))
        assert clockwork.kept.fire(slow, slot, job, f"{made.schedule_id}|{slot}").became == "gone"
        assert clockwork.jobs(made) == []

    def _together(self, firers: list[Fire] | list[_Mortal]) -> None:
        threads = [threading.Thread(target=one.run_once) for one in firers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _end_all(self, clockwork: Clockwork) -> set[str]:
        """Every job ends and goes at once: nothing may lean on its record. :return: their ids."""
        keys, client = clockwork.store.keys, clockwork.store.client
        gone = {job_id for status in JobStatus for job_id in client.zrange(keys("status", status), 0, -1)}
        for job_id in gone:
            clockwork.cell.client.cancel(job_id)
            clockwork.cell.client.delete(job_id)
        return gone


class Death(BaseException):
    """As if by SIGKILL: nothing of ours catches it."""


class _Mortal:
    """A firer that dies before or after one of its scripts."""

    def __init__(self, cell: Cell, luck: float) -> None:
        self.fire = Fire(Scheduler(cell.client))
        self._left = int(luck * 6)
        self._run = cell.store.run
        cell.store.run = self._step  # type: ignore[method-assign]

    def run_once(self) -> None:
        try:
            self.fire.run_once()
        except Death:
            pass

    def _step(self, *arguments: object, **options: object) -> object:
        self._die_if_it_is_time()
        reply = self._run(*arguments, **options)  # type: ignore[arg-type]
        self._die_if_it_is_time()
        return reply

    def _die_if_it_is_time(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise Death


class TestMissedSlots:
    def test_an_outage_longer_than_a_step_is_counted_slot_by_slot(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY, catch_up=CatchUp.ALL, overlap=Overlap.QUEUE)
        n = 3 * CHUNK + 500
        due = clockwork.due(made, n)
        clockwork.fire()
        now = clockwork.get(made)
        waiting = clockwork.kept.waiting(made.schedule_id)
        most = clockwork.cell.settings.schedule_catch_up
        assert (now.fired, now.skipped, waiting) == (1, n - most, due[-most + 1 :])
        assert clockwork.outcomes(made) == {"missed": n - most, "fired": 1}

    def test_catch_up_does_to_any_outage_what_it_says(self, cell: Settings, clock: pytest.MonkeyPatch) -> None:
        clockwork = Clockwork(make_cell(cell.model_copy(update={"schedule_catch_up": 7})))

        @given(catch_up=st.sampled_from(CatchUp), minutes=st.integers(1, 40), every=st.sampled_from([1, 2, 5]))
        @settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
        def check(catch_up: CatchUp, minutes: int, every: int) -> None:
            clockwork.store.client.flushall()
            made = clockwork.make(replace(MINUTELY, cron=f"*/{every} * * * *"), catch_up=catch_up, overlap=Overlap.QUEUE)
            due = clockwork.pass_by(made, minutes * MINUTE)
            late = sum(clockwork.kept.now() - slot > MINUTE for slot in due)
            clockwork.fire()
            now, waiting = clockwork.get(made), clockwork.kept.waiting(made.schedule_id)
            assert now.fired + now.skipped + len(waiting) == len(due)
            least = {CatchUp.NONE: 0, CatchUp.LAST: min(1, len(due)), CatchUp.ALL: min(7, len(due))}[catch_up]
            assert now.fired + len(waiting) == max(least, len(due) - late)
            assert waiting == due[len(due) - len(waiting) :]

        check()
        clockwork.store.close()


class TestChanges:
    def test_paused_it_fires_nothing_and_resumed_it_goes_on_from_now(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY, catch_up=CatchUp.ALL)
        clockwork.due(made, 3)
        paused = clockwork.scheduler.pause(made.schedule_id)
        assert (paused.paused, paused.next_run_at, paused.skipped, paused.last_skipped_reason) == (True, None, 3, "paused")
        assert clockwork.scheduler.pause(made.schedule_id) == paused
        assert clockwork.scheduler.upcoming(paused, 3) == []
        clockwork.fire()
        resumed = clockwork.scheduler.resume(made.schedule_id)
        assert resumed.next_run_at is not None
        assert resumed.next_run_at > clockwork.kept.now()
        assert clockwork.jobs(made) == []

    def test_slots_that_wait_are_skipped_by_a_pause(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY, catch_up=CatchUp.ALL, overlap=Overlap.QUEUE)
        clockwork.due(made, 3)
        clockwork.fire()
        clockwork.scheduler.pause(made.schedule_id)
        assert clockwork.outcomes(made) == {"fired": 1, "paused": 2}
        assert clockwork.kept.waiting(made.schedule_id) == []

    def test_with_another_cron_a_slot_that_is_due_is_reported_and_the_rest_are_the_new_ones(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY)
        clockwork.due(made, 2)
        changed = clockwork.scheduler.change(made.schedule_id, cron="0 3 * * *", timezone="Europe/Berlin", overlap=Overlap.QUEUE)
        assert (changed.skipped, changed.last_skipped_reason, changed.overlap) == (2, "changed", Overlap.QUEUE)
        assert changed.next_run_at == changed.cron.next(clockwork.kept.now())

    def test_another_template_leaves_the_slots_alone(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY)
        (slot,) = clockwork.due(made)
        clockwork.scheduler.change(made.schedule_id, name="new", job=NewJob(pipeline="sleep", params={"seconds": 9}, tenant_id="other"))
        clockwork.fire()
        job = clockwork.cell.client.get(job_id_of(made.schedule_id, slot))
        assert (job.params["seconds"], job.tenant_id) == (9.0, "acme")

    def test_who_fires_an_older_template_looks_again(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY)
        (slot,) = clockwork.due(made)
        old = clockwork.get(made)
        assert clockwork.kept.plan(old, [slot], Skip("", ()), slot + MINUTE, 9)
        clockwork.scheduler.change(made.schedule_id, job=NewJob(pipeline="sleep", params={"seconds": 9}))
        job = clockwork.scheduler.job_of(old, job_id_of(made.schedule_id, slot))
        assert clockwork.kept.fire(old, slot, job, "n").became == "stale"
        clockwork.fire()
        assert clockwork.cell.client.get(job.job_id).params["seconds"] == 9.0

    def test_a_slot_that_came_due_in_between_is_not_changed_away(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY)
        # By the server's own clock.
        clockwork.store.client.hset(clockwork.store.keys("schedule", made.schedule_id), "next_run_at", made.created_at)
        changed = clockwork.get(made).evolve(revision="r2", paused=True, next_run_at=None)
        assert clockwork.kept.put(changed, before=made.revision)[0] == "due"
        assert clockwork.scheduler.pause(made.schedule_id).last_skipped_reason == "paused"

    def test_a_put_sent_twice_is_one_and_two_changes_at_once_do_not_undo_each_other(self, clockwork: Clockwork) -> None:
        made = clockwork.make()
        again = made.evolve(name="x", revision="r2")
        assert [clockwork.kept.put(again, before=made.revision, keep_next=True)[0] for _ in range(2)] == ["ok", "ok"]
        assert clockwork.kept.put(made.evolve(name="y", revision="r3"), before=made.revision, keep_next=True)[0] == "changed"
        assert clockwork.get(made).name == "x"

    def test_deleted_it_is_gone_and_its_jobs_go_on(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY)
        clockwork.due(made)
        clockwork.fire()
        clockwork.scheduler.delete(made.schedule_id)
        with pytest.raises(UnknownSchedule):
            clockwork.get(made)
        with pytest.raises(UnknownSchedule):
            clockwork.scheduler.delete(made.schedule_id)
        assert list(clockwork.store.client.scan_iter(clockwork.store.keys.prefix + "schedule*")) == []
        assert len(clockwork.jobs(made)) == 1

    def test_an_erased_tenant_has_none_left(self, clockwork: Clockwork, tmp_path: Path) -> None:
        made, other = clockwork.make(MINUTELY), clockwork.make(MINUTELY, job=NewJob(pipeline="sleep", tenant_id="other"))
        clockwork.due(made)
        clockwork.fire()
        artifacts = ArtifactStore(tmp_path.as_uri(), "", lambda: "k")
        assert erase_tenant(clockwork.store, artifacts, "acme", dry_run=True).jobs == 1
        assert clockwork.get(made)
        assert erase_tenant(clockwork.store, artifacts, "acme", dry_run=False).done
        assert [one.schedule_id for one in clockwork.scheduler.list().items] == [other.schedule_id]


class TestByHand:
    def test_it_makes_a_job_at_once_paused_or_not(self, clockwork: Clockwork) -> None:
        made = clockwork.make(paused=True)
        jobs = [clockwork.scheduler.run_now(made.schedule_id).job for _ in range(2)]
        assert [clockwork.cell.client.get(job.job_id).created_at for job in jobs] == [job.created_at for job in jobs]
        now = clockwork.get(made)
        assert (now.last_job_id, now.fired, now.next_run_at) == (jobs[1].job_id, 0, None)
        assert clockwork.outcomes(made) == {"manual": 2}

    def test_its_job_counts_for_the_overlap(self, clockwork: Clockwork) -> None:
        made = clockwork.make(MINUTELY)
        clockwork.scheduler.run_now(made.schedule_id)
        clockwork.due(made)
        clockwork.fire()
        assert clockwork.get(made).last_skipped_reason == "overlap"

    def test_sent_twice_it_is_one_job(self, clockwork: Clockwork) -> None:
        made = clockwork.make()
        job = clockwork.scheduler.job_of(made, "job_1_00000000")
        assert {clockwork.kept.fire(made, None, job, "n").became for _ in range(2)} == {"fired"}
        assert clockwork.outcomes(made) == {"manual": 1}
        assert clockwork.kept.fire(made, None, job, "other").became == "taken"

    def test_a_limit_is_an_error(self, clockwork: Clockwork) -> None:
        made = clockwork.make()
        clockwork.store.set_limits("acme", {"max_queued": 0})
        with pytest.raises(QueueFull):
            clockwork.scheduler.run_now(made.schedule_id)
        assert clockwork.outcomes(made) == {}

    def test_a_rate_is_held_against_whoever_asks_too_and_a_refusal_keeps_no_key(self, clockwork: Clockwork) -> None:
        clockwork = Clockwork(clockwork.cell.with_settings(submit_rate_per_key=1.0))
        clockwork.store.set_limits("acme", {"submit_rate": 100})
        made = clockwork.make()
        accepted = clockwork.scheduler.run_now(made.schedule_id, sender=Sender("key:one"))
        assert [(rate.name, rate.left) for rate in accepted.rates] == [("tenant", 99), ("key", 0)]
        with pytest.raises(RateLimited) as limited:
            clockwork.scheduler.run_now(made.schedule_id, sender=Sender("key:one"), idempotency_key="k")
        assert (limited.value.whose, limited.value.retry_after) == ("key", 1)
        assert clockwork.outcomes(made) == {"manual": 1}
        # It is no other's, and the clock is nobody.
        clockwork.scheduler.run_now(made.schedule_id, sender=Sender("key:two"), idempotency_key="k")
        assert clockwork.outcomes(made) == {"manual": 2}

    def test_many_requests_with_one_key_make_one_job_and_cost_one_token(self, clockwork: Clockwork) -> None:
        clockwork.store.set_limits("acme", {"submit_rate": 1})
        made, other = clockwork.make(), clockwork.make()

        def run() -> tuple[str, bool]:
            accepted = clockwork.scheduler.run_now(made.schedule_id, idempotency_key="k")
            return accepted.job.job_id, accepted.replayed

        made_jobs, replayed = together(run)
        assert (len(made_jobs), replayed) == (1, made_jobs * 59)
        assert clockwork.jobs(made) == made_jobs
        assert clockwork.outcomes(made) == {"manual": 1}
        assert differences(clockwork.store) == []
        with pytest.raises(KeyReused):
            clockwork.scheduler.run_now(other.schedule_id, idempotency_key="k")
        # The request is to run it: another template is no other request.
        clockwork.scheduler.change(made.schedule_id, job=NewJob(pipeline="sleep", params={"seconds": 9}))
        assert clockwork.scheduler.run_now(made.schedule_id, idempotency_key="k").replayed
        clockwork.cell.client.cancel(made_jobs[0])
        clockwork.cell.client.delete(made_jobs[0])
        with pytest.raises(JobGone):
            clockwork.scheduler.run_now(made.schedule_id, idempotency_key="k")

    def test_sent_again_with_its_key_it_is_the_same_answer(self, clockwork: Clockwork) -> None:
        made = clockwork.make()
        job = clockwork.scheduler.job_of(made, "job_1_00000000")
        assert {clockwork.kept.fire(made, None, job, "n", idempotency=("k", "f")).became for _ in range(2)} == {"fired"}
        other = clockwork.scheduler.job_of(made, "job_1_00000001")
        assert clockwork.kept.fire(made, None, other, "m", idempotency=("k", "f")).refusal.id == job.job_id


class TestAnIdempotencyKey:
    def test_many_requests_make_one_schedule(self, clockwork: Clockwork) -> None:
        def create() -> tuple[str, bool]:
            planned = clockwork.scheduler.create(HOURLY, idempotency_key="k")
            return planned.schedule.schedule_id, planned.replayed

        made, replayed = together(create)
        assert (len(made), replayed) == (1, made * 59)
        assert [one.schedule_id for one in clockwork.scheduler.list(tenant_id="acme").items] == made

    def test_it_is_its_tenants_and_its_senders_own_and_of_one_request(self, clockwork: Clockwork) -> None:
        first = clockwork.scheduler.create(HOURLY, idempotency_key="k").schedule
        others = [
            clockwork.scheduler.create(replace(HOURLY, job=NewJob(pipeline="sleep", tenant_id="other")), idempotency_key="k"),
            clockwork.scheduler.create(HOURLY, idempotency_key="k", sender=Sender(scope="schedules\nw1")),
            clockwork.scheduler.create(HOURLY, idempotency_key="key with spaces: \u00e9\n" * 20),
        ]
        assert len({first.schedule_id, *(one.schedule.schedule_id for one in others)}) == 4
        # A job's key is another one.
        clockwork.cell.client.submit(NewJob(pipeline="sleep", tenant_id="acme"), idempotency_key="k")
        for changes in ({"name": "x"}, {"paused": True}, {"cron": "1 * * * *"}, {"overlap": Overlap.QUEUE}):
            with pytest.raises(KeyReused):
                clockwork.scheduler.create(replace(HOURLY, **changes), idempotency_key="k")
        again = clockwork.scheduler.create(HOURLY, idempotency_key="k")
        assert (again.schedule.schedule_id, again.replayed) == (first.schedule_id, True)
        assert 86_000 < clockwork.store.client.ttl(next(clockwork.store.client.scan_iter("*idempotency:other:*"))) <= 86_400
        assert not any("key with" in key for key in clockwork.store.client.scan_iter("*idempotency*"))

    def test_a_full_tenant_is_told_of_what_its_key_made_and_a_refusal_keeps_no_key(self, clockwork: Clockwork) -> None:
        clockwork = Clockwork(clockwork.cell.with_settings(max_schedules_per_tenant=1))
        first = clockwork.scheduler.create(HOURLY, idempotency_key="k").schedule
        assert clockwork.scheduler.create(HOURLY, idempotency_key="k").replayed
        with pytest.raises(TooManySchedules):
            clockwork.scheduler.create(HOURLY, idempotency_key="another")
        clockwork.scheduler.delete(first.schedule_id)
        with pytest.raises(ScheduleGone):
            clockwork.scheduler.create(HOURLY, idempotency_key="k")
        assert not clockwork.scheduler.create(HOURLY, idempotency_key="another").replayed

    def test_sent_again_by_the_connection_it_is_the_same_answer(self, clockwork: Clockwork) -> None:
        made = clockwork.make().evolve(schedule_id="sch_1_00000000", revision="r")
        assert [clockwork.kept.put(made, most=9, idempotency=("k", "f"))[0] for _ in range(2)] == ["ok", "ok"]


class TestMaking:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"cron": "0 25 * * *"}, "cron"),
            ({"timezone": "Mars/Olympus"}, "timezone"),
            ({"name": "x" * 65}, "name"),
            ({"job": NewJob(pipeline="nothing")}, "job.pipeline"),
            ({"job": NewJob(pipeline="sleep", params={"seconds": -1})}, "job.params.seconds"),
            ({"job": NewJob(pipeline="sleep", url="http://a.example/")}, "job.url"),
            ({"job": NewJob(pipeline="sleep", tags=tuple(map(str, range(20))))}, "job.tags"),
        ],
    )
    def test_what_is_wrong_is_named(self, clockwork: Clockwork, changes: dict[str, object], field: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            clockwork.make(**changes)
        assert caught.value.field == field
        assert clockwork.scheduler.list().items == ()

    def test_a_tenant_has_no_more_than_it_may(self, clockwork: Clockwork) -> None:
        few = Clockwork(clockwork.cell.with_settings(max_schedules_per_tenant=2))
        first, _ = few.make(), few.make()
        with pytest.raises(TooManySchedules):
            few.make()
        few.make(job=NewJob(pipeline="sleep", tenant_id="other"))
        few.scheduler.delete(first.schedule_id)
        few.make()

    def test_pages_go_down_and_stay_in_their_workspace(self, clockwork: Clockwork) -> None:
        for n in range(5):
            clockwork.make(name=str(n), job=NewJob(pipeline="sleep", tenant_id="acme", workspace_id="ab"[n % 2]))
        clockwork.make(job=NewJob(pipeline="sleep", tenant_id="other"))
        seen: list[str] = []
        cursor: str | None = None
        while True:
            page = clockwork.scheduler.list(tenant_id="acme", cursor=cursor, limit=2)
            seen += [one.name for one in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == ["4", "3", "2", "1", "0"]
        assert [one.name for one in clockwork.scheduler.list(tenant_id="acme", workspace_id="b").items] == ["3", "1"]
        assert len(clockwork.scheduler.list().items) == 6
        with pytest.raises(InvalidInput):
            clockwork.scheduler.list(cursor="x")

    def test_where_the_broker_is_another_server_the_hints_are_published(self, cell: Settings, clock: pytest.MonkeyPatch) -> None:
        published: list[str] = []
        base = make_cell(cell, publish=lambda hints: published.extend(hint.job_id for hint in hints))
        clockwork = Clockwork(base)
        base.slots(3)
        made = clockwork.make(MINUTELY)
        (slot,) = clockwork.due(made)
        clockwork.fire()
        assert published == [job_id_of(made.schedule_id, slot)]
        base.cell.close()
