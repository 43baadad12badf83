"""What each group of Celery's own integration tests is about, with jobs.

The groups link_error, chain, group and chord are in `test_canvas` and `test_continuations`, the result sets in `test_group_results`.
`docs/evidence/celery_suite.md` has how theirs fare.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import chain, signals, signature
from celery.contrib.testing.worker import start_worker

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.job import NewJob
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import Store
from pipeline_jobs.worker.app import JobsCelery
from pipeline_jobs.worker.hints import JOB_TASK
from tests.celery_apps import REAL_WORKERS, celery_app
from tests.waiting import until


@pytest.fixture
def app(cell: Settings) -> Iterator[JobsCelery]:
    with celery_app(cell.model_copy(update=REAL_WORKERS)) as app:
        add_tasks(app)
        queues = ["jobs", "stages"]
        with start_worker(
            app, pool="threads", concurrency=2, queues=queues, perform_ping_check=False, shutdown_timeout=60, hostname="w@test"
        ):
            yield app


def add_tasks(app: JobsCelery) -> None:
    @app.task(name="t.stamps", bind=True, shared=False)
    def stamps(self: Any, *_: Any) -> Any:
        return self.request.stamps

    @app.task(name="t.becomes_a_job", bind=True, shared=False)
    def becomes_a_job(self: Any, echo: str) -> Any:
        raise self.replace(job(app, params={"echo": echo}))

    @app.task(name="t.echo", shared=False)
    def echo(result: Any) -> Any:
        return result["data"]["echo"]

    @app.task(name="t.told", shared=False)
    def told(job_id: str) -> str:
        return job_id

    @app.task(name="t.add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y


def job(app: JobsCelery, **fields: Any) -> Any:
    return app.tasks[JOB_TASK].si(pipeline="sleep", **fields)


def test_map_and_starmap(app: JobsCelery) -> None:
    assert app.tasks["t.add"].starmap([(1, 2), (3, 4)]).apply_async().get(timeout=60) == [3, 7]


def test_a_signature_of_a_job_is_the_same_after_a_journey_as_json(app: JobsCelery) -> None:
    travelled = signature(json.loads(json.dumps(chain(job(app, params={"echo": "far"}), app.tasks["t.echo"].s()))), app=app)
    assert travelled.apply_async().get(timeout=60) == "far"


def test_stamps_reach_the_tasks_of_a_chain_with_a_job(app: JobsCelery) -> None:
    found = []
    for first in (app.tasks["t.add"].si(1, 2), job(app)):
        stamped = chain(first, app.tasks["t.stamps"].s())
        stamped.stamp(mark="a")
        found.append(stamped.apply_async().get(timeout=60))
    assert found[0]
    assert found[1] == found[0]


def test_a_task_is_replaced_by_a_job(app: JobsCelery) -> None:
    assert app.tasks["t.becomes_a_job"].delay("new").get(timeout=60)["data"]["echo"] == "new"
    result = chain(app.tasks["t.becomes_a_job"].si("linked"), app.tasks["t.echo"].s()).apply_async()
    assert result.get(timeout=60) == "linked"


def test_a_job_that_is_applied_here_leaves_no_record(app: JobsCelery) -> None:
    result = app.tasks[JOB_TASK].apply(kwargs={"pipeline": "sleep", "params": {"echo": "here"}})
    assert (result.state, result.get()["data"]["echo"]) == ("SUCCESS", "here")
    assert app.cell.store.sizes([("status", "completed")]) == [0]


def test_no_subscription_stays_of_what_has_been_given(app: JobsCelery) -> None:
    group = app.GroupResult("group", [job(app).apply_async(), job(app).apply_async()])
    assert len(group.get(timeout=60)) == 2
    assert app.backend.result_consumer.subscribed_to == set()


def test_signals_are_sent_for_a_job(app: JobsCelery) -> None:
    heard: list[tuple[str, str]] = []

    def before(task_id: str, **_: Any) -> None:
        heard.append(("before", task_id))

    def after(task_id: str, **_: Any) -> None:
        heard.append(("after", task_id))

    signals.task_prerun.connect(before)
    signals.task_postrun.connect(after)
    result = job(app).apply_async()
    until(lambda: len(heard) == 2, "both signals")
    assert heard == [("before", result.id), ("after", result.id)]


def test_inspect_shows_a_job(app: JobsCelery) -> None:
    result = job(app, params={"seconds": 600}).apply_async()
    until(lambda: app.cell.client.get(result.id).status is JobStatus.RUNNING, "running")
    inspect = app.control.inspect(destination=["w@test"], timeout=60)
    assert [one["id"] for one in inspect.active()["w@test"]] == [result.id]
    assert inspect.query_task(result.id)["w@test"][result.id][0] == "active"
    assert JOB_TASK in inspect.registered()["w@test"]
    result.revoke()
    assert result.until_ended(60).status is JobStatus.CANCELLED
    assert inspect.revoked()["w@test"] == []


@pytest.mark.parametrize("how", ["retried", "waits", "cancelled"])
def test_a_bare_message_keeps_what_follows_it(app: JobsCelery, how: str) -> None:
    """Its next run has the message that the store sends; and its run tells of its end at once, as any other."""
    fields: dict[str, Any] = {"max_attempts": 2, "params": {"echo": 5, "fail": "once", "fail_times": 1, "retryable": True}}
    if how == "waits":
        fields = {"params": {"echo": 5}, "depends_on": [app.cell.client.submit(NewJob(pipeline="sleep")).job_id]}
    elif how == "cancelled":
        fields = {"params": {"seconds": 600}}
    following = app.tasks["t.echo"].s()
    last, kwargs = following.freeze(), {"pipeline": "sleep", **fields}
    app.send_task(
        JOB_TASK, task_id="bare", kwargs=kwargs, queue="jobs", chain=[following], link_error=app.tasks["t.told"].s().set(task_id="told")
    )
    if how == "cancelled":
        until(lambda: app.cell.client.is_job("bare") and app.cell.client.get("bare").status is JobStatus.RUNNING, "running")
        app.cell.client.cancel("bare")
        assert app.AsyncResult("told").get(timeout=60) == "bare"
    else:
        assert app.AsyncResult(last.id).get(timeout=60) == 5
    until(lambda: not app.cell.store.members("continuations"), "told")


def test_a_bare_message_is_adopted_when_the_store_is_there_again(app: JobsCelery, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = Store.submit
    refused: list[Any] = []

    def away(store: Store, *args: Any, **kwargs: Any) -> Any:
        if len(refused) < 2:
            refused.append(args)
            raise StoreUnavailable("it is away")
        return submit(store, *args, **kwargs)

    monkeypatch.setattr(Store, "submit", away)
    app.send_task(JOB_TASK, task_id="bare", kwargs={"pipeline": "sleep", "params": {"echo": 5}}, queue="jobs")
    assert app.AsyncResult("bare").get(timeout=60)["data"]["echo"] == 5
    assert len(refused) == 2
