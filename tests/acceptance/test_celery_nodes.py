"""Jobs on pytest-celery's setup: two workers, a broker and a backend as local processes (`tests/nodes.py`), which are killed and restarted.

No Docker is needed, neither to collect nor to run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from celery import chord, group
from celery.exceptions import TaskRevokedError
from pytest_celery import CeleryBackendCluster, CeleryBrokerCluster, CeleryTestSetup, CeleryWorkerCluster

from pipeline_jobs.settings import Settings, load_settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.worker.app import JobsCelery, create_celery
from tests import bodies
from tests.acceptance.conftest import QUICK, SHORT_LEASE
from tests.integration.recount import differences
from tests.nodes import JobWorker, StoreBackend, StoreBroker, StoreContainer, WorkerContainer
from tests.waiting import until


@pytest.fixture(scope="module")
def store_node(tmp_path_factory: pytest.TempPathFactory) -> StoreContainer:
    return StoreContainer(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def settings(store_node: StoreContainer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    given = {"PIPELINE_REDIS_URL": store_node.server.url, "PIPELINE_DATA_DIR": str(tmp_path_factory.mktemp("data"))}
    return load_settings({**given, "PIPELINE_SECRET_KEY": "test-key", "PIPELINE_SELF_TEST": "0"}).model_copy(
        update={**QUICK, **SHORT_LEASE, "shutdown_grace_seconds": 0.5}
    )


@pytest.fixture(scope="module")
def celery_broker_cluster(store_node: StoreContainer) -> Iterator[CeleryBrokerCluster]:
    node = StoreBroker(store_node)
    yield CeleryBrokerCluster(node)
    node.teardown()


@pytest.fixture(scope="module")
def celery_backend_cluster(store_node: StoreContainer) -> CeleryBackendCluster:
    return CeleryBackendCluster(StoreBackend(store_node))


@pytest.fixture(scope="module")
def celery_setup_app(settings: Settings) -> Iterator[JobsCelery]:
    app = create_celery(settings)
    yield app
    app.cell.close()
    app.close()


@pytest.fixture(scope="module")
def celery_worker_cluster(
    celery_broker_cluster: CeleryBrokerCluster, celery_setup_app: JobsCelery, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CeleryWorkerCluster]:
    folder = tmp_path_factory.mktemp("workers")
    started = [WorkerContainer(name, settings, folder, "-Q", "jobs,stages", "-c", "2") for name in ("one", "two")]
    cluster = CeleryWorkerCluster(*(JobWorker(container, celery_setup_app) for container in started))
    assert cluster.ready()
    yield cluster
    for worker in cluster:
        worker.teardown()


@pytest.fixture(autouse=True)
def sound(celery_setup: CeleryTestSetup) -> Iterator[None]:
    """Each test gets all nodes running, and leaves the store's counts in order."""
    assert celery_setup.ready()
    # pytest-celery's own look (`control=True`) waits a second for more answers.
    assert len(celery_setup.app.control.broadcast("ping", reply=True, timeout=60, limit=2)) == 2
    yield
    assert differences(celery_setup.app.cell.store) == []


def run_job(setup: CeleryTestSetup, pipeline: str, **fields: Any) -> Any:
    return setup.app.signature("pipeline_jobs.run_job", kwargs={"pipeline": pipeline, **fields}, immutable=True)


def echo(setup: CeleryTestSetup, word: str) -> Any:
    """A job that gives back a word, told to end at once."""
    return run_job(setup, bodies.HOLD.name, params={"words": 1, "echo": word})


def tell_running(setup: CeleryTestSetup, n: int) -> None:
    """Tell so many jobs to end as soon as they run."""
    store, told = setup.app.cell.store, set[str]()
    while len(told) < n:
        new = until(lambda told=told: set(store.members("leases")) - told, "jobs to run")
        for job_id in new:
            bodies.tell(setup.app.cell.settings.data_dir, job_id)
        told |= new


def test_a_canvas_of_jobs_and_tasks_has_its_results_from_both_workers(celery_setup: CeleryTestSetup) -> None:
    answers = celery_setup.app.control.broadcast("ping", reply=True, timeout=60, limit=2)
    assert {name for reply in answers for name in reply} == {"one@local", "two@local"}
    assert len(celery_setup) == 4
    jobs = group(echo(celery_setup, word) for word in "abcd").delay()
    tell_running(celery_setup, 4)
    assert [one["data"]["echo"] for one in jobs.get(timeout=60)] == ["a", "b", "c", "d"]
    ran_on = {celery_setup.app.AsyncResult(one.id).record().worker.split("/")[0] for one in jobs}
    assert ran_on == {"one@local", "two@local"}
    gathered = chord([echo(celery_setup, word) for word in "ef"], celery_setup.app.signature("celery.accumulate", queue="stages")).delay()
    tell_running(celery_setup, 2)
    (both,) = gathered.get(timeout=60)
    assert [one["data"]["echo"] for one in both] == ["e", "f"]


def test_the_job_of_a_killed_worker_completes_on_the_other_and_the_worker_comes_back(celery_setup: CeleryTestSetup) -> None:
    job = run_job(celery_setup, bodies.HOLD.name).delay()
    until(lambda: job.record().progress > 0, "progress")
    killed = next(worker for worker in celery_setup.worker_cluster if job.record().worker.startswith(worker.hostname()))
    pool = {one["pid"] for one in killed.get_running_processes_info(["pid"])}
    assert len(pool) >= 3
    killed.kill()
    assert killed.container.status == "exited"
    until(lambda: not any(map(psutil.pid_exists, pool)), "its pool to be gone")
    bodies.tell(celery_setup.app.cell.settings.data_dir, job.id)
    assert job.get(timeout=60)["success"]
    record = job.record()
    assert (record.status, record.crashes, record.attempt) == (JobStatus.COMPLETED, 1, 1)
    assert not record.worker.startswith(killed.hostname())
    killed.restart()
    assert killed.ready()
    killed.assert_log_does_not_exist("Traceback", timeout=1)


def test_a_revoke_ends_a_job_wherever_it_runs_and_one_that_waits(celery_setup: CeleryTestSetup) -> None:
    # Four slots: the fifth waits.
    jobs = [run_job(celery_setup, bodies.HOLD.name).delay() for _ in range(5)]
    until(lambda: [job.record().status for job in jobs].count(JobStatus.RUNNING) == 4, "all slots to be taken")
    waits = next(job for job in jobs if job.record().status is JobStatus.QUEUED)
    assert waits.revoke().status is JobStatus.CANCELLED
    celery_setup.app.control.revoke([job.id for job in jobs], terminate=True)
    for job in jobs:
        with pytest.raises(TaskRevokedError):
            job.get(timeout=60)
    assert {job.state for job in jobs} == {"REVOKED"}


def test_a_worker_told_to_stop_hands_its_job_back_uncounted(celery_setup: CeleryTestSetup) -> None:
    job = run_job(celery_setup, bodies.HOLD.name).delay()
    until(lambda: job.record().progress > 0, "progress")
    stopped = next(worker for worker in celery_setup.worker_cluster if job.record().worker.startswith(worker.hostname()))
    stopped.kill("SIGTERM")
    until(
        lambda: job.record().status is JobStatus.RUNNING and not job.record().worker.startswith(stopped.hostname()), "the other to run it"
    )
    bodies.tell(celery_setup.app.cell.settings.data_dir, job.id)
    assert job.get(timeout=60)["success"]
    assert (job.record().crashes, job.record().handbacks) == (0, 1)
    stopped.restart()
    assert stopped.ready()


def test_a_broker_that_was_killed_and_comes_back_has_lost_no_job(celery_setup: CeleryTestSetup) -> None:
    jobs = [run_job(celery_setup, bodies.HOLD.name).delay() for _ in range(6)]
    until(lambda: [job.record().status for job in jobs].count(JobStatus.RUNNING) == 4, "all slots to be taken")
    celery_setup.broker.kill()
    celery_setup.broker.restart()
    assert celery_setup.broker.ready()
    for job in jobs:
        bodies.tell(celery_setup.app.cell.settings.data_dir, job.id)
    for job in jobs:
        assert celery_setup.app.cell.client.wait(job.id, 60).status is JobStatus.COMPLETED
    again = [run_job(celery_setup, bodies.HOLD.name).delay() for _ in range(4)]
    until(lambda: {job.record().status for job in again} == {JobStatus.RUNNING}, "the slots of both workers to be used")
    for job in again:
        bodies.tell(celery_setup.app.cell.settings.data_dir, job.id)
        assert celery_setup.app.cell.client.wait(job.id, 60).status is JobStatus.COMPLETED
