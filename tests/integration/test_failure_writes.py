"""Celery says FAILURE of a job: only what its pipeline raised may have ended it."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery.app.task import Context
from celery.exceptions import InvalidTaskError, TimeLimitExceeded

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused
from pipeline_jobs.worker.app import JobsCelery, create_celery
from pipeline_jobs.worker.hints import JOB_TASK
from pipeline_jobs.worker.request import JobRequest, LostRun
from pipeline_jobs.worker.result import JobFailed


@pytest.fixture
def app(cell: Settings) -> Iterator[JobsCelery]:
    app = create_celery(cell)
    yield app
    app.cell.close()
    app.backend.client.connection_pool.disconnect()
    app.close()


@pytest.fixture
def job(app: JobsCelery) -> Job:
    """One that runs."""
    store = app.cell.store
    store.announce("w", 1, [])
    waiting = app.cell.client.submit(NewJob(pipeline="sleep"))
    claimed = store.claim(waiting.job_id, waiting.fence, worker="w", run="r")
    assert not isinstance(claimed, ClaimRefused)
    return claimed


def say_failure(app: JobsCelery, job: Job, error: Exception) -> Job:
    app.backend.mark_as_failure(job.job_id, error, request=Context(id=job.job_id, task=JOB_TASK, fence=job.fence))
    return app.cell.client.get(job.job_id)


@pytest.mark.parametrize("error", [StoreUnavailable(), RuntimeError("a bug of ours"), OSError(28, "No space left on device")])
def test_an_error_that_is_not_the_pipelines_ends_no_job_and_counts_nothing(app: JobsCelery, job: Job, error: Exception) -> None:
    after = say_failure(app, job, error)
    assert (after.status, after.error, after.crashes, after.handbacks, after.attempt) == (JobStatus.QUEUED, None, 0, 0, 1)


def test_a_run_that_celery_kills_at_its_own_time_limit_has_crashed(app: JobsCelery, job: Job) -> None:
    after = say_failure(app, job, TimeLimitExceeded(1))
    assert (after.status, after.crashes) == (JobStatus.QUEUED, 1)


def test_what_the_pipeline_raised_was_said_before(app: JobsCelery, job: Job) -> None:
    app.cell.store.finish(job.job_id, job.fence, JobStatus.FAILED, error="no luck")
    before = app.cell.client.get(job.job_id)
    for error in (JobFailed("no luck"), RuntimeError("late")):
        assert say_failure(app, job, error) == before


@pytest.mark.parametrize(
    ("error", "owed"), [(StoreUnavailable(), ["fault"]), (RuntimeError("of the harness"), ["fault"]), (JobFailed("no luck"), [])]
)
def test_the_main_process_hands_back_what_a_child_could_not(app: JobsCelery, job: Job, error: Exception, owed: list[str]) -> None:
    said: list[LostRun] = []
    app.keeper = SimpleNamespace(owe=said.append)  # type: ignore[assignment]
    request = _request(app, job)
    request.on_failure(SimpleNamespace(exception=error, traceback="", exc_info=None))
    assert [lost.why for lost in said] == owed


@pytest.mark.parametrize(
    "headers",
    [
        {"id": ["x"]},
        {"id": {"x": []}},
        {"id": "a:b"},
        {"id": "x y"},
        {"id": ""},
        {"id": "job~7.x"},
        {"id": "job~7.123456"},
        {"fence": "1"},
        {"fence": 0},
        {"fence": True},
        {"fence": 2**53},
    ],
)
def test_what_would_go_into_scripts_is_as_it_must_be(app: JobsCelery, job: Job, headers: dict[str, Any]) -> None:
    with pytest.raises(InvalidTaskError, match=f"no {next(iter(headers))} that"):
        _request(app, job, **headers)


def test_the_hint_of_a_part_has_its_id_and_a_bare_message_may_not(app: JobsCelery, job: Job) -> None:
    """A bare message makes a job of its id, and no job may be taken for a part."""
    assert _request(app, job, id="job~7.12").id == "job~7.12"
    with pytest.raises(InvalidTaskError, match="no id that"):
        _request(app, job, id="job~7.12", fence=None)


def test_the_fence_of_a_message_is_the_one_that_it_has_whatever_else_it_says(app: JobsCelery, job: Job) -> None:
    """The other header is put there by the worker itself."""
    assert _request(app, job, drawn_fence="x").fence == job.fence
    assert _request(app, job, drawn_fence="x", fence=None).fence > 10**15


def _request(app: JobsCelery, job: Job, **headers: Any) -> Any:
    message = SimpleNamespace(
        headers={"id": job.job_id, "task": JOB_TASK, "fence": job.fence, **headers}, properties={}, delivery_info={}, payload=((), {}, {}),
        body=((), {}, {}), content_type="application/json", content_encoding="utf-8", errors=None,
    )  # fmt: skip
    return JobRequest(message, app=app, task=app.tasks[JOB_TASK], decoded=True, eventer=None)
