"""Celery's options of `apply_async` and its control commands, as jobs take or refuse them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import chain, chord, group
from celery.beat import ScheduleEntry, Scheduler
from celery.worker.control import Panel

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import Job
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.worker.app import JobsCelery
from pipeline_jobs.worker.hints import JOB_TASK
from pipeline_jobs.worker.options import fields_of
from tests.cases import each
from tests.celery_apps import celery_app
from tests.stack import ROOT, environment

SLEEP: dict[str, Any] = {"pipeline": "sleep"}
TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def app(cell: Settings) -> Iterator[JobsCelery]:
    with celery_app(cell) as app:
        yield app


def submit(app: JobsCelery, **options: Any) -> Job:
    result = app.tasks[JOB_TASK].apply_async(kwargs=SLEEP, **options)
    job: Job = app.cell.client.get(result.id)
    return job


@pytest.mark.parametrize(
    "eta",
    [TOMORROW, TOMORROW.replace(tzinfo=None), TOMORROW.isoformat(), TOMORROW.astimezone(None)],
    ids=["aware", "naive", "text", "local"],
)
def test_an_eta_is_when_the_job_may_start(app: JobsCelery, eta: Any) -> None:
    job = submit(app, eta=eta)
    assert (job.run_at, job.reason) == (int(TOMORROW.timestamp() * 1000), "scheduled")


def test_a_countdown_is_counted_from_now_and_outranks_an_eta(app: JobsCelery) -> None:
    job = submit(app, countdown=3600, eta=TOMORROW)
    assert job.run_at is not None
    assert job.created_at < job.run_at < int(TOMORROW.timestamp() * 1000)


def test_what_expires_fails_when_it_did_not_start_in_time(app: JobsCelery) -> None:
    assert submit(app, expires=90).start_within_seconds == 90
    until = submit(app, expires=TOMORROW).start_within_seconds
    assert until is not None
    assert 0 < until <= 86_400
    late = submit(app, expires=datetime.now(UTC) - timedelta(days=1))
    app.cell.store.client.zadd(app.cell.store.keys("waits"), {late.job_id: 1})
    app.cell.rescue.run_once()
    assert app.cell.client.get(late.job_id).status is JobStatus.FAILED


def test_a_time_limit_is_of_the_run_and_no_longer_than_others_allow(app: JobsCelery) -> None:
    app.cell.store.announce("w1", 10, [])
    longest = app.cell.executor._registry.longest_runs()
    for limit, expected in ((5, 5_000), (10**8, 3_600_000)):
        job = submit(app, time_limit=limit)
        claimed = app.cell.store.claim(job.job_id, job.fence, worker="w1", run="run", pipelines={**longest, "sleep": 3600})
        assert isinstance(claimed, Job)
        (until,) = app.cell.store.fields(["run_until"], "job", job.job_id)
        assert int(until or 0) - (claimed.started_at or 0) == expected
    # The time in the queue does not count: nothing is noted before the claim.
    assert app.cell.store.fields(["run_until"], "job", submit(app, time_limit=5).job_id) == [None]


@each(
    ("option", "value"),
    [("priority", 3), ("queue", "jobs"), ("soft_time_limit", 3), ("serializer", "pickle"), ("compression", "zlib"),
     ("routing_key", "x"), ("exchange", "x"), ("no_such_option", 1), ("countdown", "soon"), ("countdown", -1), ("eta", 17), ("eta", "soon"),
     ("expires", "soon"), ("time_limit", True)],
)  # fmt: skip
def test_an_option_that_is_none_for_jobs_is_refused_by_name(app: JobsCelery, option: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=option) as refused:
        submit(app, **{option: value})
    assert refused.value.field == option
    with pytest.raises(InvalidInput, match=option):
        app.tasks[JOB_TASK].si(**SLEEP).set(**{option: value}).apply_async()
    assert app.cell.store.sizes([("status", "queued")]) == [0]


def test_what_canvas_beat_and_flower_pass_by_themselves_is_taken(app: JobsCelery) -> None:
    one = app.tasks[JOB_TASK].si(**SLEEP)
    one.stamp(mark="a", stamped_headers=["mark"])
    results = [chain(one.clone(), one.clone()).apply_async().parent, group(one.clone(), one.clone()).apply_async().results[0]]
    results += chord([one.clone(), one.clone()], one.clone())().parent.results
    with app.producer_pool.acquire() as producer:
        entry = ScheduleEntry("each", JOB_TASK, schedule=60, kwargs=SLEEP, options={"expires": 120}, app=app)
        results.append(Scheduler(app=app, lazy=True).apply_async(entry, producer=producer, advance=False))
    # As Flower's async-apply calls it, with what its form leaves empty.
    results.append(app.tasks[JOB_TASK].apply_async(args=[], kwargs=SLEEP, countdown=0.0, priority=None, queue=None))
    assert {app.cell.client.get(result.id).status for result in results} == {JobStatus.QUEUED}


def test_a_priority_that_celery_inherits_is_no_persons() -> None:
    assert fields_of({"priority": 3}, inherits_priority=True) == {}


def run_python(cell: Settings, program: str) -> str:
    """In a process of its own with these settings. :return: its last line."""
    done = subprocess.run([sys.executable, "-c", program], env=environment(cell), cwd=ROOT, capture_output=True, text=True, check=True)
    return (done.stdout.splitlines() or [""])[-1]


def state(app: JobsCelery) -> Any:
    return SimpleNamespace(app=app, consumer=None)


@pytest.mark.parametrize("command", ["revoke", "terminate"])
def test_a_revoke_of_an_unknown_job_is_an_error_and_names_it(app: JobsCelery, command: str) -> None:
    known, unknown = submit(app).job_id, "job_1_00000000"
    more = {"signal": "TERM"} if command == "terminate" else {}
    assert Panel.data[command](state(app), task_id=[known, unknown], **more) == {"error": f"no such job: {unknown}"}
    assert app.cell.client.get(known).status is JobStatus.CANCELLED
    assert "ok" in Panel.data[command](state(app), task_id=known, **more)


def test_a_rate_limit_of_jobs_is_refused_and_one_of_other_tasks_is_not(app: JobsCelery) -> None:
    @app.task(name="t.other", shared=False)
    def other() -> None: ...

    limits: list[str] = []
    consumer = SimpleNamespace(reset_rate_limits=lambda: limits.append("reset"))
    here = SimpleNamespace(app=app, consumer=consumer)
    assert "starve" in Panel.data["rate_limit"](here, task_name=JOB_TASK, rate_limit="1/m")["error"]
    assert (app.tasks[JOB_TASK].rate_limit, limits) == (None, [])
    assert "ok" in Panel.data["rate_limit"](here, task_name="t.other", rate_limit="1/m")
    assert (app.tasks["t.other"].rate_limit, limits) == ("1/m", ["reset"])


def test_a_hint_that_another_process_pushed_is_taken_back(app: JobsCelery, cell: Settings) -> None:
    """As another process writes them: by its own template, under its own number and host."""
    submit_five = (
        "import json, sys\n"
        "from celery_app import app\n"
        "app.cell.store.announce('w1', 100, [])\n"
        "task = app.tasks['pipeline_jobs.run_job']\n"
        "ids = [task.apply_async(kwargs={'pipeline': 'sleep'}).id for _ in range(5)]\n"
        "print(json.dumps(ids))\n"
    )
    ids = json.loads(run_python(cell, submit_five))
    assert app.cell.store.client.llen("jobs") == 5
    for job_id in ids:
        app.cell.client.cancel(job_id)
    assert app.cell.store.client.lrange("jobs", 0, -1) == []
    own = [submit(app).job_id for _ in range(5)]
    assert app.cell.store.client.llen("jobs") == 5
    run_python(cell, f"from celery_app import app\nfor job_id in {own}: app.cell.client.cancel(job_id)")
    assert app.cell.store.client.lrange("jobs", 0, -1) == []


def test_what_is_set_on_the_app_afterwards_holds_for_its_tasks(app: JobsCelery) -> None:
    """Celery takes some settings when the first message is written: the template of the hints must not be that one."""

    @app.task(name="t.told", shared=False)
    def told() -> None: ...

    app.conf.task_compression = "zlib"
    told.delay()
    (message,) = app.cell.store.client.lrange("stages", 0, -1)
    assert json.loads(message)["headers"]["compression"] == "application/x-gzip"
