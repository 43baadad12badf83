"""`GroupResult.get()` and `ResultSet.get()` of jobs, whenever these end: before it is asked, between two steps of the wait, or later."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from celery.exceptions import TaskRevokedError
from celery.result import ResultSet

from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.worker.app import JobsCelery
from pipeline_jobs.worker.backend import JobBackend
from pipeline_jobs.worker.result import JobFailed
from tests.celery_apps import celery_app
from tests.waiting import until


@pytest.fixture
def app(cell: Settings) -> Iterator[JobsCelery]:
    with celery_app(cell) as app:
        app.cell.store.announce("w1", 100, [])
        yield app


def started(app: JobsCelery, job_id: str | None = None) -> Job:
    job = app.cell.client.accept(NewJob(pipeline="sleep"), job_id=job_id).job
    app.cell.store.claim(job.job_id, job.fence, worker="w1", run="run")
    return job


def end(app: JobsCelery, job: Job, data: int = 0, outcome: JobStatus = JobStatus.COMPLETED) -> None:
    error = {"error": "no luck", "error_detail": {"code": "x"}} if outcome is JobStatus.FAILED else {}
    app.cell.store.finish(job.job_id, job.fence, outcome, result=data, **error)  # type: ignore[arg-type]


def listeners(app: JobsCelery, channel: str) -> int:
    _, number = app.cell.store.client.execute_command("PUBSUB", "NUMSUB", channel)
    return int(number)


@pytest.mark.parametrize("ids", [(None, None), ("chosen-1", "chosen-2")], ids=["drawn", "chosen"])
def test_jobs_that_ended_before_anybody_asked_are_given(app: JobsCelery, ids: tuple[str | None, str | None]) -> None:
    jobs = [started(app, job_id) for job_id in ids]
    for number, job in enumerate(jobs):
        end(app, job, number)
    results = [app.AsyncResult(job.job_id) for job in jobs]
    assert ResultSet(results, app=app).get(timeout=60) == [0, 1]
    assert app.GroupResult("group", [app.AsyncResult(job.job_id) for job in jobs]).get(timeout=60) == [0, 1]
    nested = app.GroupResult("outer", [app.GroupResult("inner", [app.AsyncResult(job.job_id) for job in jobs])])
    assert nested.get(timeout=60) == [[0, 1]]


def test_a_saved_group_is_restored_and_given(app: JobsCelery) -> None:
    jobs = [started(app), started(app)]
    app.GroupResult("saved", [app.AsyncResult(job.job_id) for job in jobs]).save()
    for number, job in enumerate(jobs):
        end(app, job, number)
    assert app.GroupResult.restore("saved").get(timeout=60) == [0, 1]


@pytest.mark.parametrize(("outcome", "error"), [(JobStatus.FAILED, JobFailed), (JobStatus.CANCELLED, TaskRevokedError)])
def test_the_error_of_an_ended_member_is_raised(app: JobsCelery, outcome: JobStatus, error: type[Exception]) -> None:
    good, bad = started(app), started(app)
    end(app, good)
    end(app, bad, outcome=outcome)
    with pytest.raises(error):
        ResultSet([app.AsyncResult(good.job_id), app.AsyncResult(bad.job_id)], app=app).get(timeout=60)


def test_one_that_ends_while_it_is_waited_for_is_given_even_if_nobody_hears_of_it(app: JobsCelery) -> None:
    first, last = started(app), started(app)
    end(app, first, 1)
    channel = f"celery-task-meta-{last.job_id}"
    backends: list[JobBackend] = []
    found: list[object] = []
    waits = threading.Event()

    def wait() -> None:
        # A thread has a backend of its own.
        group = app.GroupResult("group", [app.AsyncResult(first.job_id), app.AsyncResult(last.job_id)])
        backends.append(app.backend)
        found.append(group.get(timeout=60, on_interval=waits.set))

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    assert waits.wait(60)
    assert listeners(app, channel) == 1
    # The news of the end is lost: as if the subscription had come to the server after it.
    consumer = backends[0].result_consumer
    with consumer._locked():
        consumer._pubsub.unsubscribe()
    until(lambda: listeners(app, channel) == 0, "not subscribed")
    end(app, last, 2)
    waiter.join(60)
    assert found == [[1, 2]]
    consumer.stop()
    backends[0].client.connection_pool.disconnect()


def test_a_group_in_which_a_plain_task_and_a_job_ended(app: JobsCelery) -> None:
    job = started(app)
    end(app, job, 7)
    app.backend.store_result("plain", 5, "SUCCESS")
    assert ResultSet([app.AsyncResult("plain"), app.AsyncResult(job.job_id)], app=app).get(timeout=60) == [5, 7]


def test_a_waiter_whose_connection_breaks_is_given_what_ended_meanwhile(app: JobsCelery) -> None:
    job = started(app)
    group = app.GroupResult("group", [app.AsyncResult(job.job_id)])
    app.cell.store.client.client_kill_filter(_type="pubsub")
    end(app, job, 3)
    assert group.get(timeout=60) == [3]


def test_the_results_of_tasks_that_nobody_waits_for_leave_no_subscription(app: JobsCelery) -> None:
    @app.task(name="t.plain", shared=False)
    def plain() -> None: ...

    channels = [f"celery-task-meta-{plain.delay().id}" for _ in range(5)]
    # Each goes with what is said to the server next; nothing has followed the last one.
    until(lambda: [listeners(app, channel) for channel in channels] == [0, 0, 0, 0, 1], "one to be left")
    result = app.AsyncResult(channels[-1].removeprefix("celery-task-meta-"))
    result.forget()
    until(lambda: listeners(app, channels[-1]) == 0, "none to be left")


def test_a_result_that_is_collected_says_nothing_to_the_server(app: JobsCelery, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be away, and Celery would ask it for twenty seconds, wherever the garbage collector happens to run."""
    first, second = started(app), started(app)
    result = app.AsyncResult(first.job_id)
    result.then(print)
    other = app.AsyncResult(second.job_id)
    other.then(print, weak=True)
    consumer = app.backend.result_consumer
    assert len(consumer.subscribed_to) == 2
    monkeypatch.setattr(consumer._pubsub, "unsubscribe", lambda *_: pytest.fail("said something"))
    del other
    monkeypatch.undo()
    end(app, first)
    assert ResultSet([result], app=app).get(timeout=60) == [0]
    assert consumer.subscribed_to == set()
    until(lambda: listeners(app, f"celery-task-meta-{second.job_id}") == 0, "nobody to listen")
