"""pytest-celery's Docker nodes with our image: two workers in containers, of which one is killed (`make docker-test`)."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from celery import group
from pytest_celery import CeleryBrokerCluster, CeleryTestSetup, CeleryTestWorker, CeleryWorkerCluster, CeleryWorkerContainer

from pipeline_jobs.settings import Settings, env_names
from pipeline_jobs.worker.app import JobsCelery
from tests.acceptance.test_celery_nodes import celery_backend_cluster as celery_backend_cluster
from tests.acceptance.test_celery_nodes import celery_broker_cluster as celery_broker_cluster
from tests.acceptance.test_celery_nodes import celery_setup_app as celery_setup_app
from tests.acceptance.test_celery_nodes import settings as settings
from tests.acceptance.test_celery_nodes import store_node as store_node
from tests.docker.bar_docker import engine as engine
from tests.docker.bar_docker import images as images
from tests.integration.recount import differences
from tests.stack import ROOT, environment
from tests.waiting import until

NAMES, SLOTS = ("one", "two"), 2
#: Of the pipelines that the tests have, the image is given those of the examples.
MODULES = {"PIPELINE_MODULES": "examples.demo_pipelines"}
EXAMPLES = {str(ROOT / "examples"): {"bind": "/app/examples", "mode": "ro"}}


class JobsContainer(CeleryWorkerContainer):
    """A worker of the image, on the network of this machine, where the store listens on loopback."""

    @property
    def ready_prompt(self) -> str:
        return " ready."

    def ready(self) -> bool:
        """What it says counts: the usual look waits for an address of its own."""
        self.reload()
        return bool(self.status == "running" and self._wait_ready())


class JobsNode(CeleryTestWorker):
    """On the network of this machine a container has no name of its own: the node is given one."""

    def __init__(self, container: JobsContainer, app: JobsCelery, name: str) -> None:
        super().__init__(container, app)
        self._name = name

    def hostname(self) -> str:
        """Of Celery's node."""
        return f"{self._name}@image"


@pytest.fixture(scope="module")
def celery_worker_cluster(
    images: dict[str, str], celery_broker_cluster: CeleryBrokerCluster, celery_setup_app: JobsCelery, settings: Settings
) -> Iterator[CeleryWorkerCluster]:
    given = {name: value for name, value in environment(settings).items() if name in env_names() and name != "PIPELINE_DATA_DIR"}
    # By its name: a folder of this tree hides it from mypy.
    client, made, nodes = import_module("docker").from_env(), [], []
    try:
        for name in NAMES:
            options = ("-n", f"{name}@image", "-E", "--loglevel=INFO", f"--autoscale={SLOTS},{SLOTS}")
            command = ["celery", "-A", "celery_app", "worker", *options]
            made.append(
                client.containers.run(
                    "pipeline-jobs", command, network_mode="host", environment=given | MODULES, volumes=EXAMPLES, detach=True
                )
            )
            nodes.append(JobsNode(JobsContainer(made[-1]), celery_setup_app, name))
        for node in nodes:
            until(node.container.ready, "a worker in a container", 120)
        yield CeleryWorkerCluster(*nodes)
    finally:
        for container in made:
            container.remove(force=True)
        client.close()


def sleeps(setup: CeleryTestSetup, seconds: float) -> Any:
    return setup.app.signature("pipeline_jobs.run_job", kwargs={"pipeline": "sleep", "params": {"seconds": seconds}}, immutable=True)


def test_jobs_run_in_containers_and_those_of_a_killed_one_in_the_other(celery_setup: CeleryTestSetup) -> None:
    first, second = celery_setup.worker_cluster
    jobs = group(sleeps(celery_setup, 1.0) for _ in range(12)).delay()
    until(lambda: sum(job.record().status == "running" for job in jobs) == len(NAMES) * SLOTS, "both to work")
    first.kill()
    assert all(one["success"] for one in jobs.get(timeout=120))
    records = [job.record() for job in jobs]
    assert sorted(one.crashes for one in records) == [0] * (len(records) - SLOTS) + [1] * SLOTS
    assert {one.worker.split("/")[0] for one in records if one.crashes} == {second.hostname()}
    first.restart()
    assert first.ready()
    both = {first.hostname(), second.hostname()}
    until(lambda: {name for answer in celery_setup.app.control.ping(timeout=2) for name in answer} == both, "both to answer", 120)
    second.assert_log_does_not_exist("Traceback", timeout=1)
    assert differences(celery_setup.app.cell.store) == []
