"""When a worker leaves its queues and takes from them again, by what its machine and its operator say."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline_jobs.pipelines import WorkerClass
from pipeline_jobs.settings import Settings
from pipeline_jobs.worker.app import JobsCelery
from pipeline_jobs.worker.fitness import Fitness
from pipeline_jobs.worker.hints import JOBS_QUEUE, job_queues
from tests.celery_apps import celery_app


class Consumer:
    """What Celery's does with the queues of its app. Its event loop does what it is told at once, or loses it."""

    def __init__(self, app: JobsCelery) -> None:
        self.queues = app.amqp.queues
        self.connected = True

    def call_soon(self, call: Callable[[], object]) -> None:
        if self.connected:
            call()

    def add_task_queue(self, queue: str) -> None:
        self.queues.select_add(self.queues[queue])

    def cancel_task_queue(self, queue: str) -> None:
        self.queues.deselect(queue)


class Bench:
    """A worker of jobs whose working folder can be taken away."""

    def __init__(self, app: JobsCelery) -> None:
        self.app, self.consumer = app, Consumer(app)
        app.worker_class = WorkerClass("0badf00d", "")
        self.queues = job_queues(app)
        app.amqp.queues.select([])
        for queue in self.queues:
            self.app.amqp.queues.add(queue)
            self.consumer.add_task_queue(queue)
        self.fitness = Fitness(SimpleNamespace(app=app, consumer=self.consumer))
        self.folder: Path = app.cell.settings.work_dir

    def look(self, *, well: bool) -> set[str]:
        """Look at the machine. :return: what the worker consumes then."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder) if self.folder.is_dir() else self.folder.unlink(missing_ok=True)
        if not well:
            self.folder.touch()
        self.fitness.look()
        return self.consumed

    @property
    def consumed(self) -> set[str]:
        return {*self.app.amqp.queues.consume_from}


@pytest.fixture
def bench(cell: Settings, tmp_path: Path) -> Iterator[Bench]:
    with celery_app(cell.model_copy(update={"work_dir": tmp_path / "of the worker" / "work"})) as app:
        yield Bench(app)


def test_an_event_loop_that_is_quicker_than_the_look_acts_on_what_was_found(bench: Bench) -> None:
    assert bench.look(well=False) == set()
    assert bench.look(well=True) == {*bench.queues}


@pytest.mark.parametrize("well", [True, False])
def test_what_was_lost_while_the_consumer_connected_again_is_told_at_the_next_look(bench: Bench, well: bool) -> None:
    before = bench.look(well=not well)
    bench.consumer.connected = False
    assert bench.look(well=well) == before
    bench.consumer.connected = True
    assert bench.look(well=well) == ({*bench.queues} if well else set())


def test_a_paused_worker_that_is_told_to_take_jobs_leaves_them_at_the_next_look(bench: Bench) -> None:
    bench.look(well=False)
    bench.consumer.add_task_queue(JOBS_QUEUE)
    assert bench.look(well=False) == set()


def test_a_queue_that_an_operator_cancelled_stays_cancelled_when_the_worker_goes_on(bench: Bench) -> None:
    bench.consumer.cancel_task_queue(bench.queues[1])
    bench.look(well=False)
    assert bench.look(well=True) == {JOBS_QUEUE}
