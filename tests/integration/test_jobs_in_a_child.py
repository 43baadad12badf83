"""The loop of a pool child, in this process: Celery's own tracer, a real store, and messages that are made here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery import signals
from celery.app.task import Context
from celery.app.trace import build_tracer
from celery.exceptions import Ignore
from celery.utils.saferepr import saferepr

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs import patience
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import Store
from pipeline_jobs.worker import job_loop
from pipeline_jobs.worker.app import create_celery
from pipeline_jobs.worker.hints import JOB_TASK
from pipeline_jobs.worker.job_loop import JobLoop
from pipeline_jobs.worker.request import EVENTS_HEADER, JobGivenUpSignal
from pipeline_jobs.worker.seats import Seats
from pipeline_jobs.worker.tasks import JobTask
from tests.integration.recount import differences
from tests.integration.test_commands_of_a_job import calls


class Child:
    """A child of the worker `w1`, which has one slot."""

    def __init__(self, settings: Settings) -> None:
        self.app: Any = create_celery(settings.model_copy(update={"announce_seconds": 1000.0}))
        self.app.worker_id, self.store = "w1", self.app.cell.store
        self.app.finalize()
        self.task = self.app.tasks[JOB_TASK]
        self.seats = Seats()
        self.app.job_loop = self.loop = JobLoop(self.app, self.seats, 0, "w@host")
        self.trace = build_tracer(JOB_TASK, self.task, app=self.app)
        #: Events as they are sent: type and job.
        self.said: list[tuple[str, str]] = []
        self.loop.events.send = lambda event, job_id, **_: self.said.append((event.removeprefix("task-"), job_id))  # type: ignore[method-assign]
        self.slots(1)

    def slots(self, n: int) -> None:
        self.store.announce("w1", n, [])

    def submit(self, **fields: Any) -> str:
        params = fields.pop("params", {"seconds": 0})
        return str(self.app.cell.client.submit(NewJob(pipeline="sleep", params=params, **fields)).job_id)

    def get(self, job_id: str) -> Job:
        job: Job = self.app.cell.client.get(job_id)
        return job

    def message(self, job_id: str) -> Any:
        """The child is given the message of this job."""
        request = {**self.loop._requests.of(self.get(job_id)), EVENTS_HEADER: True}
        return self.loop.run(self.trace, job_id, [], {}, request)

    def statuses(self, *job_ids: str) -> list[str]:
        return [self.get(job_id).status.value for job_id in job_ids]


@pytest.fixture
def child(cell: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    # On a busy machine a few jobs take longer than a child may.
    monkeypatch.setattr(job_loop, "MOST_SECONDS", 1000.0)
    made = Child(cell)
    yield made
    assert differences(made.store) == []
    assert made.store.client.zcard(made.store.keys("leases")) == 0
    made.app.close()


def test_the_child_goes_on_with_what_each_finish_hands_over(child: Child) -> None:
    jobs = [child.submit(tenant_id=f"t{n % 2}") for n in range(5)]
    ended = child.message(jobs[0])
    assert ended.info is None
    assert child.statuses(*jobs) == ["completed"] * 5
    assert sorted(job_id for _, job_id in child.said) == sorted(jobs * 3)
    assert [event for event, _ in child.said] == ["received", "started", "succeeded"] * 5
    assert child.seats.handed_over() == 4
    assert child.seats.read(0).runs == ()


def test_each_job_has_a_request_and_signals_of_its_own(child: Child) -> None:
    told: list[tuple[str, str, Any]] = []

    def tell(name: str) -> Any:
        def receive(sender: Any = None, task_id: str | None = None, **_: Any) -> None:
            request = child.task.request
            told.append((name, request.id, getattr(request, "tenant", None)))
            assert task_id in (None, request.id)

        return receive

    jobs = [child.submit(tenant_id="one"), child.submit(tenant_id="two", params={"fail": "no"}), child.submit(tenant_id="three")]
    names = ("task_prerun", "task_success", "task_failure", "task_postrun")
    receivers = {name: tell(name) for name in names}
    for name, receive in receivers.items():
        getattr(signals, name).connect(receive)
    # A tracer looks once whether anybody listens.
    child.trace = build_tracer(JOB_TASK, child.task, app=child.app)
    child.message(jobs[0])
    for name, receive in receivers.items():
        getattr(signals, name).disconnect(receive)
    ends = ("task_success", "task_failure", "task_success")
    tenants = ("one", "two", "three")
    assert told == [
        (name, job_id, tenant)
        for job_id, end, tenant in zip(jobs, ends, tenants, strict=True)
        for name in ("task_prerun", end, "task_postrun")
    ]
    assert [event for event, _ in child.said if event not in ("received", "started")] == ["succeeded", "failed", "succeeded"]


def test_a_request_has_the_headers_that_celery_would_find(child: Child) -> None:
    request = child.loop._requests.of(child.get(child.submit(tenant_id="acme")))
    given = request.pop("headers")
    assert given == Context(request).headers
    assert (given["tenant"], given["fence"]) == ("acme", request["fence"])


def test_what_is_shown_of_a_result_is_what_celery_would_show() -> None:
    results: list[Any] = [{"success": True, "data": {"a": [1]}}, {"data": {}}, {1: {2: 3}}, {}, None, "text", ["list"]]
    assert [job_loop.shown(result, JobTask.resultrepr_maxsize) for result in results] == [saferepr(result, 1) for result in results]
    assert job_loop.shown({"another": "task's"}, 100) == saferepr({"another": "task's"}, 100)


def test_a_job_that_is_handed_over_calls_few_functions(child: Child) -> None:
    """Python's and C's; each is CPU of every job. The stage's own are a fifth of them."""
    jobs = [child.submit() for _ in range(20)]
    child.message(child.submit(priority=9))
    counted = calls(lambda: child.message(jobs[0]))
    assert child.statuses(*jobs) == ["completed"] * 20
    assert counted / len(jobs) <= 1440


def test_it_gives_way_after_so_many_jobs(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_loop, "MOST_JOBS", 3)
    jobs = [child.submit() for _ in range(5)]
    child.message(jobs[0])
    assert child.statuses(*jobs) == ["completed"] * 3 + ["queued"] * 2
    # The next one has a hint, for whoever comes first.
    assert child.get(jobs[3]).reason == "dispatched"


def test_it_gives_way_after_so_long(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_loop, "MOST_SECONDS", -1.0)
    jobs = [child.submit() for _ in range(2)]
    child.message(jobs[0])
    assert child.statuses(*jobs) == ["completed", "queued"]


@pytest.mark.parametrize(("limit", "most"), [("most_jobs", 3), ("most_kib", 1)])
def test_a_child_that_is_worn_takes_no_next_job(child: Child, limit: str, most: int) -> None:
    setattr(child.loop, limit, most)
    jobs = [child.submit() for _ in range(5)]
    child.message(jobs[0])
    done = 3 if limit == "most_jobs" else 1
    assert child.statuses(*jobs) == ["completed"] * done + ["queued"] * (5 - done)
    assert child.loop.worn()


def test_what_stops_its_worker_stops_it_after_its_job(child: Child) -> None:
    child.seats.stop_all(True)
    jobs = [child.submit() for _ in range(2)]
    child.message(jobs[0])
    assert child.statuses(*jobs) == ["completed", "queued"]


def test_a_refused_hint_and_a_cancelled_job_end_as_ever(child: Child) -> None:
    first = child.submit()
    assert child.message(first).info is None
    child.said.clear()
    assert child.message(first).info is None
    assert [event for event, _ in child.said] == ["received", "started"]
    again = child.submit(params={"fail": "once", "retryable": True}, max_attempts=2)
    child.said.clear()
    child.message(again)
    assert child.said[-1] == ("retried", again)
    assert child.get(again).status is JobStatus.QUEUED
    child.app.cell.client.cancel(again)


def test_a_store_that_is_away_at_the_finish_is_told_to_the_worker_with_all_that_the_child_may_have(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Store.finish

    def answer_lost(store: Store, *args: Any, **kwargs: Any) -> None:
        done(store, *args, **kwargs)
        raise StoreUnavailable("its answer is lost")

    jobs = [child.submit() for _ in range(2)]
    fence = child.get(jobs[0]).fence
    monkeypatch.setattr(patience, "FINISH_PATIENCE", 0.0)
    monkeypatch.setattr(Store, "finish", answer_lost)
    ended = child.message(jobs[0])
    error = ended.info.retval
    assert isinstance(error, JobGivenUpSignal)
    assert isinstance(error, Ignore)
    assert (error.job_id, error.fence, len(error.runs)) == (jobs[0], fence, 2)
    assert child.statuses(*jobs) == ["completed", "running"]
    child.store.process_lost("w1", error.job_id, error.fence, error.runs, "fault")
    assert child.statuses(*jobs) == ["completed", "queued"]
    assert child.get(jobs[1]).crashes == 0


def test_what_a_finish_handed_over_and_nobody_could_read_is_given_back_at_once(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [child.submit() for _ in range(2)]

    def unreadable(flat: Any) -> Any:
        raise ValueError("poison")

    with monkeypatch.context() as patch:
        patch.setattr("pipeline_jobs.store.runs.mapping", unreadable)
        child.message(jobs[0])
    assert child.statuses(*jobs) == ["completed", "queued"]
    assert child.store.client.hget(child.store.keys("job", jobs[1]), "faults") == "1"


def test_the_time_of_a_job_is_its_own(child: Child) -> None:
    """What Celery's time limits and `inspect active` go by."""
    began = time.monotonic()
    since: list[float] = []
    has = child.loop.seat.has
    child.loop.seat.has = lambda job: (has(job), since.append(child.seats.read(0).since))[0]  # type: ignore[method-assign]
    jobs = [child.submit() for _ in range(3)]
    child.message(jobs[0])
    assert sorted({began, *since}) == [began, *since]
    assert len(since) == 3
