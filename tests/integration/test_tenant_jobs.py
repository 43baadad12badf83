"""Tasks of an app of one's own as jobs of tenants: called by hand and run as a worker does, on a real store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from celery import Celery, chain, current_app
from celery import _state as celery_state
from celery.exceptions import Ignore
from celery.result import AsyncResult, EagerResult

from pipeline_jobs import testing
from pipeline_jobs.exceptions import ConfigurationError, InvalidInput
from pipeline_jobs.from_celery import tenant_jobs
from pipeline_jobs.from_celery.tenant_jobs import TaskResult
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.pipelines import registry
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantContext, with_tenant
from pipeline_jobs.worker.app import JobsCelery, create_sender
from pipeline_jobs.worker.result import JobFailed
from tests.cases import each
from tests.stack import environment

NAMES = ("add", "flaky", "stubborn", "films", "told", "other_arguments", "nested", "shared", "replaced", "ignored", "limited")


class World:
    """An app of a team, and a pretended worker of its jobs."""

    def __init__(self, settings: Settings) -> None:
        self.sender: JobsCelery = create_sender(settings)
        self.store, self.client = self.sender.cell.store, self.sender.cell.client
        self.store.announce("w1", 5, [])
        self.app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
        self.requests: list[Any] = []
        self.results: list[Any] = []
        tenant_jobs(self.app, tasks=[f"shop.{name}" for name in NAMES])
        self.declare()

    def declare(self) -> None:
        # Else each is put on every later app of the process.
        world, task = self, partial(self.app.task, shared=False)

        @task(name="shop.add", bind=True)
        def add(self: Any, x: int, y: int = 0) -> int:
            world.requests.append(self.request)
            self.update_state(state="PROGRESS", meta={"current": 1, "total": 4, "message": "adding"})
            return x + y

        @task(name="shop.flaky", autoretry_for=(OSError,), retry_backoff=False, default_retry_delay=0, max_retries=2)
        def flaky(times: int) -> str:
            world.requests.append(times)
            if len(world.requests) <= times:
                raise OSError("away")
            return "done"

        @task(name="shop.stubborn", bind=True)
        def stubborn(self: Any, countdown: float = 600) -> None:
            raise self.retry(countdown=countdown, exc=KeyError("later"))

        @task(name="shop.other_arguments", bind=True)
        def other_arguments(self: Any, n: int) -> None:
            raise self.retry(args=(n + 1,), countdown=0)

        @task(name="shop.films")
        def films(since: datetime) -> dict[str, Any]:
            return {"since": since, "day": since.date().isoformat()}

        @task(name="shop.told")
        def told() -> None:
            raise ValueError("no such film")

        @task(name="shop.nested")
        def nested() -> str:
            return str(add.delay(1, 1).id)

        @task(name="shop.shared")
        def shared() -> list[Any]:
            # As a `shared_task` finds itself.
            mail, add = (current_app.tasks[name] for name in ("shop.mail", "shop.add"))
            world.results = [mail.delay("a@b.example"), add.delay(1, 1)]
            return [result.id for result in world.results]

        @task(name="shop.replaced", bind=True)
        def replaced(self: Any) -> None:
            self.replace(mail.s("a@b.example"))

        @task(name="shop.ignored", bind=True)
        def ignored(self: Any, state: str, meta: Any) -> None:
            self.update_state(state=state, meta=meta)
            raise Ignore

        @task(name="shop.limited", time_limit=60)
        def limited(n: int) -> None:
            raise AssertionError

        @task(name="shop.mail")
        def mail(to: str) -> str:
            return to

        self.add, self.flaky, self.stubborn, self.films, self.told, self.nested, self.mail = add, flaky, stubborn, films, told, nested, mail
        self.other_arguments, self.shared, self.replaced, self.ignored = other_arguments, shared, replaced, ignored

    def waiting(self) -> list[str]:
        """Tasks that wait for the app's own workers."""
        found = []
        with self.app.connection() as connection:
            queue = connection.SimpleQueue("celery")
            while queue.qsize():
                found.append(queue.get_nowait().headers["task"])
        return found

    def run(self, result: TaskResult) -> Job:
        job = self.client.get(result.id)
        self.sender.cell.executor.run(job.job_id, job.fence, "w1")
        return self.client.get(job.job_id)


@pytest.fixture
def world(cell: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in environment(cell.model_copy(update={"announce_seconds": 1000.0})).items():
        monkeypatch.setenv(name, value)
    # As processes of a team have it: nothing of ours is current, be it what another test has left.
    monkeypatch.setattr(celery_state._tls, "current_app", None)
    monkeypatch.setattr(celery_state, "default_app", None)
    world = World(cell.model_copy(update={"announce_seconds": 1000.0}))
    yield world
    for name in NAMES:
        registry._pipelines.pop(f"shop.{name}")
    world.sender.close()
    world.app.close()


def test_a_call_is_a_job_of_its_tenant_and_its_result_is_what_the_task_returned(world: World) -> None:
    result = world.add.apply_async((2,), {"y": 3}, tenant_id="acme", workspace_id="films", tags=["x"], metadata={"order": 7})
    job = world.client.get(result.id)
    assert (job.tenant_id, job.workspace_id, job.pipeline, job.tags, job.metadata) == ("acme", "films", "shop.add", ("x",), {"order": 7})
    assert job.params == {"args": [2], "kwargs": {"y": 3}}
    ended = world.run(result)
    assert (ended.status, ended.result) == (JobStatus.COMPLETED, {"success": True, "data": {"value": 5}})
    assert (result.get(), result.result, result.state, result.tenant_id) == (5, 5, "SUCCESS", "acme")
    assert world.app.AsyncResult(result.id).get() == world.add.AsyncResult(result.id).get() == 5
    request = world.requests[0]
    assert (request.id, request.retries, request.called_directly, request.headers["tenant"]) == (result.id, 0, False, "acme")


def test_a_call_takes_the_tenant_of_its_surroundings(world: World) -> None:
    with with_tenant(TenantContext("acme", "films")):
        here = world.client.get(world.add.delay(1).id)
    elsewhere = world.client.get(world.add.delay(1).id)
    assert (here.tenant_id, here.workspace_id, elsewhere.tenant_id) == ("acme", "films", "default")


def test_what_a_job_calls_is_a_job_of_the_same_tenant(world: World) -> None:
    outer = world.nested.apply_async(tenant_id="acme")
    world.run(outer)
    assert world.client.get(outer.get()).tenant_id == "acme"


def test_in_a_job_the_team_s_app_is_the_current_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a worker of jobs, whose own app is: else what a task calls by `shared_task` would wait in a queue that nobody reads."""
    monkeypatch.setattr("celery._state._tls.current_app", world.sender)
    # Made by the API: the first call in this process is the one within the job.
    outer = world.client.submit(NewJob(pipeline="shop.shared", tenant_id="acme"))
    ended = world.run(TaskResult(outer.job_id, app=world.sender))
    assert ended.result == {"success": True, "data": {"value": [one.id for one in world.results]}}
    assert world.waiting() == ["shop.mail"]
    assert world.client.get(world.results[1].id).tenant_id == "acme"
    assert current_app._get_current_object() is world.sender
    # One connection to the store is enough for a process.
    assert world.results[1].app is world.sender


def test_a_task_that_hands_its_job_to_another_task_fails_it(world: World) -> None:
    """Celery would run the other one under the job's id, and the job would have ended without a word."""
    ended = world.run(world.replaced.delay())
    assert (ended.status, "self.replace" in str(ended.error), world.waiting()) == (JobStatus.FAILED, True, [])


def test_a_state_that_a_task_sets_by_itself_before_it_ends_is_the_job_s(world: World) -> None:
    """`update_state(state="FAILURE")` and `raise Ignore`: how a task fails with details of its own."""
    for meta, error in (({"exc_type": "NoFilm", "exc_message": ["gone"]}, "NoFilm: gone"), ("no film", "no film"), (None, "FAILURE")):
        job = world.run(world.ignored.delay("FAILURE", meta))
        assert (job.status, error in str(job.error)) == (JobStatus.FAILED, True)
    for state, value in (("SUCCESS", {"n": 1}), ("PROGRESS", None)):
        result = world.ignored.delay(state, {"n": 1})
        assert (world.run(result).status, result.get()) == (JobStatus.COMPLETED, value)


def test_the_time_limit_of_a_task_holds_for_jobs_that_the_api_made(world: World) -> None:
    assert registry.longest_runs()["shop.limited"] is None
    assert "shop.limited" not in registry.try_out(world.sender.cell.settings)
    assert (registry.longest_runs()["shop.limited"], registry.longest_runs()["shop.add"]) == (60, None)


def test_progress_is_that_of_the_job(world: World) -> None:
    ran = testing.run(registry.get("shop.add"), params={"args": [1]})
    assert ("call", 25.0, "adding") in ran.progress
    # Outside of a job it is Celery's.
    world.add.update_state(task_id="x", state="PROGRESS", meta={"n": 1})
    assert world.app.backend.get_task_meta("x")["result"] == {"n": 1}


def test_a_task_that_retries_is_another_attempt_with_the_wait_that_it_asked_for(world: World) -> None:
    result = world.flaky.delay(2)
    assert [world.run(result).status for _ in range(3)] == ["queued", "queued", "completed"]
    job = world.client.get(result.id)
    assert (job.attempt, result.get(), len(world.requests)) == (3, "done", 3)
    assert world.run(world.stubborn.delay(-5)).status is JobStatus.QUEUED
    later = world.run(world.stubborn.delay())
    due = float(world.store.client.zscore(world.store.keys("delayed"), later.job_id))
    assert later.status is JobStatus.QUEUED
    assert 500_000 < due - time.time() * 1000 < 700_000


def test_a_task_that_has_no_retries_left_has_failed_with_its_last_error(world: World) -> None:
    result = world.flaky.delay(100)
    ended = [world.run(result) for _ in range(3)][-1]
    assert (ended.status, ended.error, len(world.requests)) == (JobStatus.FAILED, "OSError: away", 3)
    with pytest.raises(JobFailed, match="away"):
        result.get()


def test_an_error_is_the_job_s_and_arguments_that_changed_are_one(world: World) -> None:
    assert world.run(world.told.delay()).error == "ValueError: no such film"
    changed = world.run(world.other_arguments.delay(1))
    assert (changed.status, "other arguments" in str(changed.error)) == (JobStatus.FAILED, True)


def test_arguments_and_results_that_json_has_no_word_for(world: World) -> None:
    since = datetime(2026, 11, 28, 12, tzinfo=UTC)
    result = world.films.delay(since)
    world.run(result)
    assert result.get() == {"since": since, "day": "2026-11-28"}
    with pytest.raises(TypeError):
        world.films.delay(object())


def test_options_of_a_call_are_fields_of_the_job(world: World) -> None:
    at = datetime.now(UTC) + timedelta(hours=1)
    jobs = [world.client.get(world.add.apply_async((1,), **{name: value}).id) for name, value in (("eta", at), ("countdown", 3600))]
    assert [job.reason for job in jobs] == ["scheduled", "scheduled"]
    limited = world.client.get(world.add.apply_async((1,), time_limit=5, expires=60).id)
    assert limited.start_within_seconds == 60
    once = [world.add.apply_async((1,), idempotency_key="order-7").id for _ in range(2)]
    assert once[0] == once[1]


@each("option", ["queue", "soft_time_limit", "priority", "link", "no_such_option"])
def test_an_option_that_a_job_cannot_have_is_refused_by_name(world: World, option: str) -> None:
    value: Any = world.mail.s("x") if option == "link" else 3
    with pytest.raises(InvalidInput, match=option):
        world.add.apply_async((1,), **{option: value})


def test_a_job_is_no_part_of_a_canvas(world: World) -> None:
    with pytest.raises(InvalidInput, match="canvas"):
        chain(world.add.s(1), world.mail.s()).apply_async()


def test_wrong_arguments_are_refused_before_anything_is_sent(world: World) -> None:
    with pytest.raises(TypeError):
        world.add.delay()
    assert world.store.client.exists(world.store.keys("ring")) == 0


def test_the_rest_of_the_app_is_as_it_was(world: World) -> None:
    sent = world.mail.delay("a@b.example")
    assert type(sent).__mro__[1] is AsyncResult
    with world.app.connection() as connection:
        message = connection.SimpleQueue("celery").get(timeout=60)
    assert message.headers["task"] == "shop.mail"
    assert world.store.client.exists(world.store.keys("ring")) == 0


def test_the_team_s_app_stays_the_current_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celery._state.default_app", world.app)
    monkeypatch.setattr("celery._state._tls.current_app", world.app)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(create_sender, world.sender.cell.settings).result().close()
    create_sender(world.sender.cell.settings).close()
    assert current_app.main == "shop"


def test_an_eager_call_runs_here(world: World) -> None:
    world.app.conf.task_always_eager = True
    done = world.flaky.delay(0)
    assert isinstance(done, EagerResult)
    assert done.get() == "done"


@each(
    "options",
    [{"acks_late": True}, {"rate_limit": "1/s"}, {"queue": "films"}, {"serializer": "pickle"}, {"soft_time_limit": 3}, {"max_retries": 10}],
    ids=lambda options: next(iter(options)),
)
def test_a_task_that_cannot_be_a_job_is_refused_where_it_is_declared(world: World, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=rf"shop\.add has .*{next(iter(options))}") as refused:
        world.app.task(name="shop.add", shared=False, **options)(lambda: None)
    assert "\n" not in str(refused.value)
    world.app.task(name="shop.free", shared=False, **options)(lambda: None)


@pytest.mark.parametrize("setting", [{"task_acks_late": True}, {"task_routes": {"shop.*": {"queue": "films"}}}], ids=str)
def test_settings_of_the_app_that_a_job_cannot_follow_are_refused_at_the_call(world: World, setting: dict[str, Any]) -> None:
    world.app.conf.update(setting)
    with pytest.raises(ConfigurationError, match=r"shop\.told"):
        world.told.delay()


def test_a_task_that_was_declared_elsewhere_is_refused_at_its_first_call(world: World) -> None:
    """As by `shared_task`, or before `tenant_jobs`."""
    world.add._get_current_object().acks_late = True
    with pytest.raises(ConfigurationError, match="acks_late"):
        world.add.delay(1)
