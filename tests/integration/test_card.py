"""The card's shape: POST is `run_job.apply_async`, GET reads the backend's meta, a run's progress is `update_state`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from celery.app.task import Context
from celery.contrib.testing.worker import start_worker
from celery.result import AsyncResult
from flask.testing import FlaskClient
from vine import promise

from pipeline_jobs.events import log
from pipeline_jobs.exceptions import StoreUnavailable, UnknownJob
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.rates import Sender
from pipeline_jobs.store.store import ClaimRefused
from pipeline_jobs.tenants import ANYBODYS
from pipeline_jobs.web.app import create_app
from pipeline_jobs.worker.app import JobsCelery, create_celery
from pipeline_jobs.worker.backend import celery_state
from pipeline_jobs.worker.hints import JOB_TASK
from pipeline_jobs.worker.progress import TaskProgress
from pipeline_jobs.worker.result import JobResult
from pipeline_jobs.worker.tasks import JobTask
from tests.celery_apps import REAL_WORKERS, celery_app
from tests.commands import commands_of
from tests.waiting import until

NEW = NewJob(pipeline="sleep", tenant_id="acme", workspace_id="blog", tags=("a",))
#: The forms of an id: ours, and one that a Celery user chose.
IDS = (None, "chosen-by-celery")


@pytest.fixture
def app(cell: Settings) -> Iterator[JobsCelery]:
    with celery_app(cell) as app:
        yield app


@pytest.fixture
def task(app: JobsCelery) -> JobTask:
    found: JobTask = app.tasks[JOB_TASK]
    return found


@pytest.fixture
def web(app: JobsCelery) -> FlaskClient:
    return create_app(app.cell).test_client()


def running(app: JobsCelery, job_id: str | None = None) -> Job:
    """A job that a worker runs."""
    app.cell.store.announce("w1", 100, [])
    job = app.cell.client.submit(NEW, job_id=job_id)
    claimed = app.cell.store.claim(job.job_id, job.fence, worker="w1", run="r")
    assert not isinstance(claimed, ClaimRefused), claimed
    return claimed


def ended(app: JobsCelery, job_id: str | None = None) -> Job:
    job = running(app, job_id)
    assert app.cell.store.finish(job.job_id, job.fence, JobStatus.COMPLETED, result={"success": True, "data": {}})
    return app.cell.client.get(job.job_id)


def request_of(job: Job) -> Context:
    return Context(id=job.job_id, task=JOB_TASK, fence=job.fence)


def in_a_thread(call: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join(60)
    return found[0]


class TestPost:
    def test_it_is_the_tasks_apply_async_with_the_ready_job(self, app: JobsCelery, task: JobTask) -> None:
        submit: Any = app.cell.submit
        assert (submit.__self__, submit.__func__) == (task, JobTask.apply_async)
        calls: list[tuple[dict[str, Any], Any]] = []

        def watched(**given: Any) -> Any:
            calls.append((given, submit(**given)))
            return calls[-1][1]

        web = create_app(replace(app.cell, submit=watched)).test_client()
        body = {"pipeline": "sleep", "tenant_id": "acme", "tags": ["a"]}
        answers = [web.post("/pipeline/jobs", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 201]
        assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true"]
        for (given, result), answer in zip(calls, answers, strict=True):
            assert set(given) == {"job", "idempotency_key", "sender"}
            assert (given["job"].tags, given["idempotency_key"]) == (("a",), "k")
            assert isinstance(result, JobResult)
            assert result.accepted is not None
            assert result.id == result.accepted.job.job_id == answer.get_json()["job_id"]
            assert result.record().tags == ("a",)
        assert [result.accepted.replayed for _, result in calls] == [False, True]

    def test_the_result_has_what_the_store_accepted(self, app: JobsCelery, task: JobTask) -> None:
        app.cell.store.set_limits("acme", {"submit_rate": 100.0})
        sender = Sender("key:one")
        made = [task.apply_async(job=NEW, idempotency_key="k", sender=sender) for _ in range(2)]
        accepted, again = (result.accepted for result in made)
        assert (accepted.replayed, again.replayed) == (False, True)
        assert accepted.rates
        assert accepted.job.job_id == again.job.job_id == made[0].id == made[1].id
        stored = app.cell.client.get(made[0].id)
        assert (stored.tenant_id, stored.workspace_id, stored.tags, stored.created_at) == ("acme", "blog", ("a",), accepted.job.created_at)

    def test_by_its_fields_and_ready_it_is_the_same_job(self, app: JobsCelery, task: JobTask) -> None:
        fields = {"pipeline": "sleep", "tenant_id": "acme", "workspace_id": "blog", "tags": ["a"]}
        assert task.apply_async(kwargs=fields, idempotency_key="k").accepted.replayed is False
        assert task.apply_async(job=NEW, idempotency_key="k").accepted.replayed is True

    def test_both_at_once_are_refused(self, task: JobTask) -> None:
        with pytest.raises(TypeError, match="either"):
            task.apply_async(kwargs={"pipeline": "sleep"}, job=NEW)

    def test_a_cell_without_a_broker_accepts_the_same(self, app: JobsCelery, cell: Settings) -> None:
        plain = type(app.cell).of(cell)
        made = plain.submit(job=NEW, idempotency_key="k")
        assert made.record().job_id == made.accepted.job.job_id == made.job_id
        assert app.cell.submit(job=NEW, idempotency_key="k").accepted.replayed
        plain.close()


class TestResult:
    """`JobResult` makes what Celery's makes, and the promise of its end when somebody asks for it."""

    @pytest.mark.parametrize("given", [{}, {"parent": AsyncResult("parent")}])
    def test_is_made_as_celerys_is(self, app: JobsCelery, given: dict[str, Any]) -> None:
        ours, stock = vars(app.AsyncResult("one", **given)).copy(), vars(AsyncResult("one", app=app, **given)).copy()
        assert isinstance(stock.pop("on_ready"), promise)
        assert ours == stock

    def test_who_asks_for_its_end_is_told(self, app: JobsCelery) -> None:
        result, told = app.AsyncResult(ended(app).job_id), list[Any]()
        result.on_ready.then(told.append)
        assert result.result == app.AsyncResult(result.id).result
        assert told == [result]
        with pytest.raises(ValueError, match="id"):
            app.AsyncResult(None)


class TestGet:
    @pytest.mark.parametrize("job_id", IDS)
    @pytest.mark.parametrize("make", [lambda app, job_id: app.cell.client.submit(NEW, job_id=job_id), running, ended])
    def test_it_reads_the_record_in_the_backends_meta(
        self, app: JobsCelery, web: FlaskClient, make: Callable[..., Job], job_id: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job, asked, read = make(app, job_id), list[Any](), app.backend.get_task_meta
        monkeypatch.setattr(app.backend, "get_task_meta", lambda *a, **kw: asked.append((a, kw)) or read(*a, **kw))
        body = web.get(f"/pipeline/jobs/{job.job_id}").get_json()
        assert asked == [((job.job_id,), {"cache": False, "whose": ANYBODYS})]
        meta = app.backend.get_task_meta(job.job_id, cache=False)
        assert meta["record"] == app.cell.client.describe(job.job_id)
        assert (meta["record"].queue is None) is (job.status is not JobStatus.QUEUED)
        assert (body["job_id"], body["status"], body["reason"]) == (job.job_id, job.status.value, meta["record"].reason)
        assert meta["status"] == celery_state(job)

    @pytest.mark.parametrize("task_id", ["job_1_00000000", "nobody-knows-it"])
    def test_an_unknown_one_is_a_404_whatever_celery_calls_its_state(self, app: JobsCelery, web: FlaskClient, task_id: str) -> None:
        meta = app.backend.get_task_meta(task_id, cache=False)
        assert (meta["status"], meta.get("record")) == ("PENDING", None)
        assert web.get(f"/pipeline/jobs/{task_id}").status_code == 404
        with pytest.raises(UnknownJob):
            app.AsyncResult(task_id).record()

    def test_a_task_that_is_no_job_is_a_404_and_keeps_its_result(self, app: JobsCelery, web: FlaskClient) -> None:
        app.backend.store_result("plain", 3, "SUCCESS", request=Context(id="plain", task="t.add"))
        assert web.get("/pipeline/jobs/plain").status_code == 404
        assert app.backend.get_task_meta("plain", cache=False)["result"] == app.AsyncResult("plain").result == 3

    @pytest.mark.parametrize("job_id", IDS)
    def test_it_costs_no_more_commands_than_the_record(self, app: JobsCelery, job_id: str | None) -> None:
        done = app.AsyncResult(ended(app, job_id).job_id)
        waiting = app.AsyncResult(app.cell.client.submit(NEW).job_id)
        waiting.record()
        for result, wanted in ((done, {"hgetall": 1}), (waiting, {"hgetall": 1, "fcall": 1})):
            of = commands_of(app.cell.store.client, result.record)
            assert {name: of[name] for name in ("hgetall", "fcall", "get") if of[name]} == wanted

    @pytest.mark.parametrize("task_id", ["job_1_00000000", "nobody-knows-it"])
    def test_a_store_that_is_away_is_said_at_once(self, cell: Settings, task_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
        away = create_celery(cell.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
        slept: list[float] = []
        monkeypatch.setattr(away.backend, "_sleep", slept.append)
        with pytest.raises(StoreUnavailable):
            away.AsyncResult(task_id).record()
        assert create_app(away.cell).test_client().get(f"/pipeline/jobs/{task_id}").status_code == 503
        # Celery would try again and again: `result_backend_always_retry`.
        assert slept == []
        away.close()


class TestUpdateState:
    def test_it_gives_the_stores_answer(self, app: JobsCelery, task: JobTask) -> None:
        job, meta = running(app), {"current": 3, "total": 10, "message": "a third"}
        request = request_of(job)
        assert task.update_state(job.job_id, "PROGRESS", meta, request=request) == "ok"
        record = app.cell.client.get(job.job_id)
        assert (record.progress, record.message) == (30.0, "a third")
        other = Context(id=job.job_id, task=JOB_TASK, fence=job.fence + 1)
        assert task.update_state(job.job_id, "PROGRESS", {"progress": 99}, request=other) == "fenced"
        assert app.cell.client.get(job.job_id) == record
        app.cell.client.cancel(job.job_id)
        assert task.update_state(job.job_id, "PROGRESS", {"progress": 40}, request=request) == "cancel"

    def test_what_is_no_progress_of_a_run_has_no_answer(self, app: JobsCelery, task: JobTask) -> None:
        job = running(app)
        assert task.update_state(job.job_id, "PROGRESS", {"progress": 50}) is None
        assert task.update_state(job.job_id, "SUCCESS", {}, request=request_of(job)) is None
        assert app.cell.client.get(job.job_id) == job

    def test_another_thread_must_bring_the_runs_request(self, app: JobsCelery, task: JobTask) -> None:
        job = running(app)
        task.push_request(id=job.job_id, task=JOB_TASK, fence=job.fence)
        try:
            own = task.request
            assert task.update_state(state="PROGRESS", meta={"progress": 10}) == "ok"
            assert in_a_thread(lambda: task.update_state(job.job_id, "PROGRESS", {"progress": 20})) is None
            assert app.cell.client.get(job.job_id).progress == 10.0
            assert in_a_thread(lambda: task.update_state(job.job_id, "PROGRESS", {"progress": 20}, request=own)) == "ok"
            assert app.cell.client.get(job.job_id).progress == 20.0
            app.cell.client.cancel(job.job_id)
            assert in_a_thread(lambda: task.update_state(job.job_id, "PROGRESS", {"progress": 30}, request=own)) == "cancel"
        finally:
            task.pop_request()

    def test_a_run_tells_by_it_what_it_would_tell_the_store(self, app: JobsCelery, task: JobTask) -> None:
        told = []
        for by_task in (False, True):
            job = running(app)
            task.push_request(id=job.job_id, task=JOB_TASK, fence=job.fence)
            writes = TaskProgress(task, app.cell.store, task.request) if by_task else app.cell.store
            task.pop_request()
            passed = [("fetch", 0.0), ("transcode", 20.5)]
            assert writes.progress(job.job_id, job.fence, 41.3, "publish", "nearly", passed) == "ok"
            assert writes.progress(job.job_id, job.fence, 42.0, "publish", None, ()) == "ok"
            events = log.read(app.cell.store, job.job_id, 0, 100).events
            record = app.cell.client.get(job.job_id)
            assert (record.progress, record.stage) == (42.0, "publish")
            told.append((record.message, [(event.type, event.data.get("stage"), event.data.get("progress")) for event in events]))
        assert told[0] == told[1]

    def test_to_ask_alone_is_no_state(self, app: JobsCelery, task: JobTask, monkeypatch: pytest.MonkeyPatch) -> None:
        job, states = running(app), list[Any]()
        monkeypatch.setattr(JobTask, "update_state", lambda *a, **kw: states.append(a))
        writes = TaskProgress(task, app.cell.store, task.request)
        assert writes.progress(job.job_id, job.fence, None, "", None, ()) == "ok"
        app.cell.client.cancel(job.job_id)
        assert writes.progress(job.job_id, job.fence, None, "", None, ()) == "cancel"
        assert states == []


class TestWithAWorker:
    @pytest.fixture
    def cell(self, cell: Settings) -> Settings:
        return cell.model_copy(update=REAL_WORKERS)

    @pytest.mark.parametrize("bare", [False, True])
    def test_a_worker_writes_its_runs_progress_by_it(
        self, app: JobsCelery, task: JobTask, bare: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written: list[tuple[str, str, Any]] = []
        update = JobTask.update_state

        def watched(*args: Any, **kwargs: Any) -> Any:
            answer = update(*args, **kwargs)
            written.append((threading.current_thread().name, kwargs["request"].id, answer))
            return answer

        monkeypatch.setattr(JobTask, "update_state", watched)
        fields = {"pipeline": "sleep", "params": {"seconds": 600, "steps": 6000}}
        with start_worker(app, pool="threads", concurrency=1, queues=["jobs"], perform_ping_check=False, shutdown_timeout=60):
            # A bare message has no fence of its own: its run is told which it has.
            job: JobResult = app.send_task(JOB_TASK, kwargs=fields, queue="jobs") if bare else task.delay(**fields)
            until(lambda: written, "progress")
            assert written[0] == ("watch-runs", job.id, "ok")
            assert until(lambda: job.record().progress) > 0
            job.revoke()
            assert job.until_ended(60).status is JobStatus.CANCELLED
