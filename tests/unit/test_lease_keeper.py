"""The worker's beat: which slots it announces, and whose process it may kill, when."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import WorkerLostError
from celery.worker import state
from kombu.clocks import LamportClock

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.job import Job
from pipeline_jobs.pipelines import NO_CLASS
from pipeline_jobs.states import JobStatus
from pipeline_jobs.worker import lease
from pipeline_jobs.worker.hints import JOB_TASK
from pipeline_jobs.worker.lease import LeaseKeeper
from pipeline_jobs.worker.request import JobGivenUpSignal, JobRequest
from pipeline_jobs.worker.seats import ChildSeat, Seats

JOB = Job(job_id="now", status=JobStatus.RUNNING, pipeline="p", tenant_id="acme", workspace_id="main", created_at=1, fence=3)


class Running(JobRequest):
    """A job that a child has accepted."""

    fence = 1

    def __init__(self, job_id: str, pid: int) -> None:
        self.id, self.worker_pid, self._request_dict = job_id, pid, {"tenant": "acme"}


class FakeStore:
    """Gives every job the same answer."""

    def __init__(self) -> None:
        self.answer = "ok"
        self.away = False
        self.announced: list[tuple[int, list[str], bool]] = []
        self.paused: list[str] = []
        self.pools: list[str] = []
        self.requeued: list[str] = []
        self.whys: list[str] = []
        #: Called while a beat waits for its answer.
        self.meanwhile: Any = lambda: None

    def announce(
        self,
        worker: str,
        slots: int,
        jobs: list[tuple[str, int]],
        *,
        leaving: bool = False,
        paused: str = "",
        kind: object = None,
        warning: str = "",
        pool: str = "",
    ) -> list[str]:
        if self.away:
            raise StoreUnavailable
        self.announced.append((slots, [job_id for job_id, _ in jobs], leaving))
        self.paused.append(paused)
        self.pools.append(pool)
        self.meanwhile()
        return [self.answer] * len(jobs)

    def requeue(self, job_id: str, fence: int, why: str, **fields: object) -> JobStatus:
        if self.away:
            raise StoreUnavailable
        self.whys.append(why)
        self.requeued.append(job_id)
        return JobStatus.QUEUED


class Bench:
    """A keeper whose clock, store and kills are ours."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = FakeStore()
        self.now = 1000.0
        self.killed: list[tuple[int, int]] = []
        #: Celery's own set holds them weakly.
        self._running: list[Running] = []
        monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(lease, "os", SimpleNamespace(getpid=lambda: 1, kill=lambda pid, number: self.killed.append((pid, number))))
        settings = SimpleNamespace(
            announce_seconds=1.0,
            cancel_grace_seconds=15.0,
            lease_seconds=60.0,
            shutdown_grace_seconds=5.0,
            model_fields_set=set(),
            pool_caps={},
        )
        cell = SimpleNamespace(settings=settings, store=self.store, say=lambda moved: None, declare_pipelines=lambda: None)
        amqp = SimpleNamespace(queues=SimpleNamespace(consume_from={"jobs": None}))
        self.app = SimpleNamespace(
            cell=cell, amqp=amqp, worker_id="w", worker_class=NO_CLASS, fitness=None, warning="", seats=None, serves=""
        )
        #: How many beats there had been each time that it waited for the process's own announcement.
        self.waited: list[int] = []
        self.app.watch = SimpleNamespace(until_announced=lambda: self.waited.append(len(self.store.announced)))
        self.keeper = self.app.keeper = LeaseKeeper(SimpleNamespace(app=self.app, autoscaler=SimpleNamespace(max_concurrency=4), pool=None))

    def run(self, job_id: str, pid: int) -> Running:
        """A child accepts a job."""
        request = Running(job_id, pid)
        request._app = self.app
        self._running.append(request)
        state.active_requests.add(request)
        return request

    def beat(self, seconds: float = 0.0) -> None:
        self.now += seconds
        try:
            self.keeper._beat()
        except StoreUnavailable:
            self.keeper._give_up_what_is_lost()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(state, "should_stop", None)
    yield Bench(monkeypatch)
    state.active_requests.clear()


def test_it_announces_its_slots_and_renews_what_runs(bench: Bench) -> None:
    bench.run("a", 11)
    bench.beat()
    assert bench.store.announced == [(4, ["a"], False)]
    bench.beat()
    assert bench.waited == [0], "slots of a process that has not said what it is would pass for those of an earlier version"
    assert bench.killed == []


def test_its_slots_are_those_of_the_pool_that_it_serves(bench: Bench) -> None:
    bench.app.serves = "gpu"
    bench.app.amqp.queues.consume_from = {"jobs.gpu": None}
    bench.beat()
    assert (bench.store.pools, bench.store.announced) == (["gpu"], [(4, [], False)])


@pytest.mark.parametrize("answer", ["cancel", "fenced"])
def test_a_job_that_must_stop_is_killed_when_its_grace_has_passed_and_not_before(bench: Bench, answer: str) -> None:
    bench.run("a", 11)
    bench.store.answer = answer
    bench.beat()
    bench.beat(14.9)
    assert bench.killed == []
    bench.beat(0.2)
    assert bench.killed == [(11, signal.SIGKILL)]


def test_a_process_whose_job_ended_while_the_beat_was_on_its_way_is_not_killed(bench: Bench) -> None:
    request = bench.run("a", 11)
    bench.store.answer = "cancel"
    bench.beat()

    def child_goes_on_to_the_next_job() -> None:
        state.active_requests.discard(request)
        bench.run("b", 11)

    bench.store.meanwhile = child_goes_on_to_the_next_job
    bench.beat(60.0)
    assert bench.store.announced[-1][1] == ["a"]
    assert bench.killed == []


def test_celery_counts_each_job_that_a_child_went_on_to_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "total_count", Counter())
    monkeypatch.setattr(state, "all_total_count", [1])
    bench.keeper.count()
    seats = bench.app.seats = Seats()
    bench.keeper.count()
    assert (dict(state.total_count), state.all_total_count) == ({}, [1])
    seat = ChildSeat(seats, 0, lambda: True)
    seat.asks()
    for number in range(3):
        seat.has(JOB.evolve(job_id=f"{number}"))
        seat.asks_for_next()
        bench.keeper.count()
    assert (state.total_count[JOB_TASK], state.all_total_count) == (2, [3])


@pytest.mark.parametrize("asks", [False, True])
def test_a_child_that_has_gone_on_to_another_job_is_not_killed_for_the_one_before(bench: Bench, asks: bool) -> None:
    seats = bench.app.seats = Seats()
    bench.app.clock = LamportClock()
    seat = ChildSeat(seats, 0, lambda: True)
    seat.asks()
    seat.has(JOB)
    request = bench.run("a", seat.held.pid)
    bench.store.answer = "cancel"
    bench.beat()
    assert bench.store.announced[-1][1] == [JOB.job_id]
    if asks:
        # It is about to end: the answer may bring it another job.
        seat.asks_for_next()
    else:
        bench.store.meanwhile = lambda: (seat.asks_for_next(), seat.has(JOB.evolve(job_id="b")))
    bench.beat(15.0)
    assert bench.killed == []
    bench.store.meanwhile = lambda: None
    seat.has(JOB.evolve(job_id="c"))
    bench.beat(0.0)
    bench.beat(15.0)
    assert bench.killed == [(request.worker_pid, signal.SIGKILL)]


def test_the_grace_of_a_job_begins_anew_with_its_next_run(bench: Bench) -> None:
    request = bench.run("a", 11)
    bench.store.answer = "cancel"
    bench.beat()
    state.active_requests.discard(request)
    bench.beat(10.0)
    bench.run("a", 12)
    bench.beat(10.0)
    assert bench.killed == []


def test_an_operators_terminate_shortens_the_grace(bench: Bench) -> None:
    bench.run("a", 11)
    bench.store.answer = "cancel"
    bench.beat()
    bench.keeper.hurry("a", 3.0)
    bench.keeper.hurry("b", 0.0)
    bench.beat(2.9)
    assert bench.killed == []
    bench.beat(0.2)
    assert bench.killed == [(11, signal.SIGKILL)]


def test_when_no_renewal_came_through_for_a_whole_lease_the_jobs_are_given_up(bench: Bench) -> None:
    bench.run("a", 11)
    bench.beat()
    bench.store.away = True
    bench.beat(59.0)
    assert bench.killed == []
    bench.beat(1.0)
    assert bench.killed == [(11, signal.SIGKILL)]


def lose(bench: Bench, request: Any) -> None:
    """Celery's main process finds that the child has died."""
    request._app, request._hostname = bench.app, "w@host"
    request._over, request._say = lambda: state.active_requests.discard(request), lambda event, job_id, **fields: None
    request._worker_lost(WorkerLostError("signal 9"))


def test_a_job_that_was_given_up_because_the_store_was_away_goes_back_without_a_crash_when_it_is_back(bench: Bench) -> None:
    request = bench.run("a", 11)
    bench.beat()
    bench.store.away = True
    bench.beat(60.0)
    lose(bench, request)
    bench.beat(1.0)
    bench.store.away = False
    bench.beat(1.0)
    bench.beat(1.0)
    assert (bench.store.requeued, bench.store.whys) == (["a"], ["handback"])


def test_a_child_that_dies_while_the_store_is_away_is_a_crash_when_it_is_back(bench: Bench) -> None:
    request = bench.run("a", 11)
    bench.store.away = True
    bench.beat(1.0)
    lose(bench, request)
    bench.store.away = False
    bench.beat(1.0)
    assert (bench.store.requeued, bench.store.whys) == (["a"], ["crash"])


def test_a_run_that_gave_up_because_the_store_was_away_is_handed_back_uncounted_when_it_is_back(bench: Bench) -> None:
    request: Any = bench.run("a", 11)
    bench.store.away = True
    request._app, said = bench.app, []
    request._over, request._say = lambda: None, lambda event, job_id, **fields: said.append(event)
    request.on_failure(SimpleNamespace(exception=JobGivenUpSignal("the store cannot be reached")))
    bench.beat(1.0)
    assert (said, bench.store.whys) == (["task-retried"], [])
    bench.store.away = False
    bench.beat(1.0)
    assert (bench.store.requeued, bench.store.whys) == (["a"], ["fault"])


def test_a_worker_that_stops_has_no_slots_and_hands_its_jobs_back_after_the_grace(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run("a", 11)
    monkeypatch.setattr(state, "should_stop", 0)
    bench.beat()
    bench.beat(4.9)
    assert bench.store.requeued == []
    bench.beat(0.2)
    assert bench.store.requeued == ["a"]
    assert bench.store.whys == ["handback"]
    # It leaves from the first of them on: one that is live without slots is told of as drained, and each restart would be.
    assert [(slots, leaving) for slots, _, leaving in bench.store.announced] == [(0, True)] * 3
    assert bench.killed == []


def test_a_worker_that_leaves_has_no_slots_and_keeps_its_leases(bench: Bench) -> None:
    bench.run("a", 11)
    bench.keeper.leave()
    bench.beat()
    assert bench.store.announced == [(0, ["a"], True)]


def test_a_worker_that_hangs_after_it_was_told_to_stop_is_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # The last beat was answered: there is none to come, and no store that is away.
    bench.beat()
    bench.keeper._end_if_hung()
    monkeypatch.setattr(state, "should_stop", 0)
    bench.keeper._end_if_hung()
    # The grace for jobs, the grace for what ignores the hand-back, and then some.
    bench.now += 5 + 15 + lease.HANG_SECONDS - 1
    bench.keeper._end_if_hung()
    assert bench.killed == []
    bench.now += 1
    bench.keeper._end_if_hung()
    assert bench.killed == [(1, signal.SIGKILL)]


@pytest.mark.parametrize("since", [0.0, 60.0])
def test_a_worker_that_is_told_to_stop_while_the_store_is_away_ends_within_its_grace(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, since: float
) -> None:
    bench.beat()
    bench.store.away = True
    bench.beat()
    bench.now += since
    monkeypatch.setattr(state, "should_stop", 0)
    bench.keeper._end_if_hung()
    bench.beat(4.9)
    bench.keeper._end_if_hung()
    assert bench.killed == []
    bench.now += 0.2
    bench.keeper._end_if_hung()
    assert bench.killed == [(1, signal.SIGKILL)]


def test_one_whose_store_answers_has_the_time_to_hand_its_jobs_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run("a", 11)
    monkeypatch.setattr(state, "should_stop", 0)
    for _ in range(20):
        bench.beat(1.0)
        bench.keeper._end_if_hung()
    assert (bench.killed, bench.store.requeued[:1]) == ([], ["a"])


def test_a_paused_worker_has_no_slots_says_why_and_keeps_its_leases(bench: Bench) -> None:
    bench.run("a", 11)
    for reason in ("the disk is full", ""):
        bench.app.fitness = SimpleNamespace(reason=reason)
        bench.beat()
    assert bench.store.announced == [(0, ["a"], False), (4, ["a"], False)]
    assert bench.store.paused == ["the disk is full", ""]
