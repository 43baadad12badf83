"""A job that waits for a signal: parked without a slot, and woken or ended once, by whatever comes first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.events.log import read
from pipeline_jobs.exceptions import InvalidInput, JobNotEnded, NoAudio, UnknownJob
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs import signals
from pipeline_jobs.jobs.executor import Ending, Executor
from pipeline_jobs.jobs.signals import AlreadySignalled, Link, SignalLinks, SignalTooLate, UnknownSignal
from pipeline_jobs.operation.metrics import StoreMetrics
from pipeline_jobs.pipelines import NoParams, Pipeline, RetryPolicy, Stage, Wait
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.figures import scrape
from pipeline_jobs.tenants import ANYBODYS, TenantLimits, Whose
from tests.integration.conftest import Cell, make_cell
from tests.integration.fair_histories import pretend_it_took
from tests.integration.recount import differences
from tests.servers import Server

YES = {"approved": True, "note": "go"}
#: In ms.
MINUTE = 60_000


class World:
    """Pipelines `p` (`make`, a wait `approval` that fails after a minute, `send`), `patient` (waits for any time) and `goes-on`."""

    def __init__(self, cell: Cell, folder: Path) -> None:
        self.cell = cell
        self.artifacts = ArtifactStore(folder.as_uri(), "http://x", lambda: "k")
        self.links = SignalLinks("http://x", lambda: "k")
        self.ran: list[str] = []
        self.outcomes: list[Ending] = []
        self.error: Exception | None = None
        #: What happens while `make` runs.
        self.meanwhile: Callable[[], object] = lambda: None
        make, send = Stage("make", self.make), Stage("send", self.send)
        for name, wait in (
            ("p", Wait("approval", timeout=60, prompt=lambda data: f"Is {data['sum']} right?")),
            ("patient", Wait("approval")),
            ("goes-on", Wait("approval", timeout=60, on_timeout="go_on")),
        ):
            cell.client.registry.register(Pipeline(name, (make, wait, send), NoParams, needs_url=False, retry=RetryPolicy(2, 0)))
        self.use(cell)

    def use(self, cell: Cell) -> None:
        self.executor = Executor(cell.store, self.cell.client.registry, cell.settings, self.artifacts, links=self.links)

    def make(self, context: JobContext) -> Mapping[str, Any]:
        self.ran.append("make")
        self.meanwhile()
        (context.workdir / "report").write_text("rows")
        context.log.info("made")
        return {"sum": 42}

    def send(self, context: JobContext) -> Mapping[str, Any]:
        self.ran.append("send")
        if self.error:
            raise self.error
        context.log.info("sent")
        return {"sent": (context.workdir / "report").read_text(), "approval": context.data["approval"]}

    def submit(self, **fields: Any) -> Job:
        return self.cell.client.submit(NewJob(**{"pipeline": "p", "tenant_id": "acme", **fields}))

    def run(self, job: Job) -> Job:
        """One run, as a worker makes it."""
        self.cell.slots(5)
        self.outcomes.append(self.executor.run(job.job_id, self.cell.client.get(job.job_id).fence, "w1").ending)
        return self.seen(job)

    def seen(self, job: Job) -> Job:
        assert differences(self.cell.store) == []
        return self.cell.client.describe(job.job_id)

    def parked(self, **fields: Any) -> Job:
        job = self.run(self.submit(**fields))
        assert (job.status, job.reason, job.awaits) == (JobStatus.QUEUED, "signal", "approval")
        return job

    def signal(self, job: Job, payload: Any = YES, by: str = "key:a", whose: Whose = ANYBODYS) -> dict[str, Any]:
        return signals.send(self.cell.client, job.job_id, "approval", payload, by, whose)

    def let_the_wait_end(self, job: Job) -> None:
        keys, client = self.cell.store.keys, self.cell.store.client
        client.zadd(keys("delayed"), {job.job_id: 1}, xx=True)
        client.hset(keys("job", job.job_id), "awaits_until", 1)

    def slots_taken(self) -> int:
        return sum(self.cell.store.sizes([("leases",), ("hints",)]))


@pytest.fixture
def world(jobs: Cell, tmp_path: Path) -> World:
    return World(jobs, tmp_path / "artifacts")


def test_a_signal_wakes_the_job_with_its_payload(world: World) -> None:
    job = world.parked()
    assert (world.outcomes, world.slots_taken()) == ([Ending.REQUEUED], 0)
    assert (job.message, job.stage, job.attempt) == ("Is 42 right?", "approval", 1)
    assert (job.awaits_until or 0) - (job.awaits_since or 0) == 60_000
    assert (job.queue or {})["reason"] == "signal"
    assert world.signal(job)["by"] == "key:a"
    woken = world.seen(job)
    assert (woken.awaits, woken.awaits_since, woken.awaits_until) == (None, None, None)
    done = world.run(job)
    assert (done.status, done.attempt, done.started_at) == (JobStatus.COMPLETED, 1, job.started_at)
    assert done.result["data"] == {"sum": 42, "sent": "rows", "approval": YES}
    assert world.ran == ["make", "send"], "what ran before the wait is not run again"
    assert done.to_dict()["signals"]["approval"]["payload"] == YES
    kinds = [(event.type.value, event.data["status"], event.data.get("reason")) for event in read(world.cell.store, job.job_id).events]
    assert [kind for kind in kinds if kind[0] in ("job.waiting", "job.signalled")] == [
        ("job.waiting", "queued", None),
        ("job.signalled", "queued", None),
    ]
    assert done.log_lines == 2, "the log goes on over the park"


@pytest.mark.parametrize("while_it", ["waits for a slot", "runs"])
def test_a_signal_may_come_before_the_wait(world: World, while_it: str) -> None:
    world.cell.slots(5)
    job = world.submit()
    if while_it == "runs":
        world.meanwhile = lambda: world.signal(job)
    else:
        world.signal(job)
    done = world.run(job)
    if while_it == "runs":
        assert done.reason == "dispatched", "it went on at once"
        done = world.run(job)
    assert (done.status, done.result["data"]["approval"]) == (JobStatus.COMPLETED, YES)


def test_the_first_word_counts(world: World) -> None:
    job = world.parked()
    first = world.signal(job)
    assert world.signal(job, by="key:b") == first, "the same again is the same"
    with pytest.raises(AlreadySignalled, match="key:a"):
        world.signal(job, {"approved": False})
    done = world.run(job)
    assert world.signal(done) == first, "also when the job has ended"
    with pytest.raises(AlreadySignalled):
        world.signal(job, {"approved": False})
    assert world.seen(job).signals == {"approval": first}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"a": 1}, {"a": 1, "payload": {"a": 1}}), ([], {}), ("x", 'x","by":"y'), (1, 12), (None, "null"), ({"b": []}, {"b": {}}),
    ],
)  # fmt: skip
def test_payloads_are_told_apart_and_kept_exactly(world: World, first: Any, second: Any) -> None:
    for one, other in permutations((first, second)):
        job = world.submit()
        world.signal(job, one)
        with pytest.raises(AlreadySignalled):
            world.signal(job, other)
        assert world.seen(job).signals["approval"]["payload"] == one


def test_the_same_payload_is_the_same_in_whatever_order_it_is_written(world: World) -> None:
    job = world.submit()
    first = world.signal(job, {"approved": True, "by": {"name": "ann", "of": [{"x": 1, "y": 2}]}})
    assert world.signal(job, {"by": {"of": [{"y": 2, "x": 1}], "name": "ann"}, "approved": True}) == first
    with pytest.raises(AlreadySignalled):
        world.signal(job, {"by": {"of": [{"y": 1, "x": 2}], "name": "ann"}, "approved": True})


def test_a_wait_that_is_over_fails_the_job(world: World) -> None:
    job = world.parked()
    world.let_the_wait_end(job)
    world.cell.slots(5)
    assert world.seen(job).reason == "signal", "whose end is told is for a duty that tells of it"
    (done,) = world.cell.store.rescue()
    assert (done.job_id, done.became) == (job.job_id, "failed")
    failed = world.seen(job)
    assert (failed.status, failed.error_detail or {}) == (
        JobStatus.FAILED,
        {"code": "signal_timeout", "message": "no signal approval came in time", "stage": "approval", "retryable": False},
    )
    with pytest.raises(SignalTooLate):
        world.signal(job)


def test_a_wait_that_is_over_lets_the_job_go_on(world: World) -> None:
    job = world.parked(pipeline="goes-on")
    world.let_the_wait_end(job)
    world.cell.store.rescue()
    with pytest.raises(AlreadySignalled, match="over"):
        world.signal(job)
    done = world.run(job)
    assert (done.status, done.result["data"]["approval"]) == (JobStatus.COMPLETED, None)
    assert done.signals["approval"]["by"] == "timeout"


def test_of_signal_timeout_cancel_and_deadline_the_first_counts(world: World) -> None:
    def cancel(job: Job) -> None:
        world.cell.client.cancel(job.job_id)

    def signal(job: Job) -> None:
        try:
            world.signal(job)
        except (AlreadySignalled, SignalTooLate):
            pass

    def times_out(job: Job) -> None:
        world.let_the_wait_end(job)
        world.cell.store.rescue()

    def passes(job: Job) -> None:
        world.cell.store.client.zadd(world.cell.store.keys("deadlines"), {job.job_id: 1}, xx=True)
        world.cell.store.rescue()

    ends: dict[Callable[[Job], None], tuple[JobStatus, str | None]] = {
        cancel: (JobStatus.CANCELLED, None),
        times_out: (JobStatus.FAILED, "signal_timeout"),
        passes: (JobStatus.FAILED, "deadline_exceeded"),
    }
    hows: list[Callable[[Job], None]] = [cancel, signal, times_out, passes]
    for one, other in permutations(hows, 2):
        job = world.parked(deadline_seconds=500)
        one(job)
        other(job)
        seen = world.seen(job)
        counts = other if one is signal and other is not times_out else one
        if counts is signal:
            assert world.run(job).status is JobStatus.COMPLETED
        else:
            assert (seen.status, (seen.error_detail or {}).get("code")) == ends[counts], (one, other)


def test_parked_time_is_no_run_time(world: World) -> None:
    job = world.parked(deadline_seconds=500)
    keys, client = world.cell.store.keys, world.cell.store.client
    assert client.zscore(keys("deadlines"), job.job_id) == job.deadline_at, "its own deadline stays"
    ran = int(client.hget(keys("job", job.job_id), "ran_ms") or 0)
    world.signal(job)
    assert int(client.hget(keys("job", job.job_id), "ran_ms") or 0) == ran


@pytest.mark.parametrize("early", [False, True])
def test_a_job_that_waited_took_as_long_as_its_runs_before_the_wait_and_after(world: World, early: bool) -> None:
    job = world.submit()

    def meanwhile() -> None:
        pretend_it_took(world.cell, job.job_id, 40 * MINUTE)
        if early:
            world.signal(job)

    world.meanwhile = meanwhile
    world.run(job)
    if not early:
        world.signal(job)
    assert world.run(job).status is JobStatus.COMPLETED
    counters = world.cell.store.record("counters")
    assert round(int(counters["duration_sum|acme|main"]) / MINUTE) == 40
    assert sum(int(n) for name, n in counters.items() if name.startswith("duration|acme|main|")) == 1
    assert world.cell.store.fields(("segments_ms",), "job", job.job_id) == [None]


def test_what_can_be_done_to_a_parked_job(world: World) -> None:
    job = world.parked()
    with pytest.raises(JobNotEnded):
        world.cell.client.delete(job.job_id)
    world.cell.client.change(job.job_id, priority=7)
    assert (world.seen(job).reason, world.seen(job).priority) == ("signal", 7)
    assert world.cell.client.cancel(job.job_id).status is JobStatus.CANCELLED
    world.cell.client.delete(job.job_id)
    with pytest.raises(UnknownJob):
        world.signal(job)
    assert world.cell.store.sizes([("awaiting",), ("tenant_awaiting", "acme"), ("delayed",)]) == [0, 0, 0]


def test_a_start_that_was_set_while_it_waited_counts_when_it_goes_on(world: World) -> None:
    job = world.parked()
    world.cell.client.change(job.job_id, run_at=2_900_000_000_000)
    assert world.seen(job).reason == "signal"
    world.signal(job)
    assert world.seen(job).reason == "scheduled"


def test_a_later_failure_or_retry_asks_nobody_again(world: World) -> None:
    job = world.parked()
    world.signal(job)
    world.error = NoAudio()
    failed = world.run(job)
    assert failed.status is JobStatus.FAILED
    world.error = None
    again = world.run(world.cell.client.retry(job.job_id).job)
    assert (again.status, again.result["data"]["approval"]) == (JobStatus.COMPLETED, YES)
    assert world.ran == ["make", "send", "send"]


def test_a_retry_of_a_wait_in_vain_waits_again(world: World) -> None:
    job = world.parked()
    world.let_the_wait_end(job)
    world.cell.store.rescue()
    again = world.run(world.cell.client.retry(job.job_id).job)
    assert (again.reason, world.ran) == ("signal", ["make"])


def test_webhooks_tell_that_it_waits_and_of_its_end(world: World) -> None:
    webhooks = world.cell.cell.webhooks
    webhooks.endpoints.create("acme", "https://hooks.example/endpoint", events=("job.waiting",))
    job = world.parked(webhook={"url": "https://hooks.example/own", "events": []})

    def told() -> list[tuple[str, str]]:
        return sorted((row.event, row.url.rpartition("/")[2]) for row in webhooks.ledger.of_subject(job.job_id))

    assert told() == [("job.waiting", "endpoint"), ("job.waiting", "own")]
    world.signal(job)
    world.run(job)
    assert told() == [("job.completed", "own"), ("job.waiting", "endpoint"), ("job.waiting", "own")]


def test_of_two_waits_each_takes_its_own_signal(world: World) -> None:
    stages = (Stage("make", world.make), Wait("approval"), Wait("second"))
    world.cell.client.registry.register(Pipeline("twice", stages, NoParams, needs_url=False))
    job = world.parked(pipeline="twice")
    signals.send(world.cell.client, job.job_id, "second", 2, "key:a")
    assert world.seen(job).awaits == "approval"
    world.signal(job, 1)
    done = world.run(job)
    assert done.result["data"] == {"sum": 42, "approval": 1, "second": 2}


def test_an_older_run_parks_nothing(world: World) -> None:
    world.cell.slots(5)
    job = world.submit()
    run = world.cell.start(job.job_id)
    assert world.cell.store.park(job.job_id, run.fence - 1, "approval", 5, "fail", "?") is None
    assert world.seen(job).status is JobStatus.RUNNING
    world.cell.client.cancel(job.job_id)
    assert world.cell.store.park(job.job_id, run.fence, "approval", 5, "fail", "?") is JobStatus.CANCELLED


def test_what_cannot_be_kept_runs_again(world: World) -> None:
    world.use(world.cell.with_settings(keep_stage_bytes=0))
    job = world.parked()
    world.signal(job)
    assert world.run(job).status is JobStatus.COMPLETED
    assert world.ran == ["make", "make", "send"]


def test_a_greedy_tenant_parks_no_more_than_it_may(world: World) -> None:
    world.cell.client.set_limits("greedy", TenantLimits(max_parked=2, max_queued=2))
    parked = [world.parked(tenant_id="greedy") for _ in range(2)]
    over = world.run(world.submit(tenant_id="greedy"))
    assert (over.status, over.reason) == (JobStatus.QUEUED, "dispatched"), "its pipeline tries once more"
    assert (world.run(over).error_detail or {})["code"] == "too_many_parked"
    assert world.parked(tenant_id="neighbour").status is JobStatus.QUEUED
    world.signal(parked[0])
    assert world.run(parked[0]).status is JobStatus.COMPLETED
    assert world.parked(tenant_id="greedy").status is JobStatus.QUEUED


def test_a_parked_job_waits_for_no_slot(world: World) -> None:
    world.parked(pipeline="patient")
    now, text = scrape(world.cell.store), StoreMetrics(world.cell.store, world.cell.settings).text().decode()
    assert {reason: n for reason, n in now.reasons.items() if n} == {"signal": 1}
    assert now.ready_seconds == 0
    assert 'pipeline_jobs_waiting{reason="signal"} 1.0' in text
    assert world.cell.store.reconcile().jobs == 0
    world.cell.store.recount()
    assert differences(world.cell.store) == []


def test_an_older_version_that_woke_it_does_no_harm(world: World) -> None:
    """Its duties know of no parked jobs: a change of the start puts one into its lane; and its workers refuse the record."""
    job = world.parked()
    keys, store = world.cell.store.keys, world.cell.store
    for timed_out in (False, True):
        store.client.zrem(keys("delayed"), job.job_id)
        store.client.hset(keys("job", job.job_id), "reason", "retry")
        if timed_out:
            store.client.hset(keys("job", job.job_id), "awaits_until", 1)
        store.recount()
        assert store.sizes([("awaiting",), ("tenant_awaiting", "acme")]) == [0, 0]
        world.cell.slots(5)
        while store.reconcile().more:
            pass
        fence = store.get(job.job_id).fence
        old = store.run("claim", id=job.job_id, fence=fence, worker="w1", run="old", schema=2, run_ms=9, pipelines=[("*", "")])
        assert old.why == "schema"
        store.client.zadd(keys("delayed"), {job.job_id: 1})
        store.rescue()
        again = world.run(job)
        if not timed_out:
            assert (again.reason, again.awaits_since, again.awaits_until) == ("signal", job.awaits_since, job.awaits_until)
    assert (again.error_detail or {})["code"] == "signal_timeout"


class Killed(BaseException):
    """The process of a run dies here."""


@pytest.mark.parametrize("sent", [False, True])
def test_a_run_that_dies_beside_its_park_parks_once(world: World, monkeypatch: pytest.MonkeyPatch, sent: bool) -> None:
    def park(*args: Any) -> Any:
        if sent:
            once(*args)
        raise Killed

    job, once = world.submit(), world.cell.store.park
    monkeypatch.setattr(world.cell.store, "park", park)
    with pytest.raises(Killed):
        world.run(job)
    monkeypatch.undo()
    world.cell.let_leases_end()
    world.cell.store.rescue()
    seen = world.seen(job)
    if not sent:
        assert (seen.reason, seen.crashes) == ("dispatched", 1)
        seen = world.run(job)
    assert (seen.reason, seen.crashes, world.ran) == ("signal", int(not sent), ["make"])
    world.signal(job)
    assert world.run(job).status is JobStatus.COMPLETED


def test_a_stage_that_published_runs_again(world: World) -> None:
    """Files of a run that did not complete its job go: its link would lead nowhere."""

    def draw(context: JobContext) -> Mapping[str, Any]:
        world.ran.append("draw")
        (context.workdir / "picture").write_text("dots")
        return {"link": context.publish(context.workdir / "picture", "picture")}

    stages = (Stage("make", world.make), Stage("draw", draw), Wait("approval"), Stage("send", world.send))
    world.cell.client.registry.register(Pipeline("draws", stages, NoParams, needs_url=False))
    job = world.parked(pipeline="draws")
    world.signal(job)
    done = world.run(job)
    assert world.ran == ["make", "draw", "draw", "send"]
    assert f"/{job.job_id}/{done.fence}/picture" in done.result["data"]["link"]


def test_parked_jobs_wake_once_each_after_a_restart_of_everything(world: World, tmp_path: Path) -> None:
    """Long form: tests/heavy/bar_parked.py."""
    own = Server(tmp_path / "own").start()
    try:
        cell = make_cell(world.cell.settings.model_copy(update={"redis_url": own.url}))
        first = World(cell, tmp_path / "artifacts")
        parked = [first.parked(tenant_id=f"t{i % 3}") for i in range(10)]
        cell.cell.close()
        own.kill()
        own.start()
        again = make_cell(world.cell.settings.model_copy(update={"redis_url": own.url}))
        second = World(again, tmp_path / "artifacts")
        for _ in range(3):
            again.store.rescue()
            again.store.reconcile()
        assert [second.seen(job).reason for job in parked] == ["signal"] * 10
        for job in parked:
            assert second.signal(job) == second.signal(job)
        assert {second.run(job).status for job in parked} == {JobStatus.COMPLETED}
        assert second.ran == ["send"] * 10
        again.cell.close()
    finally:
        own.stop()


def test_signals_are_for_their_job_alone(world: World) -> None:
    job = world.parked()
    with pytest.raises(UnknownJob):
        world.signal(job, whose=Whose("other"))
    # Also if it becomes another's between the look at its pipeline and the script.
    reply = world.cell.store.run("signal", id=job.job_id, name="approval", payload="1", by="x", tenant="other")
    assert (reply.became, world.seen(job).signals) == ("unknown", {})
    with pytest.raises(UnknownSignal, match="approvall"):
        signals.send(world.cell.client, job.job_id, "approvall", None, "key:a")
    with pytest.raises(InvalidInput, match="payload"):
        world.signal(job, "x" * 16_384)
    world.signal(job, "x" * 16_000)


def test_a_link_speaks_for_its_job(world: World) -> None:
    job = world.parked()
    link = Link("acme", "main", job.job_id, job.order, "approval", YES)
    address = world.links.make(link, 60)
    token = address.partition("?link=")[2]
    assert world.links.read(token) == link
    assert signals.job_of(world.cell.client, link).job_id == job.job_id
    late = SignalLinks("http://x", lambda: "k")._signer.dumps([1, *astuple(link)])
    for wrong in (token[:-1], "x", "", token + "x" * 5000, late, SignalLinks("", lambda: "other").make(link, 60).partition("=")[2]):
        with pytest.raises(signals.BadLink):
            world.links.read(wrong)
    world.cell.client.cancel(job.job_id)
    world.cell.client.delete(job.job_id)
    with pytest.raises(UnknownJob):
        signals.job_of(world.cell.client, link)
