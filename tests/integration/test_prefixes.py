"""The key prefix and the number of an installation: which names Celery's things have on the server, and how ids begin."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.schedules.fire import job_id_of
from pipeline_jobs.schedules.scheduler import NewSchedule
from pipeline_jobs.settings import DEFAULT_PREFIX, Settings
from pipeline_jobs.store import presence
from pipeline_jobs.store.presence import About, refuse_other_queues
from pipeline_jobs.store.store import Store, connect
from pipeline_jobs.worker.app import JobsCelery, create_celery
from pipeline_jobs.worker.prefixed import PrefixedChannel
from pipeline_jobs.worker.start import name_worker
from tests.celery_apps import celery_app
from tests.heard import heard
from tests.stack import environment, free_port
from tests.waiting import until

CANARY = NewJob(pipeline="canary")
#: A prefix, and what Celery's names begin with: nothing with the default one, as in the versions that prefixed nothing.
BOTH = pytest.mark.parametrize(("prefix", "begins"), [(DEFAULT_PREFIX, ""), ("east:", "east:"), ("east", "east")])


@pytest.fixture
def app_of(cell: Settings) -> Iterator[Callable[[str], JobsCelery]]:
    with ExitStack() as stack:
        yield lambda prefix: stack.enter_context(celery_app(cell.model_copy(update={"key_prefix": prefix})))


@BOTH
def test_hints_ticks_and_what_celery_sends_lie_in_lists_with_the_prefix(
    app_of: Callable[[str], JobsCelery], prefix: str, begins: str
) -> None:
    app = app_of(prefix)
    server = app.cell.store.client
    app.cell.store.announce("w1", 1, [])
    app.cell.client.submit(CANARY)
    app.tasks["pipeline_jobs.maintenance.rescue"].apply_async()
    app.send_task("celery.accumulate", queue="stages")
    app.send_task("celery.accumulate", queue="of-a-team")
    assert {name: server.llen(begins + name) for name in ("jobs", "maintenance", "stages", "of-a-team")} == {
        "jobs": 1, "maintenance": 1, "stages": 1, "of-a-team": 1,
    }  # fmt: skip
    assert {key for key in server.keys("*") if not key.startswith((prefix, begins or "_kombu"))} <= {
        "jobs",
        "maintenance",
        "stages",
        "of-a-team",
    }


@BOTH
def test_the_end_of_a_job_is_told_where_its_own_installation_listens(app_of: Callable[[str], JobsCelery], prefix: str, begins: str) -> None:
    app = app_of(prefix)
    client, server = app.cell.client, app.cell.store.client
    job = client.submit(CANARY)
    waiter = threading.Thread(target=client.wait, args=(job.job_id, 60))
    waiter.start()
    channel = f"{begins}celery-task-meta-{job.job_id}"
    until(lambda: channel in server.pubsub_channels("*"), "a waiter")
    with heard(server, "*") as since:
        client.cancel(job.job_id)
        waiter.join()
        channels = [message["channel"] for message in since()]
    assert channel in channels
    assert {name for name in channels if not name.startswith((begins or "celery", prefix))} == set()


def test_a_result_of_the_same_id_is_another_ones(app_of: Callable[[str], JobsCelery]) -> None:
    apps = [app_of(prefix) for prefix in (DEFAULT_PREFIX, "east:", "east")]
    apps[1].backend.store_result("same", 1, "SUCCESS")
    assert [app.AsyncResult("same").state for app in apps] == ["PENDING", "SUCCESS", "PENDING"]
    assert apps[1].cell.store.client.exists("east:celery-task-meta-same")


def test_a_broker_whose_names_nobody_can_prefix_is_refused_with_a_prefix(cell: Settings) -> None:
    for prefix, broker in (("east:", "sqs://x"), ("east:", "memory://")):
        with pytest.raises(ConfigurationError, match="PIPELINE_KEY_PREFIX"):
            create_celery(cell.model_copy(update={"key_prefix": prefix, "broker_url_setting": broker}))
    create_celery(cell.model_copy(update={"broker_url_setting": "memory://"})).close()


@pytest.mark.parametrize(
    ("came", "seen"),
    [(("", "east:jobs"), ("", "jobs")), (("east:jobs", "jobs"), ("jobs", "jobs")), (("east:x", "east:y"), ("x", "east:y"))],
)
def test_a_task_that_is_sent_again_by_what_its_message_came_by_is_not_prefixed_twice(came: tuple[str, str], seen: tuple[str, str]) -> None:
    channel = PrefixedChannel.__new__(PrefixedChannel)
    channel._prefix = "east:"
    assert channel._came_by(*came) == seen
    assert [channel._named(name) for name in ("jobs", "", "amq.gen-1")] == ["east:jobs", "", "amq.gen-1"]


@pytest.mark.parametrize("number", [0, 11])
def test_the_first_of_the_eight_digits_of_a_new_id_is_the_installations(cell: Settings, number: int) -> None:
    with celery_app(cell.model_copy(update={"cell": number})) as app:
        ids = [app.cell.client.submit(CANARY).job_id, app.tasks["pipeline_jobs.run_job"].delay(pipeline="canary").id]
        batch = app.cell.batches.create(NewBatch((CANARY, CANARY))).batch
        ids += app.cell.store.members("batch_jobs", batch.batch_id)
        schedule = app.cell.schedules.create(NewSchedule(job=CANARY, cron="* * * * *")).schedule
        ids.append(app.cell.schedules.run_now(schedule.schedule_id).job.job_id)
        slot = schedule.next_run_at or 0
        ids.append(job_id_of(schedule.schedule_id, slot, cell=number))
        assert app.cell.duties["canary"]()["sent"] == 1
        ids.append(app.cell.store.text("canary"))
    assert {job_id.split("_")[2][0] for job_id in ids} == {f"{number:x}"}
    assert len(set(ids)) == 7


@pytest.mark.parametrize("kind", ["worker", "api"])
@pytest.mark.parametrize(("prefix", "refused"), [(DEFAULT_PREFIX, False), ("east:", True)])
def test_no_process_with_a_prefix_begins_beside_one_of_a_version_whose_queues_had_none(
    app_of: Callable[[str], JobsCelery], prefix: str, refused: bool, kind: str
) -> None:
    """Each would read queues that the other does not write, and say nothing."""
    app = app_of(prefix)
    store, settings = app.cell.store, app.cell.settings
    refuse_other_queues(store, settings)
    # One of this version says what it is before it announces slots; one of the version before does not.
    presence.announce(store, "jobs@new/1", About("jobs", "1"))
    store.announce("jobs@new/1", 1, [])
    refuse_other_queues(store, settings)
    if kind == "worker":
        store.announce("old@a/1", 1, [])
    else:
        store.announce_api("old", 60_000)
    if not refused:
        refuse_other_queues(store, settings)
        return
    with pytest.raises(ConfigurationError, match=r"old.* of an earlier version.* drain"):
        refuse_other_queues(store, settings)
    worker = SimpleNamespace(app=app, hostname="jobs@b", loglevel="INFO", pool_cls="prefork", options={})
    with pytest.raises(SystemExit, match="this worker does not start: PIPELINE_KEY_PREFIX"):
        name_worker(worker)


def test_an_api_with_a_prefix_ends_in_one_line_then(app_of: Callable[[str], JobsCelery]) -> None:
    app = app_of("east:")
    # Announced for longer than the process takes to start, which is more than three beats on a slow machine.
    store = app.cell.store
    Store(store.client, app.cell.settings.model_copy(update={"announce_seconds": 1000.0})).announce("old@a/1", 1, [])
    command = [sys.executable, "-c", "import pipeline_jobs.web.gunicorn_conf"]
    done = subprocess.run(command, env=environment(app.cell.settings), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("Error: PIPELINE_KEY_PREFIX: old@a of an earlier version")


def test_a_store_that_is_away_is_waited_for(cell: Settings, app_of: Callable[[str], JobsCelery]) -> None:
    app = app_of("east:")
    away = app.cell.settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    refuse_other_queues(Store(connect(away.redis_url), away), away)
