"""An event that could not be sent breaks nothing: the record says it already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError, ResponseError

from pipeline_jobs.jobs.moved import Moved
from pipeline_jobs.worker.task_events import TaskEvents


class Breaks:
    """A dispatcher whose connection breaks in the middle of a send."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    @contextmanager
    def default_dispatcher(self) -> Iterator[Breaks]:
        yield self

    def send(self, *args: Any, **fields: Any) -> None:
        raise self.error


def events_that_meet(error: Exception) -> TaskEvents:
    broker = Celery(broker="redis://127.0.0.1:1/0", set_as_current=False)
    app = SimpleNamespace(events=Breaks(error), connection_for_write=broker.connection_for_write)
    return TaskEvents(app)


@pytest.mark.parametrize("error", [ConnectionError("reset"), ResponseError("OOM"), OperationalError("away"), OSError("gone")])
def test_a_broker_that_breaks_off_is_only_logged(error: Exception) -> None:
    events_that_meet(error)(Moved("job_1_00000000", "queued", ran=True))


def test_a_mistake_of_ours_is_not_hidden() -> None:
    with pytest.raises(TypeError):
        events_that_meet(TypeError("uuid"))(Moved("job_1_00000000", "queued", ran=True))
