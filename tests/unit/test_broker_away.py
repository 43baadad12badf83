"""How a worker waits for its broker."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest
from amqp.exceptions import NotFound, PreconditionFailed, ResourceLocked
from celery.bootsteps import TERMINATE
from celery.worker.consumer.mingle import Mingle
from kombu.exceptions import OperationalError

from pipeline_jobs.settings import Settings
from pipeline_jobs.worker.app import create_celery
from pipeline_jobs.worker.consumer import JobConsumer
from pipeline_jobs.worker.hints import JOBS_QUEUE, MAINTENANCE_QUEUE

#: More than Celery would try.
TRIES = 130


class Enough(Exception):
    """The test has seen it."""


def test_a_worker_looks_for_its_broker_often_and_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_celery(Settings(redis_url="redis://127.0.0.1:1/0"))
    consumer: Any = JobConsumer.__new__(JobConsumer)
    consumer.app, consumer.first_connection_attempt, consumer.broker_connection_retry_attempt = app, False, 0
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if consumer.broker_connection_retry_attempt > TRIES:
            raise Enough

    monkeypatch.setattr("kombu.utils.functional.sleep", sleep)
    with pytest.raises(Enough):
        consumer.ensure_connected(app.connection_for_read())
    # A whole second is waited for one by one.
    assert slept[:5] == [0.5, 1.0, 0.0, 1.0, 0.5]
    assert sum(slept) < TRIES * 5.5
    app.close()


def consumer_of(app: Any) -> Any:
    return JobConsumer(print, app=app, pool=MagicMock(), timer=MagicMock(), controller=MagicMock(), worker_options={})


BROKEN = {
    "as it greets": OperationalError("Connection closed by server."),
    "its queue is held": ResourceLocked(),
    "its queue is taken away": NotFound(),
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("broker", ["", "amqp://127.0.0.1:1//"])
def test_a_connection_that_breaks_as_a_worker_begins_is_made_again(monkeypatch: pytest.MonkeyPatch, broker: str, how: str) -> None:
    """As it greets the others; or a cluster of RabbitMQ does not know yet that the connection of before is gone."""
    app = create_celery(Settings(redis_url="redis://127.0.0.1:1/0", broker_url_setting=broker))
    consumer, starts = consumer_of(app), []

    def start(of: Any) -> None:
        starts.append(of)
        if len(starts) == 1:
            raise BROKEN[how]
        of.blueprint.state = TERMINATE

    monkeypatch.setattr(consumer.blueprint, "start", start)
    consumer.start()
    assert starts == [consumer, consumer]
    app.close()


def test_a_worker_whose_queue_is_of_another_type_ends_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_celery(Settings(redis_url="redis://127.0.0.1:1/0", broker_url_setting="amqp://127.0.0.1:1//"))
    consumer = consumer_of(app)
    monkeypatch.setattr(consumer.blueprint, "start", MagicMock(side_effect=PreconditionFailed("x-queue-type")))
    with pytest.raises(PreconditionFailed, match="x-queue-type"):
        consumer.start()
    app.close()


@pytest.mark.parametrize(("queue", "asks"), [(JOBS_QUEUE, False), (MAINTENANCE_QUEUE, True)])
def test_a_job_worker_does_not_ask_the_others_before_it_takes_jobs(queue: str, asks: bool) -> None:
    app = create_celery(Settings(redis_url="redis://127.0.0.1:1/0"))
    app.amqp.queues.select([queue])
    consumer = consumer_of(app)
    (mingle,) = [step for step in consumer.blueprint.steps.values() if isinstance(step, Mingle)]
    assert mingle.include_if(consumer) is asks
    app.close()
